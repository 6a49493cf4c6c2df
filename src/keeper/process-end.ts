import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode } from '../errors.js';
import { close } from '../kernel/fd.js';
import { pidfdEnd, pidfdOpen, pidfdOpenThread } from '../kernel/pidfd.js';
import type { Poller } from '../kernel/poller.js';
import { type ChildEnd, endOf } from '../kernel/process.js';
import { processStat, threadsOf } from '../kernel/procfs.js';
import { signalName } from '../model/signals.js';
import type { WorkerEnd } from './lifecycle.js';
import { isAlive, type ProcessId } from './tree.js';

const UNKNOWN: WorkerEnd = { code: null, signal: null };
/** How its end is told may take until its parent has reaped it. */
const TELLS_TRIES = 60;
const TELLS_EVERY_MS = 5;

/** A program starts its threads in its first moments; from those that come and go too fast nothing can be learned. */
const THREADS_START_MS = 200;
const THREAD_LOOKS = 50;

/**
 * Waits for the end of a process, child of ours or not, or until it is aborted. Both of how it ended are null where nobody
 * tells.
 */
export async function endOfProcess(
  watched: ProcessId,
  poller: Poller,
  signal: AbortSignal,
): Promise<WorkerEnd> {
  let pidfd: number;
  try {
    pidfd = pidfdOpen(watched.pid);
  } catch (error) {
    if (errorCode(error) === 'ESRCH') return UNKNOWN;
    throw error;
  }
  try {
    // The pidfd is of whoever has the number now.
    if (processStat(watched.pid)?.startTime !== watched.startTime) return UNKNOWN;
    if (isAlive(watched)) await readable(pidfd, poller, signal);
    for (let tries = 0; tries < TELLS_TRIES && !signal.aborted; tries++) {
      const end = pidfdEnd(pidfd, watched.pid);
      if (end !== undefined) return namedEnd(end);
      await sleep(TELLS_EVERY_MS, undefined, { ref: false });
    }
    return UNKNOWN;
  } finally {
    close(pidfd);
  }
}

/**
 * Waits until the process is ending by a failure, which its threads see some 10 ms before it has ended: the last of them takes
 * its memory apart. Undefined when it has not failed, when it is not waited for any more, and where that cannot be seen:
 * it has no second thread, or the kernel is older than Linux 6.9.
 */
export async function failureOf(
  watched: ProcessId,
  poller: Poller,
  signal: AbortSignal,
): Promise<WorkerEnd | undefined> {
  for (let looks = 0; looks < THREAD_LOOKS && !signal.aborted; looks++) {
    // The oldest is the least likely to end by itself.
    const thread = threadsOf(watched.pid).find((tid) => tid !== watched.pid);
    if (processStat(watched.pid)?.startTime !== watched.startTime) return undefined;
    if (thread === undefined || !(await threadEnded(thread, poller, signal))) {
      await sleep(THREADS_START_MS, undefined, { ref: false });
      continue;
    }
    const stat = processStat(watched.pid);
    // Of a process that is traced and stands still it is the signal that stopped it.
    if (stat?.startTime !== watched.startTime || stat.exitStatus === 0 || /[Tt]/.test(stat.state)) continue;
    const end = endOf(stat.exitStatus);
    return end.code === 0 ? undefined : namedEnd(end);
  }
  return undefined;
}

/** False when the thread cannot be watched. */
async function threadEnded(tid: number, poller: Poller, signal: AbortSignal): Promise<boolean> {
  let pidfd: number;
  try {
    pidfd = pidfdOpenThread(tid);
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ESRCH' || code === 'EINVAL') return false;
    throw error;
  }
  try {
    await readable(pidfd, poller, signal);
    return true;
  } finally {
    close(pidfd);
  }
}

async function readable(pidfd: number, poller: Poller, signal: AbortSignal): Promise<void> {
  let over = (): void => undefined;
  const isOver = new Promise<void>((settle) => {
    over = settle;
  });
  signal.addEventListener('abort', over);
  poller.add(pidfd, over);
  await isOver;
  poller.remove(pidfd);
  signal.removeEventListener('abort', over);
}

function namedEnd({ code, signal }: ChildEnd): WorkerEnd {
  return { code, signal: signal === null ? null : (signalName(signal) ?? 'SIGKILL') };
}
