import { errorCode } from '../errors.js';
import { close } from '../kernel/fd.js';
import { pidfdOpen, pidfdSignal } from '../kernel/pidfd.js';
import {
  allProcesses,
  childrenOf,
  fdsOfSocket,
  type ProcessStat,
  processStat,
  socketAt,
  startEnvironment,
  statusField,
} from '../kernel/procfs.js';
import { signalNumber } from '../model/signals.js';
import { isRewatching } from './rewatch.js';

/** A process beyond doubt: numbers are used again, but not with the same start time. */
export interface ProcessId {
  readonly pid: number;
  readonly startTime: number;
}

/** The variable that every process of a worker inherits: the keeper's name and pid, and the worker's number. */
export const WORKER_VARIABLE = 'HOLDFAST_WORKER';

export interface WorkerTreeOptions {
  /** Pid of the first process. */
  readonly root: number;
  /** Begin of its value of WORKER_VARIABLE, which is its keeper's alone. */
  readonly mark: string;
  /** The number of our thread that started it. */
  readonly spawnerThread: number;
  /** This process starts nothing else, so that every orphan that comes to it is the worker's. */
  readonly ownsOrphans: boolean;
}

/** A process that has a socket open, by this number. */
export interface SocketHolder extends ProcessId {
  readonly fd: number;
}

/** The processes of one worker: its first one, all descendants, and what was orphaned and came to the keeper. */
export class WorkerTree {
  readonly #root: number;
  readonly #mark: string;
  readonly #ownFilters: number;
  readonly #ownsOrphans: boolean;
  readonly #threads: readonly number[];
  readonly #seen = new Set<number>();

  constructor({ root, mark, spawnerThread, ownsOrphans }: WorkerTreeOptions) {
    this.#root = root;
    this.#mark = mark;
    this.#ownsOrphans = ownsOrphans;
    // Orphans come to the main thread (find_new_reaper() in kernel/exit.c), what we start is its starter's.
    this.#threads = [process.pid, spawnerThread];
    this.#ownFilters = seccompFilters(process.pid);
  }

  /** Every living process of the worker; those that ended and wait to be reaped do not count. */
  members(): readonly ProcessStat[] {
    const own = childrenOf(process.pid, this.#threads);
    const children = own === undefined ? lookupInAll() : listedChildren;
    const found: ProcessStat[] = [];
    const waiting = (own === undefined ? children(process.pid) : statsOf(own)).filter((stat) =>
      this.#isOurs(stat),
    );
    for (let stat = waiting.pop(); stat !== undefined; stat = waiting.pop()) {
      if (stat.state === 'Z' || stat.state === 'X') continue;
      found.push(stat);
      this.#seen.add(stat.pid);
      waiting.push(...children(stat.pid));
    }
    return found;
  }

  /** Whether a process that may have ended by now was seen as a member. */
  knows(pid: number): boolean {
    return this.#seen.has(pid);
  }

  /** Members that have the socket open. Those that may not be looked into do not count. */
  holdersOf(inode: number, members: readonly ProcessStat[] = this.members()): readonly SocketHolder[] {
    return members.flatMap(({ pid, startTime }) => {
      const [fd] = ifAlive(() => fdsOfSocket(pid, inode), []);
      return fd === undefined ? [] : [{ pid, startTime, fd }];
    });
  }

  /** Sends a signal to every member. Gives the pids that got it. */
  signal(name: NodeJS.Signals): readonly number[] {
    return this.members()
      .filter((stat) => signalProcess(stat, name))
      .map((stat) => stat.pid);
  }

  /** A child of the keeper is the worker's when it is the first process or an orphan from its tree. */
  #isOurs(stat: ProcessStat): boolean {
    if (stat.pid === this.#root) return true;
    if (this.#ownsOrphans) return !isRewatching(stat.pid);
    const mark = readsMark(stat.pid);
    if (mark !== undefined) return mark.startsWith(this.#mark);
    // Its environment is gone (titles are written over it) or closed to us; the filter it is under tells as well.
    return seccompFilters(stat.pid) > this.#ownFilters;
  }
}

/** Sends a signal to exactly this process; false when it has ended or may not be signalled. */
export function signalProcess({ pid, startTime }: ProcessId, name: NodeJS.Signals): boolean {
  return ifAlive(() => {
    const pidfd = pidfdOpen(pid);
    try {
      // The pidfd is of whoever has the number now: the start time tells whether that is the one we mean.
      if (processStat(pid)?.startTime !== startTime) return false;
      pidfdSignal(pidfd, signalNumber(name));
      return true;
    } finally {
      close(pidfd);
    }
  }, false);
}

/** Whether the process still has the socket at that number. Costs one look, where `holdersOf` costs a walk. */
export function stillHolds({ pid, fd }: SocketHolder, inode: number): boolean {
  return ifAlive(() => socketAt(pid, fd) === inode, false);
}

/** Whether that very process still lives. */
export function isAlive({ pid, startTime }: ProcessId): boolean {
  const stat = processStat(pid);
  return stat !== undefined && stat.startTime === startTime && stat.state !== 'Z';
}

function readsMark(pid: number): string | undefined {
  return ifAlive(() => startEnvironment(pid, WORKER_VARIABLE), undefined);
}

/** How many seccomp filters a process is under (Linux >= 5.9), 0 when it cannot be told. */
function seccompFilters(pid: number): number {
  return Number(statusField(pid, 'Seccomp_filters') ?? 0);
}

/** Gives `otherwise` when the process has ended (ESRCH) or may not be looked into or signalled by us. */
function ifAlive<T>(work: () => T, otherwise: T): T {
  try {
    return work();
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ESRCH' || code === 'EACCES' || code === 'EPERM') return otherwise;
    throw error;
  }
}

function listedChildren(pid: number): readonly ProcessStat[] {
  return statsOf(childrenOf(pid) ?? []);
}

function statsOf(pids: readonly number[]): readonly ProcessStat[] {
  return pids.map((pid) => processStat(pid)).filter((stat) => stat !== undefined);
}

/** Where the kernel keeps no lists of children: a look at all processes there are. */
function lookupInAll(): (pid: number) => readonly ProcessStat[] {
  const all = allProcesses();
  return (pid) => all.filter((stat) => stat.ppid === pid);
}
