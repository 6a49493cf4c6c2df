import { EventEmitter } from 'node:events';
import { closeSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode, errorText, HoldfastError } from '../errors.js';
import { close } from '../kernel/fd.js';
import { EOPNOTSUPP, type Fd } from '../kernel/libc.js';
import { mayCopyFds } from '../kernel/pidfd.js';
import { Poller, startThreadPool } from '../kernel/poller.js';
import { becomeSubreaper, reap } from '../kernel/process.js';
import {
  allProcesses,
  CAP_SYS_ADMIN,
  childrenOf,
  hasCapability,
  type ProcessStat,
  processStat,
} from '../kernel/procfs.js';
import { SeccompNotifier } from '../kernel/seccomp.js';
import { isListening, refuseNewConnections } from '../kernel/socket.js';
import { formatAddress } from '../model/address.js';
import { defaultName } from '../model/keeper-name.js';
import { signalName } from '../model/signals.js';
import { version } from '../version.js';
import { Attendance } from './attendance.js';
import { type ControlServer, serveControl } from './control.js';
import { findProgram, type HandedSocket, handOver } from './hand-over.js';
import { acceptClients, describeHeld, type HeldSocket, HeldSockets, isServed, queueLength } from './held.js';
import {
  begin,
  type Effect,
  type Lifecycle,
  type LifecycleEvent,
  type Step,
  step,
  type TimerName,
  type WorkerEnd,
} from './lifecycle.js';
import { bindAll, inheritedSockets, removeSocketFile } from './listen.js';
import type { Notice } from './notices.js';
import { holdForMs, type Identity, identityOf, type KeepOptions, policyOf } from './options.js';
import { rehearse } from './rehearsal.js';
import { isRewatching } from './rewatch.js';
import { ServiceManager } from './service-manager.js';
import { Spawner } from './spawner.js';
import {
  checkName,
  type KeeperState,
  lockName,
  removeFiles,
  type StateFiles,
  stateFiles,
  writeState,
} from './state.js';
import { Trap, trappedCalls } from './trap.js';
import {
  holderOf,
  holdsSocketAt,
  isAlive,
  type ProcessId,
  type SocketHolder,
  signalProcess,
  WORKER_VARIABLE,
  WorkerTree,
} from './tree.js';
import { unheldListeners } from './unheld.js';

/** How often the end of a tree is looked for while it is waited for; SIGCHLD usually tells sooner. */
const TREE_LOOK_MS = 25;
/** How often a daemon that has no socket yet is looked for. */
const DAEMON_LOOK_MS = 100;
const DAEMON_STARTS_MS = 500;
/** A process that SIGKILL does not end in this time hangs in the kernel; nobody can wait for it. */
const UNKILLABLE_MS = 5_000;
const START_TOLD_MS = 5;
const LISTENING_LOOK_MS = 100;
const LISTENING_LOOK_MAX_MS = 2_000;
const NOTHING_LISTENS_MS = 5_000;
/** At the stop: how long connections that are queued already may take to be accepted. */
const QUEUE_DRAIN_MS = 1_000;
/** Node fires a longer timer at once. */
const TIMER_MAX_MS = 0x7fffffff;
const STATE_WRITE_MS = 20;
const KEY_SIGNALS: ReadonlySet<NodeJS.Signals> = new Set(['SIGINT', 'SIGQUIT', 'SIGHUP']);
const KEY_SIGNAL_MS = 20;
/** Delays are spread by this share either way, so that keepers do not start their servers in step. */
const JITTER = 0.2;

const TIMER_EVENTS: Readonly<Record<TimerName, LifecycleEvent>> = {
  steady: { type: 'steady' },
  cleanup: { type: 'cleanup-timeout' },
  backoff: { type: 'backoff-over' },
  stop: { type: 'stop-timeout' },
};

