import { setTimeout as sleep } from 'node:timers/promises';
import { type HeldSocket, queueLength } from './held.js';

/** A queue that has not become shorter for so long is not waited for: its server does not accept any more. */
const STANDS_STILL_MS = 1_000;
const LOOK_EVERY_MS = 2;

/**
 * Waits until the accept queues are empty. `sockets`: those that somebody serves, read anew at each look. A queue is
 * waited for as long as it goes on becoming shorter, and all of them for `timeoutMs` at most.
 */
export async function emptyQueues(sockets: () => readonly HeldSocket[], timeoutMs: number): Promise<void> {
  const beginMs = performance.now();
  const last = new Map<HeldSocket, { readonly length: number; readonly shorterMs: number }>();
  const isMoving = (held: HeldSocket, nowMs: number): boolean => {
    const length = queueLength(held);
    const before = last.get(held) ?? { length, shorterMs: beginMs };
    const shorterMs = length < before.length ? nowMs : before.shorterMs;
    last.set(held, { length, shorterMs });
    return length > 0 && nowMs - shorterMs < STANDS_STILL_MS;
  };
  for (let nowMs = beginMs; nowMs - beginMs < timeoutMs; nowMs = performance.now()) {
    const moving = sockets().filter((held) => isMoving(held, nowMs));
    if (moving.length === 0) return;
    await sleep(LOOK_EVERY_MS);
  }
}
