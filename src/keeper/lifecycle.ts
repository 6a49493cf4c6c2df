import { signalNumber } from '../model/signals.js';

/**
 * How a process ended. One of the two is not null, but for a process that was adopted and of which nobody tells: then
 * it has failed, as far as anyone knows. `signal` is a name such as `SIGKILL`.
 */
export interface WorkerEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export type RestartPolicy = 'always' | 'on-failure' | 'never';

export interface Policy {
  readonly restart: RestartPolicy;
  readonly stopSignal: NodeJS.Signals;
  /** From the stop signal to SIGKILL. */
  readonly stopTimeoutMs: number;
  /** The longest wait between two starts, however many failed. */
  readonly maxBackoffMs: number;
  /** The wait before the first start again: 0 by default. */
  readonly firstBackoffMs?: number;
}

/**
 * `starting`: the worker runs and has not listened yet. `serving`: it has. `cleaning`: its first process ended,
 * what is left of its tree is being ended. `backing-off`: nothing runs until the next start. `stopping`: the end
 * was asked for. `ended`: nothing is left to do.
 */
export type Phase = 'starting' | 'serving' | 'cleaning' | 'backing-off' | 'stopping' | 'ended';

/** One app's life, without a process in it. `step` is its only way to change. */
export interface Lifecycle {
  readonly policy: Policy;
  readonly phase: Phase;
  /** A listening socket of this app was once confirmed, so that the command is known to be a server. */
  readonly everListened: boolean;
  /** Starts since the last worker that served for long enough. */
  readonly failures: number;
  /** How the worker ended last; null while the first one runs. */
  readonly lastEnd: WorkerEnd | null;
  /** The first process exited 0 and its descendants go on without it. */
  readonly daemonized: boolean;
  /** The worker is being ended to be started anew, and has not failed. */
  readonly renews: boolean;
}

export type LifecycleEvent =
  | { readonly type: 'listened' }
  | { readonly type: 'confirmed' }
  | { readonly type: 'steady' }
  /** The worker's first process ended. `left`: descendants of it live. `serves`: one has a held socket open. */
  | { readonly type: 'root-ended'; readonly end: WorkerEnd; readonly left: boolean; readonly serves: boolean }
  /** A daemonized worker no longer serves, or ended. */
  | { readonly type: 'daemon-ended'; readonly end: WorkerEnd; readonly left: boolean }
  /** Nothing is left of the worker. `end`: how its daemon ended, if it had become one. */
  | { readonly type: 'tree-gone'; readonly end?: WorkerEnd }
  | { readonly type: 'cleanup-timeout' }
  /** The worker is to be ended and started anew, though nothing is wrong with it. */
  | { readonly type: 'renewal-requested' }
  | { readonly type: 'backoff-over' }
  /** `delivered`: the terminal has already sent the signal to the worker itself. */
  | { readonly type: 'stop-requested'; readonly signal?: NodeJS.Signals; readonly delivered: boolean }
  | { readonly type: 'stop-timeout' };

export type Effect =
  | { readonly type: 'spawn' }
  | { readonly type: 'follow-daemon' }
  | { readonly type: 'signal-root'; readonly signal: NodeJS.Signals }
  | { readonly type: 'signal-tree'; readonly signal: NodeJS.Signals }
  | { readonly type: 'start-timer'; readonly timer: TimerName; readonly ms: number }
  | { readonly type: 'stop-timer'; readonly timer: TimerName }
  /** Take no more connections, let the queued ones be accepted, then perform the other effects. */
  | { readonly type: 'close-entrance' }
  | { readonly type: 'end'; readonly exitCode: number };

export type TimerName = 'steady' | 'cleanup' | 'backoff' | 'stop';

export interface Step {
  readonly lifecycle: Lifecycle;
  readonly effects: readonly Effect[];
}

/** A worker that has served this long ended a row of failures. */
export const STEADY_MS = 2_000;
/** What the rest of a crashed worker's tree gets between the stop signal and SIGKILL: clients wait meanwhile. */
export const CLEANUP_MS = 1_000;
const BACKOFF_FIRST_MS = 100;

