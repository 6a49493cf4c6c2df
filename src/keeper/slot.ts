import { errorText } from '../errors.js';
import {
  backoffMs,
  begin,
  type Effect,
  type Lifecycle,
  type LifecycleEvent,
  type Phase,
  type Policy,
  restarts,
  STEADY_MS,
  type Step,
  step,
  type TimerName,
  type WorkerEnd,
} from './lifecycle.js';
import type { SavedWorker } from './recovery.js';
import type { Worker, WorkerHost } from './worker.js';

/** Node fires a longer timer at once. */
const TIMER_MAX_MS = 0x7fffffff;
/** Delays are spread by this share either way, so that keepers do not start their servers in step. */
const JITTER = 0.2;

const TIMER_EVENTS: Readonly<Record<TimerName, LifecycleEvent>> = {
  steady: { type: 'steady' },
  cleanup: { type: 'cleanup-timeout' },
  backoff: { type: 'backoff-over' },
  stop: { type: 'stop-timeout' },
};

/** What a slot's generation does for it. */
export interface SlotHost extends Pick<WorkerHost, 'held' | 'gone' | 'reapOrphans' | 'say'> {
  readonly policy: Policy;
  /** One that is not started yet. What binds and listens before its pid is known is its. */
  readonly newWorker: (host: Omit<WorkerHost, 'predecessor'>, attempt: number, id?: number) => Worker;
  /** @throws {HoldfastError} ERR_HOLDFAST_COMMAND */
  readonly start: (worker: Worker) => Promise<void>;
  /** A worker has served for a while. */
  readonly steady: () => void;
  /** Whether what it runs is known to be a server, by this place or another one. */
  readonly isServer: () => boolean;
  /** Its worker died, and would be started again. */
  readonly died: (slot: Slot, end: WorkerEnd) => void;
  /** Takes no more connections and waits until the queued ones are accepted. */
  readonly closeEntrance: () => Promise<void>;
  readonly changed: () => void;
  /** It has ended for good. */
  readonly ended: (slot: Slot, exitCode: number) => void;
}

/** The place of one worker in its generation: whoever dies in it is started again, as the lifecycle says. */
export class Slot {
  readonly #host: SlotHost;
  readonly #timers = new Map<TimerName, NodeJS.Timeout>();
  #lifecycle: Lifecycle;
  #worker: Worker | undefined;
  #attempts = 0;
  /** Its worker waits in its listen until it is needed. */
  isStandby = false;

  constructor(host: SlotHost) {
    this.#host = host;
    this.#lifecycle = begin(host.policy).lifecycle;
  }

  get phase(): Phase {
    return this.#lifecycle.phase;
  }

  get everListened(): boolean {
    return this.#lifecycle.everListened;
  }

  get lastEnd(): WorkerEnd | null {
    return this.#lifecycle.lastEnd;
  }

  /** The last one that was started; it may have ended. */
  get worker(): Worker | undefined {
    return this.#worker;
  }

  /** The first start. @throws {HoldfastError} ERR_HOLDFAST_COMMAND */
  async begin(): Promise<void> {
    await this.#spawn();
  }

  /** Goes on with a worker that another keeper started. */
  adopt({ id, attempt, phase, everListened, failures, lastEnd }: SavedWorker): Worker {
    const known = { ...this.#lifecycle, everListened, failures, lastEnd };
    const waits = phase === 'backing-off' && restarts(known);
    const serves = phase !== 'starting' && !waits;
    this.#lifecycle = { ...known, phase: serves ? 'serving' : phase };
    this.#attempts = attempt - 1;
    if (serves) this.#startTimer('steady', STEADY_MS);
    if (waits) this.#startTimer('backoff', backoffMs(failures, known.policy));
    return this.#newWorker(id);
  }

  /** What another keeper needs to go on with the worker; undefined when there is none any more. */
  save(): SavedWorker | undefined {
    const { phase, everListened, failures, lastEnd } = this.#lifecycle;
    const worker = this.#worker;
    if (worker === undefined || phase === 'ended') return undefined;
    const { id, attempt, root, tree } = worker;
    return {
      ...{ id, attempt, phase, everListened, failures, lastEnd },
      mark: tree?.mark ?? '',
      root: root ?? null,
      isStandby: this.isStandby,
    };
  }

  dispatch(event: LifecycleEvent): void {
    this.#follow(step(this.#lifecycle, event));
  }

  /** From now on the worker is started again as this policy says. */
  keep(policy: Policy): void {
    this.#lifecycle = { ...this.#lifecycle, policy };
  }

  /** Has its worker ended and started anew, as if it were the first in its place. */
  renew(): void {
    this.#attempts = 0;
    this.dispatch({ type: 'renewal-requested' });
  }

  /** Ends the worker for good, as `Keeper.stop` says. A second call sends SIGKILL at once. */
  stop(signal?: NodeJS.Signals, delivered = false): void {
    this.dispatch({ type: 'stop-requested', delivered, ...(signal === undefined ? {} : { signal }) });
  }

  /** Looks no more and waits for nothing. */
  forget(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#worker?.stop();
  }

  #follow({ lifecycle, effects }: Step): void {
    const before = this.#lifecycle;
    this.#lifecycle = lifecycle;
    this.#perform(effects);
    if (before.phase !== lifecycle.phase) this.#host.changed();
  }

