import { setTimeout as sleep } from 'node:timers/promises';
import { type DrainLook, DrainWatch, QUIET_MS, type WatchOptions } from './drain-watch.js';

export interface DrainOptions extends WatchOptions {
  /** Default 30 s. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Whether the server is stopped where it is: such time does not count. */
  readonly isPaused?: (() => boolean) | undefined;
  /** Told what each look finds, and how much of the time is left. */
  readonly onLook?: ((look: DrainLook, leftMs: number) => void) | undefined;
}

export interface DrainOutcome {
  /** False when the time was over before. */
  readonly drained: boolean;
  /** Still open at the end, those that nobody has accepted among them. With `queue` only these. */
  readonly connections: number;
  /** Of these, how many are owed something. */
  readonly owed: number;
  readonly durationMs: number;
}

const LOOK_EVERY_MS = 20;
const QUEUE_LOOK_EVERY_MS = 2;
/** Between the look that finds it over and the one that makes sure: a connection may be between queue and process. */
const CONFIRM_MS = 1;
/** Looks take at most one part of so many of the time. */
const SHARE = 5;

/**
 * Waits until an old copy of a server, which need not know of it, has finished what it has, so that it can be stopped
 * without cutting anything. It must get no new connections by now.
 *
 * The kernel does not know what a program means. A stream that pauses (SSE, WebSocket, 100-continue) counts as idle
 * after `quietMs`; only `open` waits for its end. Input that asks for no answer (telemetry over WebSocket, HTTP/2's
 * WINDOW_UPDATE) counts as owed until `timeoutMs` is over. A client that sends its next request in the millisecond
 * between the last look and the end of the server loses it. docs/kernel/draining.md has the facts. Of TCP over IP only.
 *
 * Looks are 20 ms apart or further, so that they take a fifth of the time at most. One took 0.05 ms for one connection
 * of the old copy, 0.4 ms for 100 and 4 to 5 ms for 1,000, with 10,000 in TIME_WAIT or 9,000 of another copy on the
 * port as well as without; 25 to 40 ms for 10,000. Once a second, and where the answer hangs on it, a look searches for
 * new connections, which took 2 to 4 ms more. Measured on a busy machine with 2 CPUs, whose table has 262,144 buckets.
 * `inodes` comes on top: two or three times, and every 5 s.
 *
 * @throws {DOMException} AbortError. {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 */
export async function drain(options: DrainOptions): Promise<DrainOutcome> {
  const { wait, quietMs = QUIET_MS, timeoutMs = 30_000, signal, isPaused, onLook } = options;
  let beginMs = performance.now();
  // Whoever was stopped where he is was quiet for no reason of his own.
  let quietFromMs = Number.NEGATIVE_INFINITY;
  const watch = new DrainWatch(options);
  for (let wasOver = false; ; ) {
    signal?.throwIfAborted();
    const lookMs = performance.now();
    if (isPaused?.()) {
      await sleep(LOOK_EVERY_MS, undefined, { signal });
      quietFromMs = performance.now();
      beginMs += quietFromMs - lookMs;
      wasOver = false;
      continue;
    }
    const leftMs = timeoutMs - (lookMs - beginMs);
    const look = watch.look({ sure: wasOver || leftMs <= 0 });
    const { waiting, open, owed } = look;
    onLook?.(look, leftMs);
    const endMs = performance.now();
    const isOver = look.isOver && (open === 0 || endMs - quietFromMs >= quietMs);
    if (isOver ? wasOver : leftMs <= 0) {
      const connections = waiting + open;
      return { drained: isOver, connections, owed: waiting + owed, durationMs: endMs - beginMs };
    }
    wasOver = isOver;
    const everyMs = wait === 'queue' ? QUEUE_LOOK_EVERY_MS : LOOK_EVERY_MS;
    const pauseMs = Math.min(Math.max(everyMs, (endMs - lookMs) * (SHARE - 1)), Math.max(1, leftMs));
    await sleep(isOver ? CONFIRM_MS : pauseMs, undefined, { signal });
  }
}
