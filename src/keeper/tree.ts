import { errorCode, isForbidden } from '../errors.js';
import { close } from '../kernel/fd.js';
import { pidfdOpen, pidfdSignal } from '../kernel/pidfd.js';
import {
  allProcesses,
  childrenOf,
  fdsOfSocket,
  linkOrGone,
  openFiles,
  type ProcessStat,
  processStat,
  socketAt,
  socketInodeOf,
  startEnvironment,
  statusField,
} from '../kernel/procfs.js';
import { signalNumber } from '../model/signals.js';
import { ownProcesses } from './own-processes.js';

/** A process beyond doubt: numbers are used again, but not with the same start time. */
export interface ProcessId {
  readonly pid: number;
  readonly startTime: number;
}

/** The variable that every process of a worker inherits: the keeper's name, pid and secret, and the worker's number. */
export const WORKER_VARIABLE = 'HOLDFAST_WORKER';

/** The variable that tells a worker, and holdfast/graceful in it, that it is to wait in its listen. */
export const STANDBY_VARIABLE = 'HOLDFAST_STANDBY';

export interface WorkerTreeOptions {
  /** Pid of the first process. */
  readonly root: number;
  /** Its value of WORKER_VARIABLE. */
  readonly mark: string;
  /** The number of our thread that started it. */
  readonly spawnerThread: number;
  /** This process starts nothing else, so that an orphan which tells nothing of where it is from is the worker's. */
  readonly ownsOrphans: boolean;
  /** Children that this process had before it started anything. */
  readonly before: ReadonlySet<number>;
  /**
   * Whether that is another worker's process; `mark`: its value of WORKER_VARIABLE, as far as it can be read. Default:
   * there is no other.
   */
  readonly isOthers?: (process: ProcessId, mark: string | undefined) => boolean;
  /** Whether orphans of this keeper that tell of no worker are this one's. Default true. */
  readonly takesStrays?: () => boolean;
  /** When the first process was started, if it is no child of this keeper: another one started it. */
  readonly adopted?: number;
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
  readonly #before: ReadonlySet<number>;
  readonly #spawnerThread: number;
  /** Start times of the members seen, by pid. */
  readonly #seen = new Map<number, number>();
  readonly #isOthers: (process: ProcessId, mark: string | undefined) => boolean;
  readonly #takesStrays: () => boolean;
  readonly #adopted: number | undefined;
  readonly #told = new Map<number, { readonly startTime: number; readonly mark: string }>();
  /** Whose children the orphans of an adopted worker become. */
  #reaper = 1;

  constructor({
    root,
    mark,
    spawnerThread,
    ownsOrphans,
    before,
    isOthers = () => false,
    takesStrays = () => true,
    adopted,
  }: WorkerTreeOptions) {
    this.#adopted = adopted;
    this.#isOthers = isOthers;
    this.#takesStrays = takesStrays;
    this.#before = before;
    this.#root = root;
    this.#mark = mark;
    this.#ownsOrphans = ownsOrphans;
    this.#spawnerThread = spawnerThread;
    this.#ownFilters = seccompFilters(process.pid);
  }

  /** Every living process of the worker; those that ended and wait to be reaped do not count. */
  members(): readonly ProcessStat[] {
    // Orphans come to the main thread (find_new_reaper() in kernel/exit.c), what we start is its starter's.
    const orphans = childrenOf(process.pid, [process.pid]);
    const children = orphans === undefined ? lookupInAll() : listedChildren;
    const found: ProcessStat[] = [];
    const waiting =
      this.#adopted === undefined
        ? this.#amongOwn(orphans, children)
        : this.#adoptedFrom(this.#adopted, children);
    for (let stat = waiting.pop(); stat !== undefined; stat = waiting.pop()) {
      if (stat.state === 'Z' || stat.state === 'X') continue;
      found.push(stat);
      this.#seen.set(stat.pid, stat.startTime);
      waiting.push(...children(stat.pid));
    }
    return found;
  }

  /** Its value of WORKER_VARIABLE. */
  get mark(): string {
    return this.#mark;
  }

