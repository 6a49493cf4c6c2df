import { type SocketFd, type SocketWalk, walkSockets } from '../kernel/fd-walk.js';
import { commandLine, processStat } from '../kernel/procfs.js';
import { programOf } from '../model/program.js';
import type { WatchedProcess } from './view.js';

/** Of the time, what walks over all processes may take of a CPU, and those over processes that have sockets already. */
const WALK_SHARE = 0.02;
const SHORT_WALK_SHARE = 0.01;
/** An fd may be a moment later than its socket: so often a socket is looked for. */
const TRIES = 2;
/** A socket that a keeper alone has is about to get a server. */
const KEPT_MS = 3_000;
/** A process may run another program meanwhile. */
const DESCRIBED_MS = 10_000;
/** In the command line of what has a keeper's sockets for the next keeper. */
const HOLDER = 'holdfast-holder:';

interface Known {
  readonly told: WatchedProcess;
  readonly isHolder: boolean;
  readonly startTime: number;
  readonly ppid: number;
  readonly describedMs: number;
}

/** Sockets to look for. Others than connections may be had by several processes. */
export interface Inodes {
  readonly connections: ReadonlySet<number>;
  readonly others: ReadonlySet<number>;
}

/** Who has the sockets. All fds of all processes are looked at only when there are sockets that were not there before. */
export class Owners {
  /** By inode, the processes that have it open. */
  readonly #holders = new Map<number, readonly number[]>();
  /** Of those that nobody has been found to have so far. */
  readonly #tries = new Map<number, number>();
  readonly #processes = new Map<number, Known>();
  #keepers: ReadonlySet<number> = new Set();
  #hiddenProcesses = 0;
  #keptDueMs = 0;
  readonly #walks = new Allowance(WALK_SHARE);
  readonly #shortWalks = new Allowance(SHORT_WALK_SHARE);