/** The running copy of the server. */
interface Worker {
  /** Its first process, or the daemon that this has become. */
  root: ProcessId;
  readonly tree: WorkerTree;
  /** It has just listened on a socket that is not held. */
  listensUnheld: boolean;
  rootEnded: boolean;
  /** How the daemon ended, once it has. */
  daemonEnd: WorkerEnd | undefined;
  /** The root is a daemon that was found by its socket. */
  followed: boolean;
}

/** What only the command, which is a process of its own, asks of a keeper. */
export interface ProcessDuties {
  /** This process starts nothing else, so that every orphan that comes to it is the server's and is reaped. */
  readonly reapsAll: boolean;
  /** SIGHUP is ignored (nohup) and the server is to ignore it too. */
  readonly ignoresHangup: boolean;
  /** The environment by which a service manager talks to this process (NOTIFY_SOCKET, LISTEN_FDS); undefined: none. */
  readonly serviceEnv: NodeJS.ProcessEnv | undefined;
}

/** Events of a Keeper: every Notice as `notice`, and each under its own type. */
export type KeeperEvents = { notice: [Notice] } & { [N in Notice as N['type']]: [N] };

/** Keeps one server: owns its listening sockets, and starts it again when it dies. */
export class Keeper extends EventEmitter<KeeperEvents> implements AsyncDisposable {
  readonly name: string;
  /** Settles when the server has ended for good and every held socket is closed. */
  readonly exited: Promise<{ readonly exitCode: number }>;

  readonly #options: KeepOptions;
  readonly #duties: ProcessDuties;
  readonly #identity: Identity | undefined;
  readonly #cwd: string;
  readonly #files: StateFiles;
  readonly #lock: Fd;
  readonly #serviceManager: ServiceManager;
  readonly #held = new HeldSockets((held) => this.#serviceManager.remove(held));
  readonly #announced = new WeakSet<HeldSocket>();
  /** Whether fds may be copied out of other processes here. */
  readonly #mayCopy = mayCopyFds();
  /** Children that this process had before: not the server's. */
  readonly #before: ReadonlySet<number> = new Set(orphans());
  readonly #since = Date.now();
  readonly #timers = new Map<TimerName, NodeJS.Timeout>();
  readonly #attendance: Attendance;
  readonly #onChild = (): void => this.#childEnded();
  readonly #onExit = (): void => this.#poller?.close();
  #finish: (outcome: { exitCode: number }) => void = () => undefined;
  #handed: readonly HandedSocket[] = [];
  #poller: Poller | undefined;
  #trap: Trap | undefined;
  #spawner: Spawner | undefined;
  #control: ControlServer | undefined;
  #lifecycle: Lifecycle;
  #worker: Worker | undefined;
  #starts = 0;
  /** A start is on its way and its process not known yet. */
  #spawning = false;
  #stopAtOnce = false;
  #killingSince: number | null = null;
  #treeLook: NodeJS.Timeout | undefined;
  #stateWrite: NodeJS.Timeout | undefined;
  #startUntold: Notice | undefined;
  #nothingListens: NodeJS.Timeout | undefined;

  private constructor(options: KeepOptions, duties: ProcessDuties) {
    super();
    this.#options = options;
    this.#duties = duties;
    this.#cwd = options.cwd ?? process.cwd();
    if (options.onNotice) this.on('notice', options.onNotice);
    if (!statSync(this.#cwd, { throwIfNoEntry: false })?.isDirectory()) {
      throw new HoldfastError('ERR_HOLDFAST_OPTION', `cwd: ${this.#cwd} is no folder`);
    }
    if (options.command.length === 0) {
      throw new HoldfastError('ERR_HOLDFAST_OPTION', 'there is no command to run; it stands after --');
    }
    this.#serviceManager = new ServiceManager(duties.serviceEnv?.NOTIFY_SOCKET, (notice) =>
      this.#say(notice),
    );
    this.name = checkName(options.name ?? defaultName(this.#cwd));
    const policy = policyOf(options);
    const holdMs = holdForMs(options);
    this.#identity = identityOf(options);
    this.#lifecycle = begin(policy).lifecycle;
    this.exited = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#files = stateFiles(this.name);
    this.#lock = lockName(this.name, this.#files);
    this.#attendance = new Attendance({
      held: this.#held,
      tree: () => this.#worker?.tree,
      holdForMs: holdMs,
      say: (notice) => this.#say(notice),
      changed: (confirmed) => this.#socketsChanged(confirmed),
    });
  }

