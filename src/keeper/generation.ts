import { Attendance } from './attendance.js';
import type { HandedSocket } from './hand-over.js';
import { acceptClients, describeHeld, type HeldSocket, HeldSockets, queueLength } from './held.js';
import type { Policy, WorkerEnd } from './lifecycle.js';
import type { Notice } from './notices.js';
import type { Program } from './program.js';
import type { SavedGeneration, SavedWorker } from './recovery.js';
import { Slot } from './slot.js';
import { currentHolders, holderOf, isAlive, type WorkerTree } from './tree.js';
import { unheldListeners } from './unheld.js';
import { Worker, type WorkerHost } from './worker.js';

const LISTENING_LOOK_MS = 100;
const LISTENING_LOOK_MAX_MS = 2_000;
/** For so long the first clients of a standby that has just gone in have the CPUs for themselves. */
const FIRST_CLIENTS_MS = 100;

/** What the keeper does for its generations. */
export interface GenerationHost {
  readonly policy: Policy;
  readonly holdForMs: number;
  readonly isPaused: () => boolean;
  readonly say: (notice: Notice) => void;
  readonly nextWorkerId: () => number;
  /** Starts the worker's first process. @throws {HoldfastError} ERR_HOLDFAST_COMMAND */
  readonly start: (generation: Generation, worker: Worker) => Promise<void>;
  readonly reapOrphans: () => void;
  /** Takes no more connections of the whole keeper, and waits until those in the queues are accepted. */
  readonly closeEntrance: (generation: Generation) => Promise<void>;
  /** Something that `status` tells is another. */
  readonly changed: (generation: Generation) => void;
  /** One of its sockets is a server's beyond doubt. */
  readonly confirmed: (generation: Generation, held: HeldSocket) => void;
  readonly released: (held: HeldSocket) => void;
  /** A worker of it died, and is started again. */
  readonly died: (generation: Generation, end: WorkerEnd) => void;
  /** Every worker of it has ended for good. */
  readonly ended: (generation: Generation, exitCode: number) => void;
}

/** The workers of one start or reload, and the sockets that they serve. */
export class Generation {
  /** From 1. */
  readonly number: number;
  readonly held: HeldSockets;
  /** What its workers run, from where its folder was when it began. */
  readonly program: Program;
  attendance: Attendance;
  /** Sockets that every worker of it gets as fds. */
  handed: readonly HandedSocket[] = [];
  /** Whose addresses it is to have before it gets any connection; undefined once it has taken over. */
  predecessor: Generation | undefined;
  /** It has taken over from this one, which still serves addresses that it has not taken yet. */
  former: Generation | undefined;
  /** It has been taken over from, and nobody goes back to it: who dies when no client waits is not started again. */
  onlyFinishes = false;
  /** Its successor is to get the sockets by which it still serves: who dies is not started again, whoever waits. */
  leavesAll = false;
  readonly #host: GenerationHost;
  readonly #slots: Slot[] = [];
  /** Of the worker that ended last. */
  #exitCode = 0;
  #isServer = false;

  constructor(number: number, host: GenerationHost, program: Program, predecessor: Generation | undefined) {
    this.number = number;
    this.program = program;
    this.#host = host;
    this.predecessor = predecessor;
    this.held = new HeldSockets(host.released);
    this.attendance = this.#attend();
  }

