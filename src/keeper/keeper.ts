import { EventEmitter, setMaxListeners } from 'node:events';
import { closeSync, statSync } from 'node:fs';
import { resolve as resolvePath } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { errorCode, errorText, HoldfastError } from '../errors.js';
import { workingDirectory } from '../kernel/directory.js';
import { duplicate } from '../kernel/fd.js';
import type { Fd } from '../kernel/libc.js';
import { tryLock } from '../kernel/lock.js';
import { mayCopyFds } from '../kernel/pidfd.js';
import { Poller, startThreadPool } from '../kernel/poller.js';
import { becomeSubreaper } from '../kernel/process.js';
import { CAP_SYS_ADMIN, hasCapability, processStat, threadsOf } from '../kernel/procfs.js';
import { isListening, stopListening } from '../kernel/socket.js';
import { defaultName } from '../model/keeper-name.js';
import { version } from '../version.js';
import { yamaIsRelational } from './closed-process.js';
import { askKeeper, type ControlServer, serveControl } from './control.js';
import { checkHolder, closeEstate, type Estate, openEstate, startsOf, workersOf } from './estate.js';
import { Generation } from './generation.js';
import { Generations } from './generations.js';
import { ReusePortGroups } from './groups.js';
import { findProgram, type HandedSocket, handOver } from './hand-over.js';
import { describeHeld, type HeldSocket, isServed, queueLength, turnAwayClients } from './held.js';
import { type HeldFile, Holder } from './holder.js';
import type { Phase, Policy } from './lifecycle.js';
import { bindAll, inheritedInodes, inheritedSockets, removeSocketFile, tryAll } from './listen.js';
import { LogFile } from './log-file.js';
import { Monitor } from './monitor.js';
import type { Notice } from './notices.js';
import { NotifyServer } from './notify-server.js';
import {
  checkCommand,
  count,
  holdForMs,
  type Identity,
  identityOf,
  type KeepOptions,
  logMaxBytesOf,
  policyOf,
  reloadPolicyOf,
} from './options.js';
import { endOfProcess, failureOf } from './process-end.js';
import { type Program, pinned } from './program.js';
import { emptyQueues } from './queues.js';
import type { Readiness } from './readiness.js';
import { newRecovery, type Recovery, readRecovery, type SavedSocket, type SavedWorker } from './recovery.js';
import { rehearse } from './rehearsal.js';
import { KEEPER_STOPS, type ReloadOptions, type ReloadOutcome } from './reload.js';
import {
  applySetting,
  estateOf,
  findServer,
  linesBefore,
  type ProcessSetting,
  type RunningServer,
} from './running-server.js';
import { ServiceManager } from './service-manager.js';
import { Spawner } from './spawner.js';
import {
  checkName,
  type KeeperState,
  lockName,
  readState,
  removeFiles,
  type StateFiles,
  stateFiles,
  writeState,
} from './state.js';
import { type Caller, trappedCalls } from './trap.js';
import { Traps, waitingCalls, waitingThreads } from './traps.js';
import {
  currentHolders,
  isAlive,
  type ProcessId,
  STANDBY_VARIABLE,
  signalProcess,
  WORKER_VARIABLE,
  type WorkerTree,
} from './tree.js';
import { isReleased, type Stage } from './turnover.js';
import { unheldListeners } from './unheld.js';
import type { Worker } from './worker.js';
import { WorkerProcesses } from './worker-processes.js';

const START_TOLD_MS = 5;
const NOTHING_LISTENS_MS = 5_000;
/** At the stop: the share of its time in which connections that are queued may be accepted. The rest is for the server's end. */
const QUEUE_SHARE = 0.9;
const STATE_WRITE_MS = 20;
/** How long a keeper that makes room may take to end. */
const LEAVES_MS = 5_000;
/** How long a holder that has just been started may take to open itself to us. */
const HOLDER_OPENS_MS = 2_000;
const HOLDER_LOOK_MS = 50;
const STOPS_MS = 1_000;
const PAUSE_TRIES = 100;

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

/** Keeps one server: owns its listening sockets, starts it again when it dies, and replaces it without a gap. */
export class Keeper extends EventEmitter<KeeperEvents> implements AsyncDisposable {
  readonly name: string;
  /** Settles when the server has ended for good and every held socket is closed. */
  readonly exited: Promise<{ readonly exitCode: number }>;