  /** Performs effects in order; those after `close-entrance` wait for it. */
  #perform(effects: readonly Effect[]): void {
    for (const [index, effect] of effects.entries()) {
      if (effect.type === 'close-entrance') {
        void this.#host
          .closeEntrance()
          .catch((error: unknown) =>
            this.#host.say({ type: 'warning', text: `at the stop: ${errorText(error)}` }),
          )
          .finally(() => this.#perform(effects.slice(index + 1)));
        return;
      }
      this.#performOne(effect);
    }
  }

  #performOne(effect: Exclude<Effect, { type: 'close-entrance' }>): void {
    switch (effect.type) {
      case 'spawn':
        void this.#respawn();
        return;
      case 'follow-daemon':
        this.#worker?.followDaemon();
        return;
      case 'signal-root':
        this.#worker?.signalRoot(effect.signal);
        return;
      case 'signal-tree':
        this.#worker?.signalTree(effect.signal);
        return;
      case 'start-timer':
        this.#startTimer(effect.timer, effect.ms);
        return;
      case 'stop-timer':
        clearTimeout(this.#timers.get(effect.timer));
        this.#timers.delete(effect.timer);
        return;
      case 'end':
        this.#host.ended(this, effect.exitCode);
        return;
    }
  }

  async #spawn(): Promise<void> {
    const worker = this.#newWorker();
    try {
      await this.#host.start(worker);
    } catch (error) {
      worker.notStarted();
      throw error;
    }
  }

  #newWorker(id?: number): Worker {
    const { held, gone, reapOrphans, say, changed } = this.#host;
    const worker: Worker = this.#host.newWorker(
      {
        held,
        gone,
        reapOrphans,
        say,
        rootChanged: changed,
        phase: () => this.#lifecycle.phase,
        isStandby: () => this.isStandby,
        parked: changed,
        toldReady: changed,
        rootEnding: (end) => {
          const everListened = this.everListened || this.#host.isServer();
          if (restarts({ ...this.#lifecycle, everListened, lastEnd: end })) this.#host.died(this, end);
        },
        isDaemonized: () => this.#lifecycle.daemonized,
        dispatch: (event) => {
          if (this.#worker !== worker) return;
          // It may have ended in its start, in a place where none has listened yet.
          if (event.type === 'root-ended' && this.#host.isServer()) this.dispatch({ type: 'confirmed' });
          this.dispatch(event);
        },
      },
      ++this.#attempts,
      id,
    );
    this.#worker = worker;
    return worker;
  }

  /** A start after the first: what fails it is a failure of the server, not of ours. */
  async #respawn(): Promise<void> {
    try {
      await this.#spawn();
    } catch (error) {
      this.#host.say({ type: 'warning', text: errorText(error) });
      this.dispatch({ type: 'root-ended', end: { code: 127, signal: null }, left: false, serves: false });
    }
  }

  #startTimer(timer: TimerName, ms: number): void {
    clearTimeout(this.#timers.get(timer));
    const spread = timer === 'backoff' ? Math.round(ms * (1 - JITTER + 2 * JITTER * Math.random())) : ms;
    const wait = Math.min(spread, TIMER_MAX_MS);
    const { failures } = this.#lifecycle;
    if (timer === 'backoff' && failures > 0) this.#host.say({ type: 'restarting', inMs: wait, failures });
    this.#timers.set(
      timer,
      setTimeout(() => {
        if (timer === 'steady') this.#host.steady();
        this.dispatch(TIMER_EVENTS[timer]);
      }, wait),
    );
  }
}