  #attend(): Attendance {
    const { holdForMs, isPaused, say } = this.#host;
    return new Attendance({
      held: this.held,
      trees: () => this.trees(),
      holdForMs,
      isPaused,
      say,
      changed: (confirmed) => this.#socketsChanged(confirmed),
    });
  }

  /** Whether what it runs is known to be a server, and not a program that ends when it has done its work. */
  get isServer(): boolean {
    return this.#isServer || this.#slots.some(({ everListened }) => everListened);
  }

  set isServer(isServer: boolean) {
    this.#isServer = isServer;
  }

  /** Those whose workers serve. */
  get slots(): readonly Slot[] {
    return this.#slots.filter(({ isStandby }) => !isStandby);
  }

  get standbys(): readonly Slot[] {
    return this.#slots.filter(({ isStandby }) => isStandby);
  }

  /** Those that were started last; some may have ended. */
  get workers(): readonly Worker[] {
    return this.#slots.map(({ worker }) => worker).filter((worker) => worker !== undefined);
  }

  /** How a worker of it ended last. */
  get lastEnd(): WorkerEnd | null {
    return this.#slots.map(({ lastEnd }) => lastEnd).findLast((end) => end !== null) ?? null;
  }

  trees(): readonly WorkerTree[] {
    return this.workers.map(({ tree }) => tree).filter((tree) => tree !== undefined);
  }

  /** Those of workers that are not being ended. */
  treesThatStay(): readonly WorkerTree[] {
    return this.#slots
      .filter(({ phase }) => phase !== 'stopping' && phase !== 'cleaning')
      .map(({ worker }) => worker?.tree)
      .filter((tree) => tree !== undefined);
  }

  slotOf(worker: number): Slot | undefined {
    return this.#slots.find((slot) => slot.worker?.id === worker);
  }

  /** Starts one more worker. @throws {HoldfastError} ERR_HOLDFAST_COMMAND */
  async addWorker(): Promise<void> {
    // What fails as a candidate is not tried again.
    const restart = this.predecessor === undefined ? this.#host.policy.restart : 'never';
    await this.#add({ ...this.#host.policy, restart }, false);
  }

  /** Starts one more worker that waits in its listen until it is needed. */
  async addStandby(): Promise<void> {
    await this.#add(this.#standbyPolicy(), true);
  }

  /** Ends the workers that wait, for good. */
  stopStandbys(): void {
    // Asked again, one that is being stopped would be killed.
    for (const slot of this.standbys) if (slot.phase !== 'stopping') slot.stop();
  }

  /** Has those that have waited for longer than this started anew: what they got at their start may be stale. */
  renewStandbys(maxAgeMs: number): void {
    const oldest = performance.now() - maxAgeMs;
    for (const slot of this.standbys) {
      const { parkedSince, root } = slot.worker ?? {};
      if (parkedSince === undefined || parkedSince > oldest) continue;
      if (root !== undefined) this.#host.say({ type: 'renewing', pid: root.pid });
      slot.renew();
    }
  }

  /** Lets a worker that waits go on: it serves beside the others. False when none waits. */
  unpark(): boolean {
    const slot = this.#parkedSlot();
    if (slot === undefined) return false;
    this.#promote(slot);
    return true;
  }

  /** Goes on with a worker that another keeper started. `former`: it has been taken over from, and only finishes. */
  adopt(saved: SavedWorker, former: boolean): Worker {
    const { policy } = this.#host;
    const own = former ? { ...policy, restart: 'never' as const } : policy;
    const slot = this.#newSlot(saved.isStandby ? this.#standbyPolicy() : own, saved.isStandby);
    const worker = slot.adopt(saved);
    this.#lookForListening(worker);
    return worker;
  }

  /**
   * Has standbys serve of which another keeper had no time to write down that they do. `wentOn`: whether one of these
   * processes waited when that was written, and none does now. Whoever they stood in for is the next to wait.
   */
  knowWhoServes(wentOn: (pids: readonly number[]) => boolean): void {
    for (const slot of this.standbys) {
      const tree = slot.worker?.tree;
      const members = tree?.members() ?? [];
      const isBound = this.held.all().some(({ inode }) => tree?.holdersOf(inode, members).length);
      // One that was to end has another socket in its place.
      if (!isBound || !wentOn(members.map(({ pid }) => pid))) continue;
      const [died] = this.slots.filter(({ worker }) => worker?.root && !isAlive(worker.root));
      const former = died ?? this.slots.findLast(({ phase }) => phase === 'starting');
      this.#promote(slot);
      if (former === undefined) continue;
      former.isStandby = true;
      former.keep(this.#standbyPolicy());
    }
  }

  /** What another keeper needs to go on with it. */
  save(active: boolean): SavedGeneration {
    return {
      number: this.number,
      active,
      program: this.program,
      workers: this.#slots.map((slot) => slot.save()).filter((worker) => worker !== undefined),
      sockets: this.held
        .all()
        .map(({ inode, place, address, programReusesPort, backlog, confirmed, refusing, claims }) => ({
          ...{ inode, place, address, programReusesPort, backlog, confirmed, refusing },
          claims: [...claims],
        })),
    };
  }

  async #add(policy: Policy, isStandby: boolean): Promise<void> {
    const slot = this.#newSlot(policy, isStandby);
    try {
      await slot.begin();
    } catch (error) {
      // There is nothing in it that could end.
      slot.forget();
      this.#slots.splice(this.#slots.indexOf(slot), 1);
      throw error;
    }
  }

  #newSlot(policy: Policy, isStandby: boolean): Slot {
    const { say, reapOrphans } = this.#host;
    const slot = new Slot({
      policy,
      isServer: () => this.isServer,
      died: (one, end) => this.#died(one, end),
      held: this.held,
      say,
      reapOrphans,
      gone: (worker) => this.#workerGone(worker),
      newWorker: (host, attempt, id) => this.#newWorker(host, attempt, id),
      start: (worker) => this.#start(worker),
      steady: () => this.attendance.steady(),
      closeEntrance: () => this.#host.closeEntrance(this),
      changed: () => this.#host.changed(this),
      ended: (ended, exitCode) => this.#slotEnded(ended, exitCode),
    });
    slot.isStandby = isStandby;
    this.#slots.push(slot);
    return slot;
  }

  /** Its place is taken at once by one that waits, if there is any; whatever comes after it is the next to wait. */
  #died(slot: Slot, end: WorkerEnd): void {
    if (slot.isStandby) return;
    const isFinished = this.onlyFinishes && this.held.all().every((held) => queueLength(held) === 0);
    if (isFinished || this.leavesAll) {
      slot.keep({ ...this.#host.policy, restart: 'never' });
      return;
    }
    queueMicrotask(() => this.#host.died(this, end));
    const next = this.#parkedSlot();
    if (next === undefined) return;
    slot.isStandby = true;
    slot.keep(this.#standbyPolicy());
    this.#promote(next);
  }

  #promote(slot: Slot): void {
    slot.isStandby = false;
    slot.keep(this.#host.policy);
    slot.worker?.unpark(true);
    const pid = slot.worker?.root?.pid;
    if (pid !== undefined) this.#host.say({ type: 'promoted', pid });
  }

  #parkedSlot(): Slot | undefined {
    return this.standbys.find(({ worker }) => worker?.parkedSince !== undefined);
  }

  /**
   * One that waits has never listened, so that only this has it started again. Its start takes a CPU, which the one that
   * has just gone in needs for its first clients.
   */
  #standbyPolicy(): Policy {
    return { ...this.#host.policy, restart: 'always', firstBackoffMs: FIRST_CLIENTS_MS };
  }

  /** A process of the worker listens on the held socket from now on. */
  listened(worker: number, held: HeldSocket, pid: number, again: boolean): void {
    const now = performance.now();
    const address = describeHeld(held);
    if (again && held.unservedSince !== null) {
      const gapMs = Math.round(now - held.unservedSince);
      this.#host.say({ type: 'served-again', address, pid, gapMs });
    }
    held.claims.add(worker);
    held.unservedSince = null;
    held.abandonedSince = null;
    const holder = holderOf(pid, held.inode);
    const others = held.holders.filter((one) => one.pid !== pid);
    if (holder !== undefined) held.holders = this.#slots.length === 1 ? [holder] : [...others, holder];
    this.attendance.listened(held);
    this.slotOf(worker)?.dispatch({ type: 'listened' });
    this.#host.changed(this);
  }

  /** The worker is a server, though the keeper has none of its sockets. */
  servesUnheld(worker: number): void {
    const slot = this.slotOf(worker);
    slot?.dispatch({ type: 'listened' });
    slot?.dispatch({ type: 'confirmed' });
    this.#host.changed(this);
  }

  /** Ends all its workers for good, as `Keeper.stop` says. */
  stop(signal?: NodeJS.Signals, delivered = false): void {
    if (this.#slots.length === 0) this.#host.ended(this, 0);
    for (const slot of this.#slots) slot.stop(signal, delivered);
  }

  /** Whether all its workers are being ended for good, or have ended. */
  get isStopping(): boolean {
    return this.#slots.every(({ phase }) => phase === 'stopping' || phase === 'ended');
  }

  /** Whether nothing of it lives or may be started. */
  get isOver(): boolean {
    return this.#slots.every(({ phase }) => phase === 'ended');
  }

  /** It serves from now on, and is started again when it dies. */
  tookOver(): void {
    this.predecessor = undefined;
    this.#isServer = true;
    for (const slot of this.slots) slot.keep(this.#host.policy);
    this.#host.changed(this);
  }

  /** It serves again, in the place of one that had taken over from it. */
  tookBack(): void {
    this.onlyFinishes = false;
    this.attendance = this.#attend();
    this.#host.changed(this);
  }

  /** Lets go of everything. */
  forget(): void {
    this.attendance.stop();
    for (const slot of this.#slots) slot.forget();
    this.held.releaseAll();
  }

  #newWorker(host: Omit<WorkerHost, 'predecessor'>, attempt: number, id?: number): Worker {
    return new Worker(id ?? this.#host.nextWorkerId(), attempt, {
      ...host,
      predecessor: () => (this.predecessor ?? this.former)?.held,
    });
  }

  async #start(worker: Worker): Promise<void> {
    // Sockets of --listen that refuse clients, because nobody served them, take them again.
    for (const { held } of this.handed) if (held.refusing) acceptClients(held);
    await this.#host.start(this, worker);
    this.#lookForListening(worker);
    if (this.handed.length > 0) this.attendance.handed(this.handed.map(({ held }) => held));
  }

  /** Nobody tells when a worker listens on a socket that does not come through the trap: it is looked for. */
  #lookForListening(worker: Worker, waitMs: number = LISTENING_LOOK_MS): void {
    const timer = setTimeout(() => {
      const slot = this.slotOf(worker.id);
      if (slot?.phase !== 'starting' || worker.rootEnded || worker.tree === undefined) return;
      if (unheldListeners(worker.tree, this.held).length > 0) {
        this.servesUnheld(worker.id);
      } else {
        this.#lookForListening(worker, Math.min(LISTENING_LOOK_MAX_MS, waitMs * 1.5));
      }
    }, waitMs);
    timer.unref();
  }

  #socketsChanged(confirmed: HeldSocket | undefined): void {
    if (confirmed !== undefined) {
      for (const slot of this.#slots) {
        if (!this.#has(slot, confirmed)) continue;
        // A server that was handed its socket never calls listen.
        slot.dispatch({ type: 'listened' });
        slot.dispatch({ type: 'confirmed' });
      }
      this.#host.confirmed(this, confirmed);
    }
    this.#host.changed(this);
  }

  #has({ worker }: Slot, held: HeldSocket): boolean {
    if (worker === undefined) return false;
    if (this.#slots.length === 1 || held.claims.has(worker.id)) return true;
    return held.holders.some(({ pid, startTime }) => worker.tree?.knows({ pid, startTime }));
  }

  #workerGone(worker: Worker): void {
    const others = this.workers
      .filter((other) => other !== worker)
      .map(({ tree }) => tree)
      .filter((tree) => tree !== undefined);
    this.held.workerGone(worker.id, performance.now(), (held) =>
      others.length === 0 ? [] : currentHolders(others, held.inode, []),
    );
    this.#host.changed(this);
  }

  #slotEnded(slot: Slot, exitCode: number): void {
    if (!slot.isStandby) this.#exitCode = exitCode;
    if (this.isOver) this.#host.ended(this, this.#exitCode);
    // Nobody is left whom they could stand in for.
    else if (this.slots.every(({ phase }) => phase === 'ended')) this.stopStandbys();
  }
}
