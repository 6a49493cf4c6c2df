import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode } from '../errors.js';
import { close } from '../kernel/fd.js';
import { pidfdEnd, pidfdOpen } from '../kernel/pidfd.js';
import type { Poller } from '../kernel/poller.js';
import { processStat, threadsOf, waitingCall } from '../kernel/procfs.js';
import { callOf, type Notification } from '../kernel/seccomp.js';
import { signalName } from '../model/signals.js';
import type { WorkerEnd } from './lifecycle.js';
import { isAlive, type ProcessId } from './tree.js';

const UNKNOWN: WorkerEnd = { code: null, signal: null };
/** How its end is told may take until its parent has reaped it. */
const TELLS_TRIES = 10;
const TELLS_EVERY_MS = 5;

/**
 * Waits for the end of a process that is no child of ours, or until it is aborted. Both of how it ended are null where
 * nobody tells.
 */
export async function endOfAdopted(
  adopted: ProcessId,
  poller: Poller,
  signal: AbortSignal,
): Promise<WorkerEnd> {
  let pidfd: number;
  try {
    pidfd = pidfdOpen(adopted.pid);
  } catch (error) {
    if (errorCode(error) === 'ESRCH') return UNKNOWN;
    throw error;
  }
  try {
    // The pidfd is of whoever has the number now.
    if (processStat(adopted.pid)?.startTime !== adopted.startTime) return UNKNOWN;
    if (isAlive(adopted)) {
      await new Promise<void>((over) => {
        signal.addEventListener('abort', () => over(), { once: true });
        poller.add(pidfd, () => over());
      });
      poller.remove(pidfd);
    }
    for (let tries = 0; tries < TELLS_TRIES && !signal.aborted; tries++) {
      const end = pidfdEnd(pidfd, adopted.pid);
      if (end !== undefined) {
        return { code: end.code, signal: end.signal === null ? null : (signalName(end.signal) ?? 'SIGKILL') };
      }
      await sleep(TELLS_EVERY_MS, undefined, { ref: false });
    }
    return UNKNOWN;
  } finally {
    close(pidfd);
  }
}

/** Trapped calls in which threads of these processes wait now, without the numbers of their notifications. */
export function waitingCalls(pids: readonly number[]): readonly Omit<Notification, 'id'>[] {
  return pids.flatMap((pid) =>
    threadsOf(pid).flatMap((tid) => {
      const waiting = waitingCall(pid, tid);
      const call = waiting === undefined ? undefined : callOf(waiting.nr);
      return waiting === undefined || call === undefined ? [] : [{ tid, call, args: waiting.args }];
    }),
  );
}