  /**
   * Starts keeping. Resolves when the server has been started for the first time.
   *
   * @throws {HoldfastError} what `keep` lists; nothing is left behind.
   */
  static async start(options: KeepOptions, duties: ProcessDuties): Promise<Keeper> {
    const keeper = new Keeper(options, duties);
    try {
      await keeper.#begin();
      return keeper;
    } catch (error) {
      await keeper.#tearDown();
      throw error;
    }
  }

  /** What `holdfast status` shows. */
  status(): KeeperState {
    return {
      version: 1,
      name: this.name,
      holdfast: version,
      pid: process.pid,
      startTime: processStat('self')?.startTime ?? 0,
      command: this.#options.command,
      directory: this.#cwd,
      phase: this.#lifecycle.phase,
      starts: this.#starts,
      since: this.#since,
      worker: this.#worker?.root ?? null,
      lastEnd: this.#lifecycle.lastEnd,
      sockets: this.#held.all().map((held) => ({
        address: describeHeld(held),
        inode: held.inode,
        served: isServed(held),
        waiting: isListening(held.fd) ? queueLength(held) : 0,
      })),
    };
  }

  /**
   * Ends the server: no new connections, then the stop signal, after the stop timeout SIGKILL for its whole tree. A
   * second call sends SIGKILL at once. `delivered`: the terminal has sent the signal to the server already.
   */
  stop(signal?: NodeJS.Signals, delivered = false): Promise<{ readonly exitCode: number }> {
    if (this.#lifecycle.phase !== 'ended') {
      this.#serviceManager.stopping();
      this.#say({ type: 'stopping', signal: signal ?? this.#lifecycle.policy.stopSignal });
      this.#dispatch({ type: 'stop-requested', delivered, ...(signal === undefined ? {} : { signal }) });
    }
    return this.exited;
  }

  /** Passes a signal on to the server's first process. False when none runs. */
  forward(signal: NodeJS.Signals): boolean {
    return this.#worker !== undefined && signalProcess(this.#worker.root, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #begin(): Promise<void> {
    // So that a wrong command is said before anything is bound or started.
    findProgram(this.#options.command[0] ?? '', this.#environment(), this.#cwd);
    becomeSubreaper();
    await startThreadPool();
    this.#poller = new Poller();
    process.once('exit', this.#onExit);
    process.on('SIGCHLD', this.#onChild);
    const spawner = Spawner.start({
      trap: this.#options.trap === false ? [] : trappedCalls(this.#mayCopy),
      noNewPrivileges: !hasCapability('self', CAP_SYS_ADMIN),
    });
    if (this.#options.trap !== false)
      await Promise.allSettled([spawner, rehearse(this.#poller, this.#mayCopy)]);
    this.#spawner = await spawner;
    // Only now: where there can be no trap, another keeper without one takes these instead.
    this.#handed = inheritedSockets(this.#duties.serviceEnv ?? {}, this.#held);
    this.#handed = [...this.#handed, ...(await bindAll(this.#options.listen ?? [], this.#held))];
    this.#answerTraps(this.#spawner);
    this.#control = await serveControl(this.#files.control, {
      status: () => this.status(),
      stop: () => void this.stop(),
    });
    this.#options.signal?.addEventListener('abort', () => void this.stop(), { once: true });
    await this.#spawn();
    if (this.#options.signal?.aborted) void this.stop();
    this.#nothingListens = setTimeout(() => this.#sayNothingListens(), NOTHING_LISTENS_MS);
  }

  #answerTraps({ notifier }: Spawner): void {
    if (notifier === null) return;
    const trap = new Trap({
      notifier: new SeccompNotifier(notifier),
      mayCopy: this.#mayCopy,
      held: this.#held,
      tree: () => this.#worker?.tree,
      say: (notice) => this.#say(notice),
      listened: (held, pid, again) => this.#listened(held, pid, again),
      servesUnheld: () => this.#servesUnheld(),
      letListen: (pid, fd) => this.#confirmLater(pid, fd),
    });
    this.#poller?.add(notifier, () => trap.handle());
    this.#trap = trap;
  }

  #dispatch(event: LifecycleEvent): void {
    this.#follow(step(this.#lifecycle, event));
  }

  #follow({ lifecycle, effects }: Step): void {
    const before = this.#lifecycle;
    this.#lifecycle = lifecycle;
    this.#perform(effects);
    if (before.phase !== lifecycle.phase) this.#stateChanged();
  }

  /** Performs effects in order; those after `close-entrance` wait for it. */
  #perform(effects: readonly Effect[]): void {
    for (const [index, effect] of effects.entries()) {
      if (effect.type === 'close-entrance') {
        void this.#closeEntrance()
          .catch((error: unknown) => this.#say({ type: 'warning', text: `at the stop: ${errorText(error)}` }))
          .finally(() => this.#perform(effects.slice(index + 1)));
        return;
      }
      this.#performOne(effect);
    }
  }

  #performOne(effect: Exclude<Effect, { type: 'close-entrance' }>): void {
    switch (effect.type) {
      case 'spawn':
        void this.#respawn();
        return;
      case 'follow-daemon':
        this.#watchTree(DAEMON_LOOK_MS);
        this.#say({ type: 'daemonized', pids: (this.#worker?.tree.members() ?? []).map((stat) => stat.pid) });
        return;
      case 'signal-root':
        this.#signalRoot(effect.signal);
        return;
      case 'signal-tree':
        this.#signalTree(effect.signal);
        return;
      case 'start-timer':
        this.#startTimer(effect.timer, effect.ms);
        return;
      case 'stop-timer':
        clearTimeout(this.#timers.get(effect.timer));
        this.#timers.delete(effect.timer);
        return;
      case 'end':
        void this.#end(effect.exitCode);
        return;
    }
  }

  async #spawn(): Promise<void> {
    const spawner = this.#spawner;
    if (spawner === undefined) throw new Error('the spawner runs before anything is spawned');
    const env = this.#environment();
    const { command } = this.#options;
    const file = findProgram(command[0] ?? '', env, this.#cwd);
    const mark = `${this.name}:${process.pid}:`;
    this.#starts += 1;
    this.#trap?.takeUnlistened();
    this.#openHanded();
    const handed = handOver(
      command[0]?.includes('/') ? [file, ...command.slice(1)] : command,
      { ...env, [WORKER_VARIABLE]: `${mark}${this.#starts}` },
      this.#handed,
      { generation: this.#starts, ignoreHangup: this.#duties.ignoresHangup },
    );
    const spawned = spawner.spawn({
      ...handed,
      cwd: this.#cwd,
      ...(this.#identity === undefined ? {} : { credentials: this.#identity }),
    });
    this.#spawning = true;
    const { pid, exited } = await spawned.finally(() => {
      this.#spawning = false;
    });
    const root = { pid, startTime: processStat(pid)?.startTime ?? 0 };
    const worker: Worker = {
      root,
      tree: new WorkerTree({
        root: pid,
        mark,
        spawnerThread: spawner.threadId,
        ownsOrphans: this.#duties.reapsAll && process.pid !== 1,
        before: this.#before,
      }),
      listensUnheld: false,
      rootEnded: false,
      daemonEnd: undefined,
      followed: false,
    };
    this.#worker = worker;
    void exited.then((end) => this.#rootEnded(worker, end));
    this.#startUntold = { type: 'started', pid, attempt: this.#starts };
    setTimeout(() => this.#tellStart(), START_TOLD_MS);
    this.#stateChanged();
    this.#lookForListening(worker);
    if (this.#handed.length > 0) this.#attendance.handed(this.#handed.map(({ held }) => held));
    // A stop that was asked for while this start was on its way had nobody to signal.
    if (this.#lifecycle.phase !== 'stopping') return;
    signalProcess(root, this.#stopAtOnce ? 'SIGKILL' : this.#lifecycle.policy.stopSignal);
  }

  /** Nobody tells when the worker listens on a socket that does not come through the trap: it is looked for. */
  #lookForListening(worker: Worker, waitMs: number = LISTENING_LOOK_MS): void {
    const timer = setTimeout(() => {
      const isOver = this.#worker !== worker || worker.rootEnded || this.#lifecycle.phase !== 'starting';
      if (isOver) return;
      if (unheldListeners(worker.tree, this.#held).length > 0) {
        this.#servesUnheld();
      } else {
        this.#lookForListening(worker, Math.min(LISTENING_LOOK_MAX_MS, waitMs * 1.5));
      }
    }, waitMs);
    timer.unref();
  }

  /** A socket that is not held makes its program a server too, if it is still there a moment later. */
  #confirmLater(pid: number, fd: number): void {
    const worker = this.#worker;
    if (this.#lifecycle.everListened || worker === undefined) return;
    worker.listensUnheld = true;
    setTimeout(() => {
      worker.listensUnheld = false;
      const isThere = holdsSocketAt(pid, fd);
      if (isThere && this.#worker === worker) this.#dispatch({ type: 'confirmed' });
    }, LISTENING_LOOK_MS).unref();
  }

  /** The worker is a server, though the keeper has none of its sockets. */
  #servesUnheld(): void {
    this.#serviceManager.ready();
    this.#dispatch({ type: 'listened' });
    this.#dispatch({ type: 'confirmed' });
  }

  /** A start after the first: what fails it is a failure of the server, not of ours. */
  async #respawn(): Promise<void> {
    try {
      await this.#spawn();
    } catch (error) {
      this.#say({ type: 'warning', text: `cannot start ${this.#options.command[0]}: ${errorText(error)}` });
      this.#dispatch({ type: 'root-ended', end: { code: 127, signal: null }, left: false, serves: false });
    }
  }

  async #rootEnded(worker: Worker, end: WorkerEnd): Promise<void> {
    // A key on the terminal signals the server and us at once: ours must be read before its end is judged.
    if (end.signal !== null && KEY_SIGNALS.has(end.signal)) await sleep(KEY_SIGNAL_MS);
    worker.rootEnded = true;
    this.#say({ type: 'exited', pid: worker.root.pid, ...end });
    this.#tellUnlistened(worker, end);
    if (end.code === 0 && this.#lifecycle.phase !== 'stopping') await this.#untilServes(worker);
    const members = worker.tree.members();
    // It died within the moment in which a socket is confirmed: then it had it open.
    const wasListening = this.#held.all().some((held) => held.claimed && !held.confirmed);
    if (wasListening || (worker.listensUnheld && end.signal !== null)) this.#dispatch({ type: 'confirmed' });
    if (members.length === 0) this.#held.workerGone(performance.now());
    this.#dispatch({
      type: 'root-ended',
      end,
      left: members.length > 0,
      serves: this.#holdersAmong(worker, members).length > 0,
    });
    this.#childEnded();
  }

  /** Perhaps its bind failed, which nobody has told. */
  #tellUnlistened({ root: { pid } }: Worker, { code }: WorkerEnd): void {
    const addresses = (this.#trap?.takeUnlistened() ?? []).map(formatAddress);
    if (addresses.length === 0 || code === 0 || this.#lifecycle.phase === 'stopping') return;
    this.#say({ type: 'never-listened', pid, addresses });
  }

  /** What goes into the background may let its first process end before it listens: it gets a moment. */
  async #untilServes(worker: Worker): Promise<void> {
    const until = performance.now() + DAEMON_STARTS_MS;
    for (let members = worker.tree.members(); members.length > 0; members = worker.tree.members()) {
      const serves = this.#holdersAmong(worker, members).length > 0 || worker.listensUnheld;
      if (serves || this.#lifecycle.phase === 'stopping' || performance.now() > until) return;
      await sleep(TREE_LOOK_MS);
    }
  }

  #signalRoot(signal: NodeJS.Signals): void {
    const worker = this.#worker;
    if (worker === undefined || this.#spawning) return;
    if (worker.rootEnded && !worker.followed) this.#signalTree(signal);
    else signalProcess(worker.root, signal);
    if (worker.rootEnded) this.#watchTree();
  }

  #signalTree(signal: NodeJS.Signals): void {
    // Whoever is on his way is signalled when he is there.
    if (this.#spawning) {
      this.#stopAtOnce ||= signal === 'SIGKILL';
      return;
    }
    if (signal === 'SIGKILL') this.#killingSince ??= performance.now();
    const pids = this.#worker?.tree.signal(signal) ?? [];
    if (signal === 'SIGKILL' && pids.length > 0) this.#say({ type: 'killed', pids });
    this.#watchTree();
  }

  /** From now on looks whether anything is left of the tree. */
  #watchTree(everyMs: number = TREE_LOOK_MS): void {
    clearInterval(this.#treeLook);
    this.#treeLook = setInterval(() => this.#lookAtTree(), everyMs);
  }

  #childEnded(): void {
    this.#reapOrphans();
    if (this.#treeLook !== undefined || this.#lifecycle.daemonized) this.#lookAtTree();
  }

  #lookAtTree(): void {
    const worker = this.#worker;
    if (worker === undefined || !worker.rootEnded || this.#spawning) return;
    // So that how it ended is known before that it has.
    this.#reapOrphans();
    const members = worker.tree.members();
    if (this.#lifecycle.daemonized && this.#lifecycle.phase !== 'stopping') {
      this.#lookAtDaemon(worker, members);
    } else if (members.length === 0) {
      this.#treeGone();
    } else if (this.#killingSince !== null) {
      // What was forked while the signals were on their way gets its own.
      worker.tree.signal('SIGKILL');
      if (performance.now() - this.#killingSince < UNKILLABLE_MS) return;
      const pids = members.map((stat) => stat.pid).join(', ');
      this.#say({ type: 'warning', text: `SIGKILL does not end ${pids}; going on without` });
      this.#treeGone();
    } else if (worker.followed && worker.daemonEnd !== undefined) {
      // The daemon obeyed the stop signal; what it left behind gets its own.
      worker.followed = false;
      this.#dispatch({ type: 'root-ended', end: worker.daemonEnd, left: true, serves: false });
    }
  }

  #holdersAmong({ tree }: Worker, members: readonly ProcessStat[]): readonly SocketHolder[] {
    return this.#held.all().flatMap((held) => tree.holdersOf(held.inode, members));
  }

  /** The daemon is the process that came to us as an orphan and has a held socket. */
  #lookAtDaemon(worker: Worker, members: readonly ProcessStat[]): void {
    if (!worker.followed) {
      const own = members.filter((stat) => stat.ppid === process.pid);
      const holders = this.#holdersAmong(worker, members);
      // Itself, or what it was started by and will end with.
      const daemon =
        holders.find(({ pid }) => own.some((stat) => stat.pid === pid)) ??
        (holders.length > 0 ? own[0] : undefined);
      if (daemon !== undefined) {
        worker.root = daemon;
        worker.followed = true;
        worker.daemonEnd = undefined;
        this.#stateChanged();
        // It is our child now: SIGCHLD tells its end.
        this.#stopTreeLook();
        return;
      }
      if (members.length > 0) return;
    } else if (isAlive(worker.root)) {
      return;
    } else if (worker.daemonEnd?.code === 0 && this.#holdersAmong(worker, members).length > 0) {
      // It handed its work to another process (nginx by USR2 and QUIT), which is the daemon from now on.
      worker.followed = false;
      this.#watchTree(DAEMON_LOOK_MS);
      return;
    }
    this.#stopTreeLook();
    const end = worker.daemonEnd ?? { code: 0, signal: null };
    this.#say({ type: 'exited', pid: worker.root.pid, ...end });
    if (members.length === 0) this.#held.workerGone(performance.now());
    this.#dispatch({ type: 'daemon-ended', end, left: members.length > 0 });
  }

  #treeGone(): void {
    this.#stopTreeLook();
    this.#held.workerGone(performance.now());
    const end = this.#worker?.daemonEnd;
    this.#dispatch({ type: 'tree-gone', ...(end === undefined ? {} : { end }) });
  }

  #stopTreeLook(): void {
    clearInterval(this.#treeLook);
    this.#treeLook = undefined;
    this.#killingSince = null;
  }

  /** Reaps orphans of the server that ended as our children. libuv waits for the first processes itself. */
  #reapOrphans(): void {
    for (const pid of orphans()) {
      const stat = processStat(pid);
      if (stat?.state !== 'Z' || isRewatching(pid)) continue;
      if (!this.#duties.reapsAll && !this.#worker?.tree.knows(stat)) continue;
      const isDaemon = this.#worker?.followed === true && this.#worker.root.pid === pid;
      const end = reap(pid);
      if (end === undefined) continue;
      const signal = end.signal === null ? null : (signalName(end.signal) ?? 'SIGKILL');
      if (this.#worker && (isDaemon || !this.#worker.followed))
        this.#worker.daemonEnd = { code: end.code, signal };
    }
  }

  #listened(held: HeldSocket, pid: number, again: boolean): void {
    const now = performance.now();
    const address = describeHeld(held);
    if (again && held.unservedSince !== null) {
      this.#say({ type: 'served-again', address, pid, gapMs: Math.round(now - held.unservedSince) });
    }
    held.claimed = true;
    held.unservedSince = null;
    held.abandonedSince = null;
    const holder = holderOf(pid, held.inode);
    if (holder !== undefined) held.holders = [holder];
    this.#attendance.listened(held);
    this.#dispatch({ type: 'listened' });
    this.#stateChanged();
  }

  #socketsChanged(confirmed: HeldSocket | undefined): void {
    if (confirmed !== undefined) {
      // A server that was handed its socket never calls listen.
      this.#dispatch({ type: 'listened' });
      if (!this.#announced.has(confirmed)) {
        this.#announced.add(confirmed);
        this.#serviceManager.store(confirmed);
        this.#say({ type: 'held', address: describeHeld(confirmed), pid: confirmed.holders[0]?.pid ?? 0 });
      }
      this.#serviceManager.ready();
      this.#dispatch({ type: 'confirmed' });
    }
    this.#stateChanged();
  }

  /** Before a start: sockets of `--listen` that refuse clients, because nobody served them, take them again. */
  #openHanded(): void {
    for (const { held } of this.#handed) if (held.refusing) acceptClients(held);
  }

  /** Takes no more connections and waits until those in the queues have been accepted. */
  async #closeEntrance(): Promise<void> {
    const until = performance.now() + QUEUE_DRAIN_MS;
    const open = this.#held.all().filter((held) => held.place !== undefined && isListening(held.fd));
    for (const held of open) if (!held.inherited) closeEntranceOf(held);
    const waiting = (): boolean =>
      open.some((held) => this.#held.has(held) && isServed(held) && queueLength(held) > 0);
    while (waiting() && performance.now() < until) await sleep(2);
    // A start on its way has the numbers of our fds.
    while (this.#spawning) await sleep(2);
    // Ours goes first, so that the server's own close refuses clients from then on.
    this.#held.releaseAll();
  }

  #startTimer(timer: TimerName, ms: number): void {
    clearTimeout(this.#timers.get(timer));
    const spread = timer === 'backoff' ? Math.round(ms * (1 - JITTER + 2 * JITTER * Math.random())) : ms;
    const wait = Math.min(spread, TIMER_MAX_MS);
    if (timer === 'backoff') {
      this.#say({ type: 'restarting', inMs: wait, failures: this.#lifecycle.failures });
    }
    this.#timers.set(
      timer,
      setTimeout(() => {
        if (timer === 'steady') this.#attendance.steady();
        this.#dispatch(TIMER_EVENTS[timer]);
      }, wait),
    );
  }

  #sayNothingListens(): void {
    const tree = this.#worker?.tree;
    const { phase } = this.#lifecycle;
    if (tree === undefined || phase === 'stopping' || phase === 'ended') return;
    const unheld = unheldListeners(tree, this.#held);
    for (const { pid, address } of unheld) {
      const why =
        'it was not bound by a plain bind and listen with a port (port 0, io_uring, 32-bit, inherited)';
      this.#say({ type: 'not-held', pid, address, why });
    }
    this.#serviceManager.ready();
    if (this.#lifecycle.phase === 'starting' && unheld.length === 0) {
      this.#say({ type: 'nothing-listens', afterMs: NOTHING_LISTENS_MS });
    }
  }

  #environment(): Readonly<Record<string, string | undefined>> {
    const env = this.#options.env ?? process.env;
    const user = this.#identity?.user;
    if (user === undefined) return env;
    return { ...env, HOME: user.home, USER: user.name, LOGNAME: user.name, SHELL: user.shell };
  }

  /** Before every other notice, and not at once: a server that binds first of all must not wait for a log. */
  #tellStart(): void {
    const notice = this.#startUntold;
    this.#startUntold = undefined;
    if (notice !== undefined) this.#say(notice);
  }

  #say(notice: Notice): void {
    this.#tellStart();
    try {
      this.emit('notice', notice);
      // Each notice is emitted under its own type too; the compiler cannot relate a union's member to its key.
      (this as EventEmitter).emit(notice.type, notice);
    } catch (error) {
      // A listener's fault is the listener's: it must not come between an event and what is done about it.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  /** Writes the state file once for all that changes at a time: a server's start must not wait for a disk. */
  #stateChanged(): void {
    this.#stateWrite ??= setTimeout(() => {
      this.#stateWrite = undefined;
      if (this.#lifecycle.phase === 'ended') return;
      try {
        writeState(this.#files, this.status());
      } catch (error) {
        // A full disk must not end a keeper.
        this.#say({ type: 'warning', text: `cannot write ${this.#files.state}: ${errorText(error)}` });
      }
    }, STATE_WRITE_MS);
  }

  async #end(exitCode: number): Promise<void> {
    try {
      await this.#tearDown();
    } finally {
      this.#finish({ exitCode });
    }
  }

  async #tearDown(): Promise<void> {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    clearTimeout(this.#nothingListens);
    clearTimeout(this.#stateWrite);
    this.#stopTreeLook();
    this.#attendance.stop();
    this.#trap?.stop();
    this.#held.releaseAll();
    for (const handed of this.#handed) this.#tryTo(() => removeSocketFile(handed));
    this.#control?.close();
    process.off('SIGCHLD', this.#onChild);
    process.off('exit', this.#onExit);
    const notifier = this.#spawner?.notifier ?? null;
    if (notifier !== null) this.#poller?.remove(notifier);
    this.#poller?.close();
    await this.#spawner?.stop();
    if (notifier !== null) close(notifier);
    this.#tryTo(() => removeFiles(this.#files));
    closeSync(this.#lock);
  }

  /** For what is done at the end, which comes all the same. */
  #tryTo(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#say({ type: 'warning', text: errorText(error) });
    }
  }
}

/** Without CAP_NET_ADMIN newer kernels let nobody filter TCP: then who comes in the last moment takes his chance. */
function closeEntranceOf(held: HeldSocket): void {
  try {
    refuseNewConnections(held.fd);
  } catch (error) {
    // MPTCP listeners take no filter at all.
    const code = errorCode(error);
    if (code !== 'EPERM' && code !== EOPNOTSUPP) throw error;
  }
}

/** Children that we did not start: they come to the main thread, what we start is the spawner thread's. */
function orphans(): readonly number[] {
  return (
    childrenOf(process.pid, [process.pid]) ??
    allProcesses()
      .filter((stat) => stat.ppid === process.pid)
      .map((stat) => stat.pid)
  );
}