/** The beginning: the first worker is to be started. */
export function begin(policy: Policy): Step {
  return {
    lifecycle: {
      policy,
      phase: 'starting',
      everListened: false,
      failures: 0,
      lastEnd: null,
      daemonized: false,
      renews: false,
    },
    effects: [{ type: 'spawn' }],
  };
}

/** What becomes of the app by one event. The caller performs the effects in order. */
export function step(before: Lifecycle, event: LifecycleEvent): Step {
  switch (event.type) {
    case 'listened':
      if (before.phase !== 'starting') return unchanged(before);
      return {
        lifecycle: { ...before, phase: 'serving' },
        effects: [{ type: 'start-timer', timer: 'steady', ms: STEADY_MS }],
      };
    case 'confirmed':
      return unchanged({ ...before, everListened: true });
    case 'steady':
      return unchanged(before.phase === 'serving' ? { ...before, failures: 0 } : before);
    case 'root-ended':
      return rootEnded(before, event.end, event);
    case 'daemon-ended':
      if (!before.daemonized || isEnding(before)) return unchanged(before);
      return workerEnded({ ...before, daemonized: false }, event.end, event.left);
    case 'tree-gone':
      if (before.phase === 'stopping') return end(before, exitCodeOf(event.end ?? before.lastEnd));
      return before.phase === 'cleaning' ? afterWorker(before) : unchanged(before);
    case 'cleanup-timeout':
      if (before.phase !== 'cleaning') return unchanged(before);
      return { lifecycle: before, effects: [{ type: 'signal-tree', signal: 'SIGKILL' }] };
    case 'backoff-over':
      return before.phase === 'backing-off' ? start(before) : unchanged(before);
    case 'renewal-requested':
      if (before.phase !== 'starting' && before.phase !== 'serving') return unchanged(before);
      return {
        lifecycle: { ...before, renews: true },
        effects: [{ type: 'signal-root', signal: before.policy.stopSignal }],
      };
    case 'stop-requested':
      return stop(before, event.signal ?? before.policy.stopSignal, event.delivered);
    case 'stop-timeout':
      if (before.phase !== 'stopping') return unchanged(before);
      return { lifecycle: before, effects: [{ type: 'signal-tree', signal: 'SIGKILL' }] };
  }
}

/** The exit code that stands for an end, as a shell spells it: the code, or 128 + the signal's number. */
export function exitCodeOf(end: WorkerEnd | null): number {
  if (end === null) return 0;
  return end.signal === null ? (end.code ?? 1) : 128 + signalNumber(end.signal);
}

/** How long to wait before the next start after so many failures in a row, without the random share. */
export function backoffMs(
  failures: number,
  { maxBackoffMs, firstBackoffMs = 0 }: Pick<Policy, 'maxBackoffMs' | 'firstBackoffMs'>,
): number {
  return Math.max(
    firstBackoffMs,
    failures <= 1 ? 0 : Math.min(maxBackoffMs, BACKOFF_FIRST_MS * 2 ** (failures - 2)),
  );
}

function rootEnded(
  before: Lifecycle,
  ended: WorkerEnd,
  { left, serves }: { readonly left: boolean; readonly serves: boolean },
): Step {
  switch (before.phase) {
    case 'stopping': {
      const lifecycle = { ...before, lastEnd: ended };
      // The first process may have been a shell that passes no signal on: what is left gets it from us.
      if (left) {
        return { lifecycle, effects: [{ type: 'signal-tree', signal: before.policy.stopSignal }] };
      }
      return end(lifecycle, exitCodeOf(ended));
    }
    case 'starting':
    case 'serving':
      // Exited 0 and left descendants that serve, or may yet: it daemonized.
      if (ended.code === 0 && (serves || (left && before.phase === 'starting'))) {
        return {
          lifecycle: { ...before, daemonized: true, lastEnd: ended },
          effects: [{ type: 'follow-daemon' }],
        };
      }
      return workerEnded(before, ended, left);
    case 'cleaning':
    case 'backing-off':
    case 'ended':
      return unchanged({ ...before, lastEnd: ended });
  }
}