  /**
   * Looks for who has the sockets with these inodes, and forgets all others. `keepers`: processes that keep sockets for
   * others. Gives the inodes whose holders are others than before.
   */
  update({ connections, others }: Inodes, keepers: ReadonlySet<number>): ReadonlySet<number> {
    this.#keepers = keepers;
    const isThere = (inode: number): boolean => connections.has(inode) || others.has(inode);
    const gone = this.#refreshProcesses();
    const before = new Map<number, readonly number[] | undefined>();
    const isKeptDue = performance.now() >= this.#keptDueMs;
    if (isKeptDue) this.#keptDueMs = performance.now() + KEPT_MS;
    for (const [inode, pids] of this.#holders) {
      const isLost = pids.some((pid) => gone.has(pid));
      if (isThere(inode) && !isLost && !(isKeptDue && this.#isKept(pids))) continue;
      before.set(inode, pids);
      if (isLost || !isThere(inode)) this.#holders.delete(inode);
    }
    for (const inode of this.#tries.keys()) if (!isThere(inode)) this.#tries.delete(inode);
    const wanted = [...connections, ...others].filter(
      (inode) => before.has(inode) || !this.#holders.has(inode),
    );
    for (const inode of wanted) if (!before.has(inode)) before.set(inode, undefined);
    if (wanted.length > 0) this.#find(new Set(wanted), connections);
    return new Set(
      [...before.keys()].filter((inode) => `${before.get(inode)}` !== `${this.#holders.get(inode)}`),
    );
  }

  /** Undefined: it has not been looked for yet. Empty: nobody whom we may see has it. */
  holdersOf(inode: number): readonly number[] | undefined {
    return this.#holders.get(inode);
  }

  /** Of several that have a socket the one that serves: not a keeper, and not who only inherited it. */
  ownerOf(inode: number): number | null {
    const holders = this.#holders.get(inode) ?? [];
    const rank = (pid: number): number => {
      if (this.#keeps(pid)) return 2;
      const parent = this.#processes.get(pid)?.ppid ?? 0;
      return holders.includes(parent) && !this.#keeps(parent) ? 1 : 0;
    };
    const [first] = [...holders].sort((one, other) => rank(one) - rank(other) || one - other);
    return first ?? null;
  }

  /** A process that has a socket. */
  process(pid: number): WatchedProcess | undefined {
    return this.#processes.get(pid)?.told;
  }

  /** How many processes might have sockets whose holders cannot be told. */
  get hiddenProcesses(): number {
    return this.#hiddenProcesses;
  }

  /** Whether it has sockets for others to serve. */
  #keeps(pid: number): boolean {
    return this.#keepers.has(pid) || this.#processes.get(pid)?.isHolder === true;
  }

  #isKept(pids: readonly number[]): boolean {
    return pids.length > 0 && pids.every((pid) => this.#keeps(pid));
  }

  /** Most connections that are new belong to a process that has other sockets. */
  #find(wanted: ReadonlySet<number>, connections: ReadonlySet<number>): void {
    const fresh = new Set([...wanted].filter((inode) => connections.has(inode)));
    const likely = fresh.size === 0 ? [] : [...this.#processes.keys()];
    const short = (): SocketWalk => walkSockets(fresh, Number.POSITIVE_INFINITY, likely);
    const found = likely.length === 0 ? undefined : this.#shortWalks.use(short);
    for (const [inode, holders] of found?.holders ?? []) this.#take(inode, holders);
    const left = new Set([...wanted].filter((inode) => found?.holders.has(inode) !== true));
    if (left.size === 0) return;
    const walk = this.#walks.use(() => walkSockets(left));
    if (walk === undefined) return;
    this.#hiddenProcesses = walk.hiddenPids.length;
    for (const inode of left) {
      const tries = (this.#tries.get(inode) ?? 0) + 1;
      const holders = walk.holders.get(inode) ?? [];
      if (holders.length === 0 && tries < TRIES) this.#tries.set(inode, tries);
      else this.#take(inode, holders);
    }
  }

  #take(inode: number, holders: readonly SocketFd[]): void {
    const pids = [...new Set(holders.map(({ pid }) => pid))];
    this.#holders.set(inode, pids);
    this.#tries.delete(inode);
    for (const pid of pids) this.#describe(pid, this.#processes.get(pid));
  }

  /** Gives those that have ended. */
  #refreshProcesses(): ReadonlySet<number> {
    const used = new Set([...this.#holders.values()].flat());
    const gone = new Set<number>();
    for (const [pid, known] of this.#processes) {
      if (!used.has(pid)) this.#processes.delete(pid);
      else if (!this.#describe(pid, known)) gone.add(pid);
    }
    return gone;
  }

  /** False when it is not the process that is known. */
  #describe(pid: number, known: Known | undefined): boolean {
    const stat = processStat(pid);
    if (
      stat === undefined ||
      stat.state === 'Z' ||
      (known !== undefined && known.startTime !== stat.startTime)
    ) {
      this.#processes.delete(pid);
      return false;
    }
    const nowMs = performance.now();
    if (known !== undefined && nowMs - known.describedMs < DESCRIBED_MS && known.ppid === stat.ppid)
      return true;
    const words = commandLine(pid);
    const program = programOf(words).name || stat.comm;
    const told = known?.told.program === program ? known.told : { pid, program };
    const isHolder = words.some((word) => word.includes(HOLDER));
    const { ppid, startTime } = stat;
    this.#processes.set(pid, { told, isHolder, startTime, ppid, describedMs: nowMs });
    return true;
  }
}

/** Lets work be done as long as it takes no more than a part of a CPU's time. */
class Allowance {
  readonly #share: number;
  #nextMs = 0;

  constructor(share: number) {
    this.#share = share;
  }

  /** Undefined: not now. */
  use<T>(work: () => T): T | undefined {
    if (performance.now() < this.#nextMs) return undefined;
    const before = process.cpuUsage();
    const result = work();
    const { user, system } = process.cpuUsage(before);
    this.#nextMs = performance.now() + (user + system) / 1_000 / this.#share;
    return result;
  }
}