  /** Of our children the first process, and what was orphaned. */
  #amongOwn(
    orphans: readonly number[] | undefined,
    children: (pid: number) => readonly ProcessStat[],
  ): ProcessStat[] {
    if (orphans === undefined)
      return children(process.pid).filter((stat) => this.#isOurs(stat, isFork(stat)));
    const started = childrenOf(process.pid, [this.#spawnerThread]) ?? [];
    return [
      ...statsOf(started).filter((stat) => this.#isOurs(stat, true)),
      ...statsOf(orphans).filter((stat) => this.#isOurs(stat, false)),
    ];
  }

  /** The first process, and what was orphaned since: it went to whoever the first one is a child of. */
  #adoptedFrom(startTime: number, children: (pid: number) => readonly ProcessStat[]): ProcessStat[] {
    const stat = processStat(this.#root);
    const root = stat?.startTime === startTime ? stat : undefined;
    if (root !== undefined) this.#reaper = root.ppid;
    const orphans = children(this.#reaper).filter((one) => {
      if (one.pid === root?.pid) return false;
      return this.knows(one) || (this.#mark !== '' && this.#tells(one) === this.#mark);
    });
    return root === undefined ? orphans : [root, ...orphans];
  }

  /** Who may be many is asked once each. */
  #tells({ pid, startTime }: ProcessId): string {
    const known = this.#told.get(pid);
    if (known?.startTime === startTime) return known.mark;
    const mark = workerMarkOf(pid) ?? '';
    this.#told.set(pid, { startTime, mark });
    return mark;
  }

  /** Whether a process that may have ended by now was seen as a member. */
  knows({ pid, startTime }: ProcessId): boolean {
    return this.#seen.get(pid) === startTime;
  }

  /** Members that have the socket open, as far as they may be looked into. */
  holdersOf(inode: number, members: readonly ProcessStat[] = this.members()): readonly SocketHolder[] {
    return members.flatMap(({ pid, startTime }) => {
      const [fd] = fdsOrUnknown(pid, inode) ?? [];
      return fd === undefined ? [] : [{ pid, startTime, fd }];
    });
  }

  /** Inodes of all sockets that members have open, as far as they may be looked into. */
  sockets(members: readonly ProcessStat[] = this.members()): readonly number[] {
    return members.flatMap(({ pid }) => socketsOf(pid));
  }

  /** Sends a signal to every member. Gives the pids that got it. */
  signal(name: NodeJS.Signals): readonly number[] {
    return this.members()
      .filter((stat) => signalProcess(stat, name))
      .map((stat) => stat.pid);
  }

  /**
   * A child of the keeper is the worker's when it is the first process or an orphan from its tree. `isStarted`: it is no
   * orphan, but what is started for some worker, which may not be known yet.
   */
  #isOurs(stat: ProcessStat, isStarted: boolean): boolean {
    if (stat.pid === this.#root || this.knows(stat)) return true;
    const mark = workerMarkOf(stat.pid);
    if (mark === this.#mark) return true;
    if (this.#isOthers(stat, mark)) return false;
    const isOfThisKeeper = mark?.startsWith(this.#mark.slice(0, this.#mark.lastIndexOf(':') + 1));
    // Of a worker that was thought to be gone, most likely: somebody has to end it.
    if (isOfThisKeeper) return this.#takesStrays();
    // Another keeper's in this process. One of a keeper below us is ours: it was left to us.
    if (mark?.includes(`:${process.pid}:`)) return false;
    if (isStarted || !this.#takesStrays()) return false;
    // Its environment is gone (titles are written over it) or closed to us; the filter it is under tells as well.
    if (seccompFilters(stat.pid) > this.#ownFilters) return true;
    return this.#ownsOrphans && !this.#before.has(stat.pid) && !ownProcesses.has(stat.pid);
  }
}

/** Whether a child is a copy of this process that has not begun its program yet. */
function isFork({ pid, hasBegunProgram }: ProcessStat): boolean {
  return !hasBegunProgram && linkOrGone(`/proc/${pid}/exe`) === linkOrGone('/proc/self/exe');
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

/** The process that has just listened, as a holder; undefined when it has ended or may not be looked into. */
export function holderOf(pid: number, inode: number): SocketHolder | undefined {
  const stat = processStat(pid);
  const [fd] = fdsOrUnknown(pid, inode) ?? [];
  return stat === undefined || fd === undefined ? undefined : { pid, startTime: stat.startTime, fd };
}

/**
 * Members that have the socket open now. One of the former holders that may no longer be looked into, because it has
 * dropped its user since, is taken at its former word.
 */
export function currentHolders(
  trees: readonly WorkerTree[],
  inode: number,
  former: readonly SocketHolder[],
): readonly SocketHolder[] {
  const found = trees.flatMap((tree) => tree.holdersOf(inode));
  if (found.length > 0) return found;
  return former.filter((holder) => isAlive(holder) && fdsOrUnknown(holder.pid, inode) === undefined);
}

/** Whether the process has any socket at that number; taken for granted of one that may not be looked into. */
export function holdsSocketAt(pid: number, fd: number): boolean {
  try {
    return socketAt(pid, fd) !== undefined;
  } catch (error) {
    if (isForbidden(error)) return true;
    throw error;
  }
}

/** Whether the process still has the socket at that number. Costs one look, where `holdersOf` costs a walk. */
export function stillHolds(holder: SocketHolder, inode: number): boolean {
  try {
    return socketAt(holder.pid, holder.fd) === inode;
  } catch (error) {
    if (isForbidden(error)) return isAlive(holder);
    throw error;
  }
}

/** Whether that very process still lives. */
export function isAlive({ pid, startTime }: ProcessId): boolean {
  const stat = processStat(pid);
  return stat !== undefined && stat.startTime === startTime && stat.state !== 'Z';
}

/** Whether it lives and is not ending: what one that is ending has no more, it has not given up on purpose. */
export function isAtWork({ pid, startTime }: ProcessId): boolean {
  const stat = processStat(pid);
  return stat !== undefined && stat.startTime === startTime && !stat.isExiting;
}

/** Whether the process waits for something, as a server does, rather than run or read from a disk. */
export function isAtRest({ pid }: ProcessId): boolean {
  return processStat(pid)?.state === 'S';
}

/** The fds by which a process has the socket; undefined when it may not be looked into. */
export function fdsOrUnknown(pid: number, inode: number): readonly number[] | undefined {
  try {
    return fdsOfSocket(pid, inode);
  } catch (error) {
    if (isForbidden(error)) return undefined;
    throw error;
  }
}

/** Inodes of the sockets that a process has open; none when it may not be looked into. */
export function socketsOf(pid: number): readonly number[] {
  try {
    return openFiles(pid)
      .map((file) => socketInodeOf(file.target))
      .filter((inode) => inode !== undefined);
  } catch (error) {
    if (isForbidden(error)) return [];
    throw error;
  }
}

/** The worker that a process says it is of; undefined when it says nothing, or may not be asked. */
export function workerMarkOf(pid: number): string | undefined {
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
    if (errorCode(error) === 'ESRCH' || isForbidden(error)) return otherwise;
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
