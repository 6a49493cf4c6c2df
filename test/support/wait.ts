import { setTimeout as sleep } from 'node:timers/promises';

export interface WaitOptions {
  /** Default 30 s: what takes so long on a machine with much to do may be right. */
  readonly timeoutMs?: number | undefined;
  /** How often the fact is looked at. Default 10 ms. */
  readonly everyMs?: number | undefined;
}

type Falsy = false | null | undefined | 0 | '';

/**
 * Waits until `look` gives something truthy, and gives that. `look` is asked at once, and a last time at the deadline.
 *
 * @throws Error that names the fact and what `look` gave last. Whatever `look` throws ends the wait.
 */
export async function until<T>(
  fact: string,
  look: () => T | Promise<T>,
  { timeoutMs = 30_000, everyMs = 10 }: WaitOptions = {},
): Promise<Exclude<T, Falsy>> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const last = performance.now() >= deadlineMs;
    const seen = await look();
    if (seen) return seen as Exclude<T, Falsy>;
    if (last) throw new Error(`not within ${timeoutMs} ms: ${fact} (last seen: ${String(seen)})`);
    await sleep(Math.min(everyMs, Math.max(1, deadlineMs - performance.now())));
  }
}

/** Gives what the promise gives, or throws an error that names the fact once `timeoutMs` are over. */
export async function within<T>(fact: string, promise: Promise<T>, timeoutMs = 30_000): Promise<T> {
  const late = Symbol('late');
  const stopped = new AbortController();
  try {
    const first = await Promise.race([promise, sleep(timeoutMs, late, { signal: stopped.signal })]);
    if (first === late) throw new Error(`not within ${timeoutMs} ms: ${fact}`);
    return first as T;
  } finally {
    stopped.abort();
  }
}