  readonly #options: KeepOptions;
  /** What `adopt` names. */
  readonly #running: RunningServer | undefined;
  /** What is to be told when the server's own environment is not to be had. */
  readonly #environmentLost: string | undefined;
  readonly #duties: ProcessDuties;
  readonly #policy: Policy;
  readonly #holdForMs: number;
  #identity: Identity | undefined;
  #setting: ProcessSetting | undefined;
  readonly #cwd: string;
  readonly #program: Program;
  readonly #files: StateFiles;
  readonly #serviceManager: ServiceManager;
  readonly #groups = new ReusePortGroups();
  readonly #readiness: Readiness;
  readonly #generations: Generations;
  readonly #monitor = new Monitor({
    state: () => this.status(),
    generations: () => this.#generations.all(),
  });
  readonly #announced = new WeakSet<HeldSocket>();
  /** Whether fds may be copied out of other processes here. */
  readonly #mayCopy = mayCopyFds();
  readonly #processes: WorkerProcesses;
  readonly #since = Date.now();
  readonly #onChild = (): void => this.#processes.childEnded();
  readonly #onExit = (): void => this.#poller?.close();
  readonly #holder: Holder;
  /** Aborted when adopted processes are no longer waited for. */
  readonly #adopting = new AbortController();
  #lock: Fd | undefined;
  /** What there is is another keeper's, before we have taken it over or after we have left it. */
  #isOthers = false;
  #finish: (outcome: { exitCode: number }) => void = () => undefined;
  #poller: Poller | undefined;
  #traps: Traps | undefined;
  #spawner: Spawner | undefined;
  #control: ControlServer | undefined;
  #notifyServer: NotifyServer | undefined;
  #log: LogFile | undefined;
  #starts = 0;
  #isOver = false;
  #isPaused = false;
  /** Starts that wait for the end of the pause. */
  readonly #waitingStarts: (() => void)[] = [];
  #entranceClosed: Promise<void> | undefined;
  #stateWrite: NodeJS.Timeout | undefined;
  #startUntold: Notice | undefined;
  readonly #heldUntold: Notice[] = [];
  #hasLeft = false;
  /** Undefined: nothing is written down yet. */
  #stageWritten: Stage | undefined;
  #nothingListens: NodeJS.Timeout | undefined;

  private constructor(given: KeepOptions, duties: ProcessDuties) {
    super();
    this.#running = given.adopt === undefined ? undefined : findServer(given.adopt);
    const options = this.#running === undefined ? given : asItRuns(given, this.#running);
    this.#options = options;
    if (this.#running !== undefined && this.#running.env === undefined && given.env === undefined)
      this.#environmentLost = `pid ${this.#running.root.pid} has written a title over its environment: what is started in its place gets that of this command`;
    this.#duties = duties;
    this.#cwd = options.cwd ?? workingDirectory();
    if (options.onNotice) this.on('notice', options.onNotice);
    if (!statSync(this.#cwd, { throwIfNoEntry: false })?.isDirectory()) {
      throw new HoldfastError('ERR_HOLDFAST_OPTION', `cwd: ${this.#cwd} is no folder`);
    }
    checkCommand(options.command);
    this.name = checkName(options.name ?? defaultName(this.#cwd));
    this.#policy = policyOf(options);
    this.#holdForMs = holdForMs(options);
    this.#identity = identityOf(options) ?? this.#running?.identity;
    this.#setting = this.#running?.setting;
    this.#program = { command: options.command, directory: this.#cwd, env: this.#environment() };
    const reloadPolicy = reloadPolicyOf(options);
    this.#readiness = reloadPolicy.readiness;
    this.#serviceManager = new ServiceManager(duties.serviceEnv, {
      say: (notice) => this.#say(notice),
      held: () => this.#served(),
      readyTimeoutMs: reloadPolicy.readyTimeoutMs,
      stopTimeoutMs: this.#policy.stopTimeoutMs,
    });
    this.exited = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#files = stateFiles(this.name);
    // Every worker's end is waited for.
    setMaxListeners(0, this.#adopting.signal);
    this.#processes = new WorkerProcesses({
      name: this.name,
      reapsAll: duties.reapsAll,
      workers: () => this.#workers(),
      spawnerThread: () => this.#spawner?.threadId ?? process.pid,
    });
    this.#holder = new Holder(this.name, this.#files.state, () => this.#stateChanged(), yamaIsRelational());
    this.#generations = new Generations(reloadPolicy, {
      groups: this.#groups,
      newGeneration: (number, predecessor, program) => this.#newGeneration(number, predecessor, program),
      bindAgain: (held) => bindAll(this.#options.listen ?? [], held, this.#groups),
      say: (notice) => this.#say(notice),
      isPaused: () => this.#isPaused,
      ended: (exitCode) => void this.#end(exitCode),
    });
  }

  /**
   * Starts keeping. Resolves when the server has been started for the first time, or when what another keeper of this
   * name has left has been taken over.
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
    const { active } = this.#generations;
    const [first] = active.slots;
    return {
      version: 1,
      name: this.name,
      holdfast: version,
      pid: process.pid,
      startTime: processStat('self')?.startTime ?? 0,
      command: this.#options.command,
      directory: this.#cwd,
      program: { command: active.program.command, directory: active.program.directory },
      phase: this.#phase(),
      generation: active.number,
      reload: this.#generations.stage,
      drain: this.#generations.drainState(),
      paused: this.#isPaused,
      starts: this.#starts,
      restarts: this.#monitor.restarts,
      since: this.#since,
      worker: first?.phase === 'ended' ? null : (first?.worker?.root ?? null),
      workers: this.#generations.all().flatMap((generation) =>
        [...generation.slots, ...generation.standbys].map(({ worker, phase }) => ({
          pid: worker?.root?.pid ?? null,
          startTime: worker?.root?.startTime ?? null,
          generation: generation.number,
          phase: worker?.parkedSince === undefined ? phase : 'parked',
        })),
      ),
      lastEnd: active.lastEnd,
      sockets: active.held.all().map((held) => ({
        address: describeHeld(held),
        inode: held.inode,
        served: isServed(held),
        waiting: isListening(held.fd) ? queueLength(held) : 0,
      })),
      log: this.#log?.path ?? null,
    };
  }

  /**
   * Starts a new generation of the server beside the present one. When it listens on every address of that, new
   * connections go to it; the former one finishes what it has and is stopped. A new one that fails is ended, and nothing
   * has changed. One reload waits while another runs; further requests join that.
   *
   * Settles when the new generation has taken over or failed.
   */
  async reload(options: ReloadOptions = {}): Promise<ReloadOutcome> {
    this.#mustServe(options.restart ? 'a restart' : 'a reload');
    return this.#known(await this.#generations.reload({ again: options.restart === true, ...options }));
  }

  /**
   * Goes back to the generation before: at once while that is still there (`parkMs`), else by a reload with the command
   * and folder that it had.
   */
  async rollback(): Promise<ReloadOutcome> {
    this.#mustServe('a rollback');
    return this.#known(await this.#generations.rollback());
  }

  /** Whoever comes after us knows what we answer, also when we are killed at once: else it would undo it. */
  #known(outcome: ReloadOutcome): ReloadOutcome {
    this.#flush();
    return outcome;
  }

  /**
   * Stops every process of the server where it is (SIGSTOP). Connections wait, those that are open as well as new ones. Of
   * what is being ended the time runs on, so that is let be.
   *
   * @throws {HoldfastError} ERR_HOLDFAST_CONTROL: released, or being stopped.
   */
  pause(): void {
    if (this.#isPaused) return;
    this.#mustNotStop();
    if (isReleased(this.#generations.stage)) {
      const text = `there is no server to pause, its port is released: holdfast take ${this.name} first`;
      throw new HoldfastError('ERR_HOLDFAST_CONTROL', text);
    }
    this.#isPaused = true;
    this.#generations.paused();
    // Whoever comes after us is to know: nothing else tells it that no start may happen.
    this.#flush();
    this.#holdStill();
    this.#say({ type: 'paused' });
    this.#stateChanged();
  }

  #holdStill(): void {
    for (let tries = 0; tries < PAUSE_TRIES; tries++) {
      const trees = this.#generations.all().flatMap((generation) => generation.treesThatStay());
      const running = trees.flatMap((tree) => tree.members().filter(({ state }) => state !== 'T'));
      if (running.length === 0) break;
      // What one has forked meanwhile is found by the next look.
      for (const one of running) signalProcess(one, 'SIGSTOP');
    }
  }

  /** Lets it go on. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    for (const tree of this.#trees()) tree.signal('SIGCONT');
    // Nobody could come up meanwhile.
    for (const { attendance } of this.#generations.all()) attendance.goOn();
    for (const go of this.#waitingStarts.splice(0)) go();
    this.#generations.resumed();
    this.#say({ type: 'resumed' });
    // Whoever was told so finds it so, also when the keeper is killed at once.
    this.#flush();
  }

  /** Stops the server and frees its ports, so that another program can have them for a while. `take` ends that. */
  async release(): Promise<ReloadOutcome> {
    this.#mustNotBePaused('a release');
    return this.#known(await this.#generations.release());
  }

  /** Starts the server again after a release. */
  async take(): Promise<ReloadOutcome> {
    this.#mustNotBePaused('a take');
    if (this.#generations.stage !== 'released') {
      return { ok: false, goesOn: true, why: 'nothing has been released' };
    }
    return this.#known(await this.#generations.reload({ again: true }));
  }

  /** A released port is somebody else's until he who released it takes it back. */
  #mustServe(what: string): void {
    this.#mustNotBePaused(what);
    const { stage } = this.#generations;
    if (!isReleased(stage)) return;
    const text = `${what} would take the port, which is released: holdfast take ${this.name} first`;
    throw new HoldfastError('ERR_HOLDFAST_CONTROL', text);
  }

  #mustNotStop(): void {
    if (this.#isOver || this.#generations.stage === 'stopping')
      throw new HoldfastError('ERR_HOLDFAST_CONTROL', KEEPER_STOPS);
  }

  #mustNotBePaused(what: string): void {
    if (!this.#isPaused) return;
    const text = `${what} needs a server that runs, and this one is paused: holdfast resume ${this.name}`;
    throw new HoldfastError('ERR_HOLDFAST_CONTROL', text);
  }

  /**
   * Changes how many workers share the sockets: at once for more, by a reload for fewer. Settles when they are being
   * started, or when the reload is over.
   *
   * @throws {HoldfastError} ERR_HOLDFAST_OPTION: no whole number from 1. ERR_HOLDFAST_CONTROL: paused or released.
   */
  async scale(workers: number): Promise<ReloadOutcome> {
    const wanted = count('workers', workers, 1);
    this.#mustNotStop();
    this.#mustServe('scaling');
    const scaled = this.#generations.scale(wanted);
    // Whoever was told so finds it so, also when the keeper is killed at once.
    this.#flush();
    return this.#known(await scaled);
  }

  /** Lets a standby go on from its listen: it serves beside the others, and can be looked into with a debugger. */
  unpark(): boolean {
    return this.#generations.active.unpark();
  }

  /**
   * Ends the server: no new connections, then the stop signal, after the stop timeout SIGKILL for its whole tree. A
   * second call sends SIGKILL at once. `delivered`: the terminal has sent the signal to the server already.
   */
  stop(signal?: NodeJS.Signals, delivered = false): Promise<{ readonly exitCode: number }> {
    if (!this.#isOver) {
      this.resume();
      // Before it is told: whoever comes after that is refused.
      for (const held of this.#open()) turnAwayClients(held);
      this.#say({ type: 'stopping', signal: signal ?? this.#policy.stopSignal });
      this.#generations.stop(signal, delivered);
    }
    return this.exited;
  }

  /** Passes a signal on to the first process of every worker that new connections go to. False when none runs. */
  forward(signal: NodeJS.Signals): boolean {
    const sent = this.#generations.active.slots.map(({ worker }) => {
      return worker?.root !== undefined && signalProcess(worker.root, signal);
    });
    return sent.includes(true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /**
   * Ends this keeper, and nothing else: the server serves on, and its sockets wait for the keeper that takes over. Only
   * for one that does so at once.
   */
  async leave(): Promise<void> {
    this.#mustNotStop();
    this.#hasLeft = true;
    this.#flush();
    this.#isOthers = true;
    this.#say({ type: 'left' });
    await this.#end(0);
  }

  async #begin(): Promise<void> {
    // So that a wrong command is said before anything is bound or started.
    findProgram(this.#program.command[0] ?? '', this.#program.env, this.#cwd);
    if (this.#options.replace !== true) this.#lock = await lockName(this.name, this.#files);
    this.#openLog();
    becomeSubreaper();
    await startThreadPool();
    this.#poller = new Poller();
    this.#traps = this.#newTraps(this.#poller);
    process.once('exit', this.#onExit);
    process.on('SIGCHLD', this.#onChild);
    const spawner = this.#startSpawner(this.#traps);
    // A keeper around this one would take a rehearsal for a server.
    if (this.#options.trap !== false && process.env[WORKER_VARIABLE] === undefined)
      await Promise.allSettled([spawner, rehearse(this.#poller, this.#mayCopy)]);
    this.#spawner = await spawner;
    // Only now: where there can be no trap, another keeper without one takes these instead.
    if (this.#options.replace === true) await this.#replaceFormer();
    const estate = (await this.#openEstate()) ?? this.#estateOfRunning();
    if (estate !== undefined) this.#takeOver(estate);
    const { active } = this.#generations;
    active.handed = inheritedSockets(this.#duties.serviceEnv ?? {}, active.held);
    const staysReleased = estate !== undefined && isReleased(estate.recovery.stage);
    if (staysReleased) this.#generations.stayReleased();
    const listen = staysReleased ? [] : (this.#options.listen ?? []);
    const listened = await bindAll(listen, active.held, this.#groups);
    active.handed = [...active.handed, ...listened];
    if (this.#options.trap === false && active.handed.length === 0 && !staysReleased)
      this.#say({ type: 'warning', text: 'without a trap and without --listen no port is kept' });
    this.#serviceManager.socketsChanged();
    this.#serviceManager.startWatchdog(this.#poller);
    if (this.#readiness.type === 'notify') {
      // Nobody else's word counts than that of a worker's process.
      const ready = (pid: number): void => this.#processes.memberOf(pid)?.tellReady();
      this.#notifyServer = new NotifyServer(this.name, this.#poller, ready);
    }
    this.#control = await serveControl(this.#files.control, {
      status: () => this.status(),
      reload: (options) => this.reload(options),
      scale: (workers) => this.scale(workers),
      unpark: () => this.unpark(),
      stop: () => void this.stop(),
      leave: () => {
        this.#mustNotStop();
        // Whoever stops it in between has it end anyway.
        return () => void this.leave().catch(() => undefined);
      },
      rollback: () => this.rollback(),
      pause: () => this.pause(),
      resume: () => this.resume(),
      release: () => this.release(),
      take: () => this.take(),
      events: this.#monitor.events,
      metrics: () => this.#monitor.metrics(),
    });
    this.#log?.watch();
    if (this.#options.metrics !== undefined) await this.#monitor.serve(this.#options.metrics);
    this.#options.signal?.addEventListener('abort', () => void this.stop(), { once: true });
    if (estate !== undefined) this.#goOn(estate, listened);
    if (this.#environmentLost !== undefined) this.#say({ type: 'warning', text: this.#environmentLost });
    if (staysReleased) this.#say({ type: 'stays-released' });
    else if (active.slots.length === 0) await this.#beginServer();
    if (this.#options.signal?.aborted) void this.stop();
    this.#nothingListens = setTimeout(() => this.#sayNothingListens(), NOTHING_LISTENS_MS);
  }

  async #startSpawner(traps: Traps): Promise<Spawner> {
    const spawner = await Spawner.start({
      trap: this.#options.trap === false ? [] : trappedCalls(this.#mayCopy),
      noNewPrivileges: !hasCapability('self', CAP_SYS_ADMIN),
    });
    if (spawner.notifier === null) return spawner;
    try {
      traps.answer(spawner.notifier);
      // The first call of what we start may be lost with us before its number is written down.
      await spawner.call();
      return spawner;
    } catch (error) {
      await spawner.stop();
      throw error;
    }
  }

  async #beginServer(): Promise<void> {
    const begun = this.#generations.begin();
    if (!this.#isPaused) return begun;
    // It is started when it may go on, and whoever says so asks a keeper that is there.
    begun.catch((error: unknown) => {
      this.#say({ type: 'warning', text: errorText(error) });
      void this.stop();
    });
  }

  #openLog(): void {
    const { logFile } = this.#options;
    if (logFile === undefined) return;
    this.#log = new LogFile({
      path: logFile === true ? this.#files.log : resolvePath(logFile),
      maxBytes: logMaxBytesOf(this.#options),
      owner: this.#identity,
      warn: (text) => this.#say({ type: 'warning', text }),
    });
  }

  #newGeneration(
    number: number,
    predecessor: Generation | undefined,
    program: Program = this.#program,
  ): Generation {
    return new Generation(
      number,
      {
        policy: this.#policy,
        holdForMs: this.#holdForMs,
        isPaused: () => this.#isPaused,
        say: (notice) => this.#say(notice),
        nextWorkerId: () => ++this.#starts,
        start: (generation, worker) => this.#startWorker(generation, worker),
        reapOrphans: () => this.#processes.reapOrphans(),
        closeEntrance: () => this.#closeEntrance(),
        changed: (generation) => this.#changed(generation),
        confirmed: (one, held) => this.#confirmed(one, held),
        released: (held) => this.#released(held),
        died: (generation, end) => this.#generations.died(generation, end),
        ended: (generation, exitCode) => this.#generations.ended(generation, exitCode),
      },
      pinned(program),
      predecessor,
    );
  }

  #released(held: HeldSocket): void {
    // The next keeper has it.
    if (this.#isOthers) return;
    this.#serviceManager.socketsChanged();
    this.#groups.released(held);
    if (this.#generations.stage === 'stopping') return;
    // Only the holder has it still, for some milliseconds: clients must not connect to that.
    const isElsewhere = !held.inherited && held.place !== undefined && this.#holder.has(fileKey(held));
    if (isElsewhere && isListening(held.fd)) stopListening(held.fd);
    queueMicrotask(() => this.#hold());
  }

  #newTraps(poller: Poller): Traps {
    return new Traps(poller, {
      mayCopy: this.#mayCopy,
      groups: this.#groups,
      whose: (pid) => this.#processes.whose(pid),
      isHeld: (inode) => this.#generations.all().some(({ held }) => held.byInode(inode)),
      isOpen: (inode) => this.#trees().some((tree) => tree.holdersOf(inode).length > 0),
      say: (notice) => this.#say(notice),
      listened: (caller, held, pid, again) => this.#ofCaller(caller)?.listened(caller.id, held, pid, again),
      servesUnheld: (caller) => this.#servesUnheld(caller),
      letListen: (caller, pid, fd) => this.#letListen(caller, pid, fd),
      pids: () => this.#trees().flatMap((tree) => tree.members().map(({ pid }) => pid)),
      changed: () => this.#stateChanged(),
    });
  }

  /** Asks the keeper of this name, if one runs, to leave everything to us. */
  async #replaceFormer(): Promise<void> {
    this.#lock = tryLock(this.#files.lock);
    if (this.#lock !== undefined) return;
    const former = readState(this.#files.state);
    if (former !== undefined && !isAlive(former)) {
      this.#lock = await lockName(this.name, this.#files);
      return;
    }
    // As long as that one is there, nothing has been lost.
    const recovery = this.#mayCopy ? readRecovery(this.#files.state) : undefined;
    if (recovery !== undefined) await onceOpen(() => checkHolder(recovery, this.#files.state));
    if (former !== undefined && !isReleased(former.reload)) {
      const held = former.sockets.map(({ address }) => address);
      tryAll(this.#options.listen ?? [], held);
    }
    await askKeeper(this.#files.control, 'POST', '/leave');
    const until = performance.now() + LEAVES_MS;
    while (this.#lock === undefined && performance.now() < until) {
      await sleep(2);
      this.#lock = tryLock(this.#files.lock);
    }
    this.#lock ??= await lockName(this.name, this.#files);
  }

  /** What a keeper of this name has left that was killed, or has made room for us. */
  async #openEstate(): Promise<Estate | undefined> {
    const recovery = readRecovery(this.#files.state);
    if (recovery === undefined || !(this.#mayCopy || isReleased(recovery.stage))) return undefined;
    const offered = inheritedInodes(this.#duties.serviceEnv ?? {});
    // Unless we come to have it, it is for whoever tries next.
    this.#isOthers = true;
    const estate = await onceOpen(() => openEstate(recovery, this.#files.state, { offered }));
    if (estate !== undefined && this.#running !== undefined) this.#mustBeOf(estate, this.#running.root);
    this.#isOthers = false;
    return estate;
  }

  /** One name is one server's: what a killed keeper has left goes on by `run`, and not by the adoption of another server. */
  #mustBeOf(estate: Estate, server: ProcessId): void {
    const { recovery } = estate;
    const workers = recovery.generations.flatMap((one) => one.workers);
    if (workers.some(({ root }) => root?.pid === server.pid && root.startTime === server.startTime)) return;
    closeEstate(estate);
    const left = isReleased(recovery.stage) ? 'had released its port' : 'left its server';
    const text = `a keeper named "${this.name}" was killed and ${left}: go on with that by holdfast run, or choose another --name`;
    throw new HoldfastError('ERR_HOLDFAST_ADOPT', text);
  }

  #estateOfRunning(): Estate | undefined {
    return this.#running === undefined ? undefined : estateOf(this.#running, this.#generations.workers);
  }

  /** From here on what the estate has is ours. */
  #takeOver(estate: Estate): void {
    this.#isOthers = true;
    const { origin } = estate.recovery;
    this.#identity ??= origin?.identity ?? undefined;
    this.#setting ??= origin?.setting;
    this.#starts = startsOf(estate);
    const saved = estate.recovery.generations;
    const [serving, former] = [saved.find((one) => one.active), saved.find((one) => !one.active)];
    const program = { ...this.#program, ...serving?.program };
    const active = this.#newGeneration(serving?.number ?? 1, undefined, program);
    const old = this.#newGeneration(former?.number ?? active.number, undefined, {
      ...this.#program,
      ...former?.program,
    });
    this.#isPaused = estate.recovery.paused === true;
    const given = new Set<Fd>();
    for (const { sockets, active: isActive } of saved) {
      for (const socket of sockets) {
        const fd = estate.sockets.get(socket.inode);
        if (fd === undefined) continue;
        // Generations that share a socket have an fd each.
        this.#restoreSocket(isActive ? active : old, socket, given.has(fd) ? duplicate(fd) : fd);
        given.add(fd);
      }
    }
    this.#groups.restore(estate.recovery.groups, [...active.held.all(), ...old.held.all()]);
    const { asked, now } = estate.recovery.workers;
    this.#generations.restore(active, old, {
      workers: asked === this.#generations.workers ? now : undefined,
      formerProgram: estate.recovery.formerProgram,
      wayBack: estate.recovery.wayBack === true,
      probation: estate.recovery.probation,
      isGoneBack: estate.recovery.goneBack === true,
    });
  }

  #restoreSocket({ held }: Generation, saved: SavedSocket, fd: Fd): void {
    const { place, address, programReusesPort, backlog } = saved;
    const socket = held.add({ fd, place, address, programReusesPort, backlog, listened: false });
    socket.confirmed = saved.confirmed;
    socket.refusing = saved.refusing;
    for (const claim of saved.claims) socket.claims.add(claim);
    this.#announced.add(socket);
  }

  /** Goes on with the workers that another keeper has left. */
  #goOn(estate: Estate, listened: readonly HandedSocket[]): void {
    const { recovery, notifiers } = estate;
    this.#isOthers = false;
    const [active, old] = this.#generations.all() as readonly [Generation, Generation?];
    const { serving, former } = workersOf(estate);
    active.isServer = estate.sockets.size > 0 || serving.some(({ everListened }) => everListened);
    for (const saved of serving) this.#adoptWorker(active, saved, false);
    for (const saved of former) if (old !== undefined) this.#adoptWorker(old, saved, true);
    this.#monitor.know();
    const now = performance.now();
    for (const held of active.held.all()) {
      held.holders = currentHolders(active.trees(), held.inode, []);
      // Nobody had time to write down whose it is.
      if (held.claims.size === 0) {
        const having = active.workers.filter(({ tree }) => held.holders.some((one) => tree?.knows(one)));
        for (const { id } of having) held.claims.add(id);
      }
      if (held.holders.length > 0) continue;
      held.unservedSince = now;
      held.failingSince = now;
    }
    const waited = new Set(notifiers.flatMap(({ pending }) => pending.map(({ tid }) => tid)));
    const waiting = waitingThreads(notifiers);
    const wentOn = (pids: readonly number[]): boolean => {
      const threads = pids.flatMap((pid) => threadsOf(pid));
      const didWait = threads.some((tid) => waited.has(tid));
      // Yama lets nobody see in which calls they are, but the notifier knows those that it had.
      return didWait && waitingCalls(pids).length === 0 && !threads.some((tid) => waiting.has(tid));
    };
    // Stopped where they are, they seem to wait for nothing.
    if (!this.#isPaused) active.knowWhoServes(wentOn);
    for (const notifier of notifiers) this.#traps?.takeOver(notifier.copy, notifier);
    // The former keeper may have answered a listen and not written it down: whoever has them serves.
    active.attendance.handed(active.held.all());
    for (const held of active.held.all()) {
      if (!held.confirmed && held.holders.length > 0) active.attendance.listened(held);
    }
    this.#generations.goOn();
    const running = active.workers.filter(({ id }) => active.slotOf(id)?.phase !== 'backing-off');
    const pids = running.map(({ root }) => root?.pid).filter((pid) => pid !== undefined);
    const addresses = active.held.all().map((held) => describeHeld(held));
    // What was started without a keeper has no mark, and no filter.
    const isFiltered = serving.some(({ root, mark }) => root !== null && mark !== '');
    const binds = notifiers.length > 0 || this.#spawner?.notifier === null || !isFiltered;
    if (this.#phase() === 'serving') this.#serviceManager.ready();
    this.#serviceManager.socketsChanged();
    // Whoever comes after us takes over from us, not from the one before.
    this.#flush();
    for (const holder of estate.holders) signalProcess(holder, 'SIGKILL');
    this.#say({ type: 'adopted', pids, addresses, binds });
    if (this.#isPaused) {
      // The former keeper may have had no time to stop all of them.
      this.#holdStill();
      this.#say({ type: 'paused' });
    }
    // What is released begins anew with the take.
    if (active.workers.length === 0 || isReleased(recovery.stage)) return;
    const { stage, command, directory } = recovery;
    const restart = stage === 'emptying';
    const isOther = !isDeepStrictEqual([command, directory], [this.#options.command, this.#cwd]);
    // Its workers have none of what this keeper alone was told to listen on.
    const isMore = listened.some(({ held }) => !estate.sockets.has(held.inode));
    // A server that was started without holdfast is left alone until somebody asks for a reload.
    const isStrangers =
      notifiers.length === 0 && recovery.origin === undefined && this.#running !== undefined;
    // Without their notifier the workers could bind nothing any more.
    if (isStrangers || !(restart || !binds || isOther || isMore)) return;
    const options = { restart, newAddresses: isOther || isMore, again: !isOther };
    if (this.#isPaused) this.once('resumed', () => this.#reloadSoon(options));
    else this.#reloadSoon(options);
  }

  /** Not at once: a stop has a paused server go on, and nothing is to be started for that. */
  #reloadSoon(options: ReloadOptions): void {
    queueMicrotask(() => {
      this.reload(options).catch((error: unknown) => this.#say({ type: 'warning', text: errorText(error) }));
    });
  }

  #adoptWorker(generation: Generation, saved: SavedWorker, former: boolean): void {
    const { root, mark } = saved;
    const poller = this.#poller;
    if (root === null || poller === undefined) return;
    const worker = generation.adopt(saved, former);
    const tree = this.#processes.treeOf(worker, { root: root.pid, mark, adopted: root.startTime });
    worker.started(root, tree, this.#policy.stopSignal);
    // Those that it has now are known even when they are orphaned later.
    tree.members();
    // That one has ended is known, and counted.
    if (generation.slotOf(worker.id)?.phase === 'backing-off') return;
    const { signal } = this.#adopting;
    void endOfProcess(root, poller, signal).then((end) => {
      if (!signal.aborted) void worker.ended(end);
    });
  }

  #workers(): readonly Worker[] {
    return this.#generations.all().flatMap(({ workers }) => workers);
  }

  #trees(): readonly WorkerTree[] {
    return this.#generations.all().flatMap((generation) => generation.trees());
  }

  #ofCaller({ held }: Caller): Generation | undefined {
    return this.#generations.all().find((generation) => generation.held === held);
  }

  #letListen(caller: Caller, pid: number, fd: number): void {
    const worker = this.#workers().find(({ id }) => id === caller.id);
    if (this.#ofCaller(caller)?.slotOf(caller.id)?.everListened === false) worker?.listensUnheld(pid, fd);
  }

  /** The worker is a server, though the keeper has none of its sockets. */
  #servesUnheld(caller: Caller): void {
    this.#serviceManager.ready();
    this.#ofCaller(caller)?.servesUnheld(caller.id);
  }

  async #startWorker(generation: Generation, worker: Worker): Promise<void> {
    const spawner = this.#spawner;
    if (spawner === undefined) throw new Error('the spawner runs before anything is spawned');
    // The clients of a paused server wait, whoever dies meanwhile.
    while (this.#isPaused) await new Promise<void>((go) => this.#waitingStarts.push(go));
    this.#log?.followName();
    const { command, env, directory } = generation.program;
    const file = findProgram(command[0] ?? '', env, directory);
    const mark = this.#processes.markOf(worker);
    const handed = handOver(
      command[0]?.includes('/') ? [file, ...command.slice(1)] : command,
      { ...env, [WORKER_VARIABLE]: mark, [STANDBY_VARIABLE]: worker.isStandby ? '1' : undefined },
      generation.handed,
      {
        generation: worker.id,
        ignoreHangup: this.#duties.ignoresHangup,
        first: this.#setting === undefined ? [] : linesBefore(this.#setting),
      },
    );
    // By this whoever comes after us finds what we start now.
    if (this.#stageWritten === undefined || isReleased(this.#stageWritten)) this.#writeDown();
    const spawned = spawner.spawn({
      ...handed,
      env: { ...handed.env, ...this.#notifyServer?.env },
      ipc: this.#readiness.type === 'ipc',
      cwd: directory,
      ...(this.#log === undefined ? {} : { output: this.#log.fd }),
      ...(this.#identity === undefined ? {} : { credentials: this.#identity }),
    });
    // While that thread starts it.
    this.#hold();
    const { pid, exited, toldReady } = await spawned;
    if (this.#setting !== undefined) await this.#settle(pid, this.#setting);
    const root = { pid, startTime: processStat(pid)?.startTime ?? 0 };
    const tree = this.#processes.treeOf(worker, { root: pid, mark });
    worker.started(root, tree, this.#policy.stopSignal);
    // It was on its way when the others were stopped.
    if (this.#isPaused) tree.signal('SIGSTOP');
    void exited.then((end) => worker.ended(end));
    if ((this.#options.standbys ?? 0) > 0) this.#watchDeath(worker, root);
    void toldReady.then(() => worker.tellReady());
    this.#startUntold = { type: 'started', pid, attempt: worker.attempt };
    setTimeout(() => this.#tellStart(), START_TOLD_MS);
    this.#monitor.look();
    this.#stateChanged();
  }

  /** The thread that started it tells its end too, some milliseconds later: too late for who waits to stand in. */
  #watchDeath(worker: Worker, root: ProcessId): void {
    const poller = this.#poller;
    if (poller === undefined) return;
    void failureOf(root, poller, this.#adopting.signal).then((end) => {
      if (end !== undefined) worker.dying(end);
    });
  }

  /** It has stopped itself, so that nothing of the server runs before it has what it is to have. */
  async #settle(pid: number, setting: ProcessSetting): Promise<void> {
    const until = performance.now() + STOPS_MS;
    while (processStat(pid)?.state !== 'T' && performance.now() < until) await sleep(1);
    try {
      applySetting(pid, setting);
    } catch (error) {
      this.#say({
        type: 'warning',
        text: `pid ${pid} has limits or cgroup of the keeper: ${errorText(error)}`,
      });
    }
    process.kill(pid, 'SIGCONT');
  }

  #changed(generation: Generation): void {
    this.#generations.changed(generation);
    this.#monitor.look();
    this.#stateChanged();
  }

  #confirmed(generation: Generation, held: HeldSocket): void {
    if (!this.#announced.has(held)) {
      this.#announced.add(held);
      // A candidate's is news only where its predecessor has none.
      const { place } = held;
      const isNew = place === undefined || !generation.predecessor?.held.at(place).length;
      const pid = held.holders[0]?.pid ?? 0;
      if (isNew) this.#heldUntold.push({ type: 'held', address: describeHeld(held), pid });
    }
    this.#serviceManager.socketsChanged();
    this.#serviceManager.ready();
  }

  /** That of the app: of several workers the one that is farthest. */
  #phase(): Phase {
    if (this.#isOver) return 'ended';
    if (this.#generations.stage === 'stopping') return 'stopping';
    if (this.#generations.stage === 'released') return 'ended';
    const phases = this.#generations.active.slots.map(({ phase }) => phase);
    return phases.includes('serving') ? 'serving' : (phases[0] ?? 'starting');
  }

  /** Takes no more connections and waits until those in the queues have been accepted. Once, at the stop. */
  #closeEntrance(): Promise<void> {
    if (this.#generations.stage !== 'stopping') return Promise.resolve();
    this.#entranceClosed ??= this.#emptyQueues();
    return this.#entranceClosed;
  }

  /** Held sockets that take connections. */
  #open(): readonly HeldSocket[] {
    const held = this.#generations.all().flatMap((generation) => generation.held.all());
    return held.filter(({ place, fd }) => place !== undefined && isListening(fd));
  }

  async #emptyQueues(): Promise<void> {
    const generations = this.#generations.all();
    const open = this.#open();
    const served = (): readonly HeldSocket[] =>
      open.filter((one) => isServed(one) && generations.some(({ held }) => held.has(one)));
    await emptyQueues(served, this.#policy.stopTimeoutMs * QUEUE_SHARE);
    // A start on its way has the numbers of our fds.
    while (this.#workers().some(({ root, failed }) => root === undefined && !failed)) await sleep(2);
    // Ours goes first, so that the server's own close refuses clients from then on.
    await this.#holder.end();
    for (const { held } of generations) held.releaseAll();
  }

  #sayNothingListens(): void {
    const { active } = this.#generations;
    if (this.#generations.stage === 'stopping') return;
    const unheld = active.trees().flatMap((tree) => unheldListeners(tree, active.held));
    for (const { pid, address } of unheld) {
      const why =
        this.#spawner?.notifier === null
          ? 'without a trap only the addresses of --listen are'
          : 'it was not bound by a plain bind and listen with a port (port 0, io_uring, 32-bit, inherited)';
      this.#say({ type: 'not-held', pid, address, why });
    }
    this.#serviceManager.ready();
    if (this.#phase() === 'starting' && !active.isServer && unheld.length === 0 && !this.#isPaused) {
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
    if (notice.type === 'taken') this.#generations.taken(notice.address, notice.by);
    if (notice.type === 'held' || notice.type === 'served-again') this.#generations.got(notice.address);
    this.#monitor.hear(notice);
    this.#serviceManager.heard(notice);
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
      if (!this.#isOver) this.#serviceManager.status(() => this.status());
      this.#flush();
    }, STATE_WRITE_MS);
  }

  #flush(): void {
    this.#hold();
    this.#writeDown();
    // Only now is it true also when we are killed.
    for (const notice of this.#heldUntold.splice(0)) this.#say(notice);
  }

  #writeDown(): void {
    if (this.#isOver || this.#isOthers) return;
    try {
      writeState(this.#files, this.status(), this.#recovery());
      this.#stageWritten = this.#generations.stage;
    } catch (error) {
      // A full disk must not end a keeper.
      this.#say({ type: 'warning', text: `cannot write ${this.#files.state}: ${errorText(error)}` });
    }
  }

  /** The sockets that new connections go to. */
  #served(): readonly HeldSocket[] {
    const { active, late } = this.#generations;
    return [...active.held.all(), ...late];
  }

  /** What is to outlive this process: the notifiers, and the sockets that new connections go to. */
  #outliving(): readonly HeldFile[] {
    const { stage } = this.#generations;
    // With PID 1 the kernel ends all others of its namespace.
    if (!this.#mayCopy || process.pid === 1 || stage === 'stopping' || this.#isOver) return [];
    const notifiers = (this.#traps?.fds ?? []).map((fd) => ({ fd, key: `notifier ${fd}` }));
    const sockets = this.#served().filter(({ confirmed }) => confirmed);
    return [...notifiers, ...sockets.map((held) => ({ fd: held.fd, key: fileKey(held) }))];
  }

  #hold(): void {
    if (this.#isOthers || this.#isOver) return;
    try {
      this.#holder.hold(this.#outliving());
    } catch (error) {
      this.#say({
        type: 'warning',
        text: `nobody holds the sockets beside this keeper: ${errorText(error)}`,
      });
    }
  }

  /** What another keeper needs to go on. */
  #recovery(): Recovery {
    const generations = this.#generations.all();
    const probation = this.#generations.saveProbation();
    return newRecovery({
      keeper: this.#processes.keeper,
      left: this.#hasLeft,
      command: this.#options.command,
      directory: this.#cwd,
      ...(this.#setting && { origin: { identity: this.#identity ?? null, setting: this.#setting } }),
      paused: this.#isPaused,
      starts: this.#starts,
      stage: this.#generations.stage,
      wayBack: this.#generations.hasFormer,
      ...(probation && { probation }),
      goneBack: this.#generations.isGoneBack,
      ...(this.#generations.formerProgram && { formerProgram: this.#generations.formerProgram }),
      workers: { asked: this.#options.workers ?? 1, now: this.#generations.workers },
      holder: this.#holder.process ?? null,
      notifiers: this.#traps?.save() ?? [],
      generations: generations.map((one) => one.save(one === this.#generations.active)),
      groups: this.#groups.save(),
    });
  }

  async #end(exitCode: number): Promise<void> {
    this.#isOver = true;
    try {
      await this.#tearDown();
    } finally {
      this.#finish({ exitCode });
    }
  }

  async #tearDown(): Promise<void> {
    clearTimeout(this.#nothingListens);
    clearTimeout(this.#stateWrite);
    this.#serviceManager.close();
    this.#traps?.stop();
    this.#adopting.abort();
    if (this.#isOthers) this.#holder.leave();
    else await this.#holder.end();
    this.#generations.forget();
    if (!this.#isOthers) {
      for (const handed of this.#generations.active.handed) this.#tryTo(() => removeSocketFile(handed));
    }
    this.#monitor.end();
    this.#control?.close();
    process.off('SIGCHLD', this.#onChild);
    process.off('exit', this.#onExit);
    this.#notifyServer?.close();
    this.#poller?.close();
    await this.#spawner?.stop();
    await this.#log?.close();
    this.#traps?.close();
    if (this.#lock === undefined) return;
    if (!this.#isOthers) this.#tryTo(() => removeFiles(this.#files));
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

/** The options, with what they do not say as the server has it. */
function asItRuns(options: KeepOptions, { command, directory, env, root }: RunningServer): KeepOptions {
  if (options.command.length === 0 && command.length === 0) {
    const text = `pid ${root.pid} has a title in place of its command line; say after -- how it is started`;
    throw new HoldfastError('ERR_HOLDFAST_ADOPT', text);
  }
  return {
    ...options,
    command: options.command.length > 0 ? options.command : command,
    cwd: options.cwd ?? directory,
    env: options.env ?? env ?? process.env,
  };
}

/** Does it when the holder is open to us, which it becomes a moment after its start. */
async function onceOpen<T>(work: () => T): Promise<T> {
  const until = performance.now() + HOLDER_OPENS_MS;
  for (;;) {
    try {
      return work();
    } catch (error) {
      if (errorCode(error) !== 'ERR_HOLDFAST_TAKE_OVER' || performance.now() > until) throw error;
    }
    await sleep(HOLDER_LOOK_MS);
  }
}

function fileKey({ inode }: Pick<HeldSocket, 'inode'>): string {
  return `socket ${inode}`;
}