function workerEnded(before: Lifecycle, ended: WorkerEnd, left: boolean): Step {
  const lifecycle: Lifecycle = { ...before, lastEnd: ended };
  if (!left) return afterWorker(lifecycle);
  // Old code must not serve beside new code, and a lock file must be free: first the rest of the tree goes.
  return {
    lifecycle: { ...lifecycle, phase: 'cleaning' },
    effects: [
      { type: 'stop-timer', timer: 'steady' },
      { type: 'signal-tree', signal: before.policy.stopSignal },
      { type: 'start-timer', timer: 'cleanup', ms: CLEANUP_MS },
    ],
  };
}

function afterWorker(before: Lifecycle): Step {
  const timers: readonly Effect[] = [
    { type: 'stop-timer', timer: 'steady' },
    { type: 'stop-timer', timer: 'cleanup' },
  ];
  if (!restarts(before)) return end(before, exitCodeOf(before.lastEnd));
  const failures = before.renews ? 0 : before.failures + 1;
  const waitMs = backoffMs(failures, before.policy);
  const lifecycle: Lifecycle = { ...before, failures, daemonized: false, renews: false };
  if (waitMs === 0) return withEffects(start(lifecycle), timers);
  return {
    lifecycle: { ...lifecycle, phase: 'backing-off' },
    effects: [...timers, { type: 'start-timer', timer: 'backoff', ms: waitMs }],
  };
}

/** Whether a worker that ended as the lifecycle says is started again. */
export function restarts({ policy, everListened, lastEnd }: Lifecycle): boolean {
  switch (policy.restart) {
    case 'always':
      return true;
    case 'never':
      return false;
    case 'on-failure':
      return everListened && lastEnd !== null && exitCodeOf(lastEnd) !== 0;
  }
}

function start(before: Lifecycle): Step {
  return { lifecycle: { ...before, phase: 'starting' }, effects: [{ type: 'spawn' }] };
}

function stop(before: Lifecycle, signal: NodeJS.Signals, delivered: boolean): Step {
  switch (before.phase) {
    case 'starting':
    case 'serving': {
      // A daemon has left the terminal, so its keys do not reach it.
      const isDelivered = delivered && !before.daemonized;
      const signalEffects: readonly Effect[] = isDelivered ? [] : [{ type: 'signal-root', signal }];
      return {
        lifecycle: { ...before, phase: 'stopping' },
        effects: [
          { type: 'stop-timer', timer: 'steady' },
          { type: 'start-timer', timer: 'stop', ms: before.policy.stopTimeoutMs },
          { type: 'close-entrance' },
          ...signalEffects,
        ],
      };
    }
    case 'cleaning':
      return {
        lifecycle: { ...before, phase: 'stopping' },
        effects: [
          { type: 'stop-timer', timer: 'cleanup' },
          { type: 'start-timer', timer: 'stop', ms: before.policy.stopTimeoutMs },
        ],
      };
    case 'backing-off':
      return withEffects(end(before, exitCodeOf(before.lastEnd)), [{ type: 'stop-timer', timer: 'backoff' }]);
    case 'stopping':
      // Asked twice: at once.
      return { lifecycle: before, effects: [{ type: 'signal-tree', signal: 'SIGKILL' }] };
    case 'ended':
      return unchanged(before);
  }
}

function end(before: Lifecycle, exitCode: number): Step {
  return {
    lifecycle: { ...before, phase: 'ended' },
    effects: [
      { type: 'stop-timer', timer: 'stop' },
      { type: 'end', exitCode },
    ],
  };
}

function isEnding({ phase }: Lifecycle): boolean {
  return phase === 'stopping' || phase === 'cleaning' || phase === 'ended';
}

function unchanged(lifecycle: Lifecycle): Step {
  return { lifecycle, effects: [] };
}

function withEffects(after: Step, first: readonly Effect[]): Step {
  return { lifecycle: after.lifecycle, effects: [...first, ...after.effects] };
}
