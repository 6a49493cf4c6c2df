import { setTimeout as sleep } from 'node:timers/promises';
import { acceptedUnixSockets } from '../kernel/unix-connections.js';

export interface UnixDrainOptions {
  /** Of the unix sockets that the old copy of the server shares with the new one. */
  readonly paths: readonly string[];
  /** Inodes of the sockets that the old copy's processes have open, read anew at each call. */
  readonly inodes: () => ReadonlySet<number>;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Whether the server is stopped where it is: such time does not count. */
  readonly isPaused: () => boolean;
  /** Told how many connections each look finds, and how much of the time is left. */
  readonly onLook: (open: number, leftMs: number) => void;
}

const LOOK_EVERY_MS = 2;
/** Looks take at most one part of so many of the time. */
const SHARE = 5;

/**
 * Waits for a moment in which an old copy of a server has no connection on these unix sockets. As long as it lives it takes
 * further ones, which nobody can keep it from: so whoever waited must stop it at once. Gives how many it has at the end.
 *
 * What a unix connection was last used for the kernel does not tell: one that is idle is waited for like any other.
 *
 * @throws {DOMException} AbortError
 */
export async function drainUnix(options: UnixDrainOptions): Promise<number> {
  const { paths, inodes, timeoutMs, signal, isPaused, onLook } = options;
  if (paths.length === 0) return 0;
  let beginMs = performance.now();
  for (;;) {
    const lookMs = performance.now();
    if (isPaused()) {
      await sleep(LOOK_EVERY_MS, undefined, { signal });
      beginMs += performance.now() - lookMs;
      continue;
    }
    const accepted = acceptedUnixSockets(paths);
    const own = accepted.length === 0 ? undefined : inodes();
    const open = accepted.filter((inode) => own?.has(inode)).length;
    const endMs = performance.now();
    onLook(open, timeoutMs - (endMs - beginMs));
    if (open === 0 || endMs - beginMs >= timeoutMs) return open;
    await sleep(Math.max(LOOK_EVERY_MS, (endMs - lookMs) * (SHARE - 1)), undefined, { signal });
  }
}
