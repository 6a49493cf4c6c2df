import { setTimeout as sleep } from 'node:timers/promises';
import { reap } from '../kernel/process.js';
import type { ProcessStat } from '../kernel/procfs.js';
import { formatAddress, type InetAddress } from '../model/address.js';
import { signalName } from '../model/signals.js';
import type { HeldSockets } from './held.js';
import type { LifecycleEvent, Phase, WorkerEnd } from './lifecycle.js';
import type { Notice } from './notices.js';
import type { Caller } from './trap.js';
import {
  holdsSocketAt,
  isAlive,
  type ProcessId,
  type SocketHolder,
  signalProcess,
  type WorkerTree,
} from './tree.js';

/** How often the end of a tree is looked for while it is waited for; SIGCHLD usually tells sooner. */
const TREE_LOOK_MS = 25;
/** How often a daemon that has no socket yet is looked for. */
const DAEMON_LOOK_MS = 100;
const DAEMON_STARTS_MS = 500;
/** A process that SIGKILL does not end in this time hangs in the kernel; nobody can wait for it. */
const UNKILLABLE_MS = 5_000;
const STILL_LISTENS_MS = 100;
const KEY_SIGNALS: ReadonlySet<NodeJS.Signals> = new Set(['SIGINT', 'SIGQUIT', 'SIGHUP']);
const KEY_SIGNAL_MS = 20;

/** What a worker's owner does for it. */
export interface WorkerHost {
  /** The held sockets of its generation. */
  readonly held: HeldSockets;
  /** Those of the generation that it is to take over from, or has not taken every address from yet. */
  readonly predecessor: () => HeldSockets | undefined;
  readonly phase: () => Phase;
  /** It is to wait in its listen until it is needed. */
  readonly isStandby: () => boolean;
  /** It waits there now. */
  readonly parked: () => void;
  readonly isDaemonized: () => boolean;
  /** Only what the tree tells; how the lifecycle goes on is the owner's. */
  readonly dispatch: (event: LifecycleEvent) => void;
  readonly say: (notice: Notice) => void;
  /** It has said that it is ready, by one of the ways there are. */
  readonly toldReady: () => void;
  /** Its first process has ended, and nothing else is done about it yet. */
  readonly rootEnding: (end: WorkerEnd) => void;
  /** Another process is its first one now. */
  readonly rootChanged: () => void;
  /** No process of it is left. */
  readonly gone: (worker: Worker) => void;
  /** Ended children that are nobody's first process, libuv's business, may be reaped now. */
  readonly reapOrphans: () => void;
}

/** One running copy of the server, with all its descendants. */
export class Worker implements Caller {
  /** Which start of this keeper it is, from 1. */
  readonly id: number;
  /** Which start in its place it is, from 1. */
  readonly attempt: number;
  /** When it was started, in ms of `performance.now()`. */
  readonly startedMs: number = performance.now();
  readonly #host: WorkerHost;
  /** Addresses that it has tried to bind since it last listened anywhere. The trap writes them. */
  readonly unlistened: Map<string, InetAddress> = new Map();
  #root: ProcessId | undefined;
  #tree: WorkerTree | undefined;
  /** It has just listened on a socket that is not held. */
  #listensUnheld = false;
  #rootEnded = false;
  #isDying = false;
  /** How the daemon ended, once it has. */
  #daemonEnd: WorkerEnd | undefined;
  /** The root is a daemon that was found by its socket. */
  #followed = false;
  #treeLook: NodeJS.Timeout | undefined;
  #killingSince: number | null = null;
  /** SIGKILL was sent to it before its process was known. */
  #killAtStart = false;
  #failed = false;
  #toldReady = false;
  #parkedSince: number | undefined;
  /** Its listens that wait. */
  readonly #waiting: ((needed: boolean) => void)[] = [];

  constructor(id: number, attempt: number, host: WorkerHost) {
    this.id = id;
    this.attempt = attempt;
    this.#host = host;
  }

  get held(): HeldSockets {
    return this.#host.held;
  }

  get predecessor(): HeldSockets | undefined {
    return this.#host.predecessor();
  }

  /** Its first process, or the daemon that this has become; undefined while the start is on its way. */
  get root(): ProcessId | undefined {
    return this.#root;
  }

  /** Undefined while the start is on its way. */
  get tree(): WorkerTree | undefined {
    return this.#tree;
  }

  get rootEnded(): boolean {
    return this.#rootEnded;
  }

  /** It waits in its listen until it is needed, or will. */
  get isStandby(): boolean {
    return this.#host.isStandby();
  }

  /** It has waited in its listen since then, in ms of `performance.now()`; undefined when it does not. */
  get parkedSince(): number | undefined {
    return this.#parkedSince;
  }

  /** The trap asks: is this listen to wait? */
  parked(): Promise<boolean> | undefined {
    if (!this.isStandby) return undefined;
    if (this.#parkedSince === undefined) {
      this.#parkedSince = performance.now();
      this.#host.parked();
    }
    return new Promise((go) => this.#waiting.push(go));
  }

  /** It has said that it is ready. */
  get toldReady(): boolean {
    return this.#toldReady;
  }

  tellReady(): void {
    this.#toldReady = true;
    this.#host.toldReady();
  }

  /** Lets it go on from its listen; `needed` false: it is to end. */
  unpark(needed: boolean): void {
    this.#parkedSince = undefined;
    for (const go of this.#waiting.splice(0)) go(needed);
  }

  /** It could not be started, and never has a process. */
  get failed(): boolean {
    return this.#failed;
  }

  notStarted(): void {
    this.#failed = true;
  }

  /** Its process runs now. A stop that was asked for meanwhile had nobody to signal. */
  started(root: ProcessId, tree: WorkerTree, stopSignal: NodeJS.Signals): void {
    this.#root = root;
    this.#tree = tree;
    if (this.#killAtStart) signalProcess(root, 'SIGKILL');
    else if (this.#host.phase() === 'stopping') signalProcess(root, stopSignal);
  }

  /** The first process has just ended; `ended` tells it again, later. A standby must not wait for that. */
  dying(end: WorkerEnd): void {
    if (this.#isDying) return;
    this.#isDying = true;
    // It died within the moment in which a socket is confirmed: then it had it open.
    const wasListening = this.#host.held.all().some((held) => held.claims.has(this.id) && !held.confirmed);
    if (wasListening) this.#host.dispatch({ type: 'confirmed' });
    this.#host.rootEnding(end);
  }

  /** The first process has ended. */
  async ended(end: WorkerEnd): Promise<void> {
    this.#parkedSince = undefined;
    // Nobody answers its clients: a standby must not wait for what is said and looked at here.
    this.dying(end);
    // A key on the terminal signals the server and us at once: ours must be read before its end is judged.
    if (end.signal !== null && KEY_SIGNALS.has(end.signal)) await sleep(KEY_SIGNAL_MS);
    this.#rootEnded = true;
    this.#host.say({ type: 'exited', pid: this.#root?.pid ?? 0, ...end });
    this.#tellUnlistened(end);
    if (end.code === 0 && this.#host.phase() !== 'stopping') await this.#untilServes();
    const members = this.#members();
    if (this.#listensUnheld && end.signal !== null) this.#host.dispatch({ type: 'confirmed' });
    if (members.length === 0) this.#host.gone(this);
    this.#host.dispatch({
      type: 'root-ended',
      end,
      left: members.length > 0,
      serves: this.#holdersAmong(members).length > 0,
    });
    this.childEnded();
  }

  /** A child of ours has ended, perhaps one of its orphans. */
  childEnded(): void {
    this.#host.reapOrphans();
    if (this.#treeLook !== undefined || (this.#host.isDaemonized() && this.#rootEnded)) this.#lookAtTree();
  }

  /** Reaps one of its orphans, which ended as our child. */
  reap(pid: number): void {
    const isDaemon = this.#followed && this.#root?.pid === pid;
    const end = reap(pid);
    if (end === undefined) return;
    const signal = end.signal === null ? null : (signalName(end.signal) ?? 'SIGKILL');
    if (isDaemon || !this.#followed) this.#daemonEnd = { code: end.code, signal };
  }

  /** Its first process exited and left others that go on. */
  followDaemon(): void {
    this.#watchTree(DAEMON_LOOK_MS);
    this.#host.say({ type: 'daemonized', pids: this.#members().map((stat) => stat.pid) });
  }

  signalRoot(signal: NodeJS.Signals): void {
    if (this.#root === undefined) return;
    if (this.#rootEnded && !this.#followed) this.signalTree(signal);
    else signalProcess(this.#root, signal);
    if (this.#rootEnded) this.#watchTree();
    // Parked, a program with a handler of its own does not see the signal.
    this.unpark(false);
  }

  signalTree(signal: NodeJS.Signals): void {
    // Whoever is on his way is signalled when he is there.
    if (this.#root === undefined) {
      this.#killAtStart ||= signal === 'SIGKILL';
      return;
    }
    if (signal === 'SIGKILL') this.#killingSince ??= performance.now();
    const pids = this.#tree?.signal(signal) ?? [];
    if (signal === 'SIGKILL' && pids.length > 0) this.#host.say({ type: 'killed', pids });
    this.#watchTree();
  }

  /** It listens on a socket that is not held: that makes it a server if the socket is still there a moment later. */
  listensUnheld(pid: number, fd: number): void {
    this.#listensUnheld = true;
    setTimeout(() => {
      this.#listensUnheld = false;
      if (holdsSocketAt(pid, fd)) this.#host.dispatch({ type: 'confirmed' });
    }, STILL_LISTENS_MS).unref();
  }

  /** Looks no more. */
  stop(): void {
    clearInterval(this.#treeLook);
    this.#treeLook = undefined;
    this.#killingSince = null;
  }

  #members(): readonly ProcessStat[] {
    return this.#tree?.members() ?? [];
  }

  /** Perhaps its bind failed, which nobody has told. */
  #tellUnlistened({ code }: WorkerEnd): void {
    const addresses = [...this.unlistened.values()].map(formatAddress);
    this.unlistened.clear();
    if (addresses.length === 0 || code === 0 || this.#host.phase() === 'stopping') return;
    this.#host.say({ type: 'never-listened', pid: this.#root?.pid ?? 0, addresses });
  }

  /** What goes into the background may let its first process end before it listens: it gets a moment. */
  async #untilServes(): Promise<void> {
    const until = performance.now() + DAEMON_STARTS_MS;
    for (let members = this.#members(); members.length > 0; members = this.#members()) {
      const serves = this.#holdersAmong(members).length > 0 || this.#listensUnheld;
      if (serves || this.#host.phase() === 'stopping' || performance.now() > until) return;
      await sleep(TREE_LOOK_MS);
    }
  }

  /** From now on looks whether anything is left of the tree. */
  #watchTree(everyMs: number = TREE_LOOK_MS): void {
    clearInterval(this.#treeLook);
    this.#treeLook = setInterval(() => this.#lookAtTree(), everyMs);
  }

  #lookAtTree(): void {
    if (!this.#rootEnded) return;
    // So that how it ended is known before that it has.
    this.#host.reapOrphans();
    const members = this.#members();
    if (this.#host.isDaemonized() && this.#host.phase() !== 'stopping') {
      this.#lookAtDaemon(members);
    } else if (members.length === 0) {
      this.#treeGone();
    } else if (this.#killingSince !== null) {
      // What was forked while the signals were on their way gets its own.
      this.#tree?.signal('SIGKILL');
      if (performance.now() - this.#killingSince < UNKILLABLE_MS) return;
      const pids = members.map((stat) => stat.pid).join(', ');
      this.#host.say({ type: 'warning', text: `SIGKILL does not end ${pids}; going on without` });
      this.#treeGone();
    } else if (this.#followed && this.#daemonEnd !== undefined) {
      // The daemon obeyed the stop signal; what it left behind gets its own.
      this.#followed = false;
      this.#host.dispatch({ type: 'root-ended', end: this.#daemonEnd, left: true, serves: false });
    }
  }

  #holdersAmong(members: readonly ProcessStat[]): readonly SocketHolder[] {
    return this.#host.held.all().flatMap((held) => this.#tree?.holdersOf(held.inode, members) ?? []);
  }

  /** The daemon is the process that came to us as an orphan and has a held socket. */
  #lookAtDaemon(members: readonly ProcessStat[]): void {
    if (!this.#followed) {
      const own = members.filter((stat) => stat.ppid === process.pid);
      const holders = this.#holdersAmong(members);
      // Itself, or what it was started by and will end with.
      const daemon =
        holders.find(({ pid }) => own.some((stat) => stat.pid === pid)) ??
        (holders.length > 0 ? own[0] : undefined);
      if (daemon !== undefined) {
        this.#root = daemon;
        this.#followed = true;
        this.#daemonEnd = undefined;
        this.#host.rootChanged();
        // It is our child now: SIGCHLD tells its end.
        this.stop();
        return;
      }
      if (members.length > 0) return;
    } else if (this.#root !== undefined && isAlive(this.#root)) {
      return;
    } else if (this.#daemonEnd?.code === 0 && this.#holdersAmong(members).length > 0) {
      // It handed its work to another process (nginx by USR2 and QUIT), which is the daemon from now on.
      this.#followed = false;
      this.#watchTree(DAEMON_LOOK_MS);
      return;
    }
    // It may have ended after it was last looked for ended children.
    if (this.#daemonEnd === undefined) this.#host.reapOrphans();
    this.stop();
    const end = this.#daemonEnd ?? { code: 0, signal: null };
    this.#host.say({ type: 'exited', pid: this.#root?.pid ?? 0, ...end });
    if (members.length === 0) this.#host.gone(this);
    this.#host.dispatch({ type: 'daemon-ended', end, left: members.length > 0 });
  }

  #treeGone(): void {
    this.stop();
    this.#host.gone(this);
    const end = this.#daemonEnd;
    this.#host.dispatch({ type: 'tree-gone', ...(end === undefined ? {} : { end }) });
  }
}
