import { errorText } from '../errors.js';
import { formatAddress } from '../model/address.js';
import type { Generation } from './generation.js';
import type { ReusePortGroups } from './groups.js';
import type { HandedSocket } from './hand-over.js';
import {
  byPlace,
  describeHeld,
  type HeldSocket,
  type HeldSockets,
  isServed,
  type Place,
  placeKey,
  takeClientsAgain,
} from './held.js';
import { LateAddresses } from './late-addresses.js';
import type { WorkerEnd } from './lifecycle.js';
import { handedAgain } from './listen.js';
import { describeStranger, type Notice, type Stranger } from './notices.js';
import { OldDrain } from './old-drain.js';
import { PausableTimer } from './pausable-timer.js';
import { Probation, type SavedProbation } from './probation.js';
import { isSameProgram, type Program } from './program.js';
import type { Readiness } from './readiness.js';
import { ReadyCheck } from './ready-check.js';
import { KEEPER_STOPS, type ReloadOptions, type ReloadOutcome, type ReloadPolicy } from './reload.js';
import { isServedBy, servedPlaces } from './served-places.js';
import type { Slot } from './slot.js';
import type { DrainState } from './state.js';
import { steady, type Turnover, type TurnoverEffect, type TurnoverEvent, turn } from './turnover.js';

export interface GenerationsHost {
  readonly groups: ReusePortGroups;
  /** One that has no worker yet. */
  readonly newGeneration: (
    number: number,
    predecessor: Generation | undefined,
    program?: Program,
  ) => Generation;
  /** Binds the addresses of `--listen` anew. @throws {HoldfastError} as `bindAll` */
  readonly bindAgain: (held: HeldSockets) => Promise<readonly HandedSocket[]>;
  readonly say: (notice: Notice) => void;
  /** The processes of the server are stopped where they are, and none is started. */
  readonly isPaused: () => boolean;
  /** The server has ended for good. */
  readonly ended: (exitCode: number) => void;
}

interface Asked {
  readonly options: ReloadOptions;
  readonly settle: (outcome: ReloadOutcome) => void;
}

/** The generations of a server: the one that serves, and during a reload a second one. */
export class Generations {
  readonly #policy: ReloadPolicy;
  readonly #host: GenerationsHost;
  #active: Generation;
  #candidate: Generation | undefined;
  /** It has been taken over from, and finishes what it has. */
  #old: Generation | undefined;
  #turnover: Turnover;
  #workers: number;
  readonly #renewals: NodeJS.Timeout;
  /** Who waits for the present reload, and who for the next. */
  #asked: Asked[] = [];
  #waiting: Asked[] = [];
  #failure = '';
  /** Addresses that somebody else has, and the present reload's server wants. */
  readonly #taken = new Map<string, string>();
  #since = 0;
  readonly #ready: ReadyCheck;
  #drain: OldDrain | undefined;
  /** A worker is being started, or a candidate's sockets are being made. */
  #starting = false;
  /** Of that one a worker could not be started, and until when no further one is tried. */
  #unable: Generation | undefined;
  #addAgain: NodeJS.Timeout | undefined;
  #exitCode = 0;
  #isEnded = false;
  /** What the former generation ran, if that was another program. */
  #formerProgram: Program | undefined;
  /** The active generation is what was gone back to. */
  #isGoneBack = false;
  /** That of the active generation. */
  readonly #probation = new Probation();
  #parkTimer: PausableTimer | undefined;
  #pausedAt = 0;
  /** Who waits for the release, and since when. */
  #releasing: { readonly settle: (outcome: ReloadOutcome) => void; readonly sinceMs: number } | undefined;
  /** The addresses of `--listen` have been let go of for somebody else. */
  #isLetGo = false;
  /** Where a candidate that may have other addresses takes clients, and since when these are the same. */
  #settling = { places: '', sinceMs: 0 };
  readonly #late: LateAddresses;

  constructor(policy: ReloadPolicy, host: GenerationsHost) {
    this.#policy = policy;
    this.#host = host;
    this.#turnover = steady();
    this.#ready = new ReadyCheck({
      ...policy,
      groups: host.groups,
      isPaused: host.isPaused,
      look: () => this.changed(this.#candidate ?? this.#active),
      ready: () => this.#dispatch({ type: 'ready' }),
      failed: (why) => this.#fail(why),
      late: () => this.#failLate(),
    });
    this.#late = new LateAddresses({ ...host, oldKeeps: policy.parkMs > 0 });
    this.#workers = policy.workers;
    this.#renewals = setInterval(
      () => this.#active.renewStandbys(policy.standbyMaxAgeMs),
      Math.min(RENEWAL_LOOK_MS, policy.standbyMaxAgeMs / 4 + 1),
    );
    this.#renewals.unref();
    this.#active = host.newGeneration(1, undefined);
  }

  /** The one that new connections go to. */
  get active(): Generation {
    return this.#active;
  }

  /** The sockets by which the old generation still serves addresses that the active one has not taken. */
  get late(): readonly HeldSocket[] {
    return this.#late.served;
  }

  get stage(): Turnover['stage'] {
    return this.#turnover.stage;
  }

  /** What of the old generation is waited for; null when nothing is. */
  drainState(): DrainState | null {
    if (this.#drain === undefined || this.stage !== 'draining') return null;
    const late = this.#late.places.map(({ address }) => formatAddress(address));
    return { ...this.#drain.state(this.#active), late };
  }

  /** Those that have workers, the active one first. */
  all(): readonly Generation[] {
    return [this.#active, this.#candidate, this.#old].filter((one) => one !== undefined);
  }

  /** Starts the first worker. @throws {HoldfastError} ERR_HOLDFAST_COMMAND */
  async begin(): Promise<void> {
    await this.#active.addWorker();
  }

  /**
   * Goes on where another keeper stopped, before the first start. `old`: what is not active, and only finishes. `workers`:
   * how many there are to be, if it is not what the policy says. `formerProgram`: what a rollback goes back to, and
   * `wayBack`: whether it may go back to `old`, which has served. `probation` and `isGoneBack`: those of the active one.
   */
  restore(
    active: Generation,
    old: Generation,
    {
      workers,
      formerProgram,
      wayBack,
      probation,
      isGoneBack,
    }: {
      readonly workers: number | undefined;
      readonly formerProgram: Program | undefined;
      readonly wayBack: boolean;
      readonly probation: SavedProbation | undefined;
      readonly isGoneBack: boolean;
    },
  ): void {
    this.#isGoneBack = isGoneBack;
    this.#formerProgram = formerProgram;
    this.#pausedAt = performance.now();
    if (probation !== undefined) this.#probation.restore(probation, this.#host.isPaused());
    // Who has none of the sockets can serve nobody: it never came to that, or they were lost with the former keeper.
    const canServe = old.held.all().length > 0 || active.held.all().length === 0;
    this.#turnover = { ...this.#turnover, wentBack: !wayBack || !canServe };
    this.#active.forget();
    this.#active = active;
    this.#old = old;
    this.#workers = workers ?? this.#workers;
  }

  /** What was restored had let go of its port for somebody else, or was about to. Before `goOn`. */
  stayReleased(): void {
    this.#turnover = { ...this.#turnover, stage: 'releasing', overlaps: false };
  }

  /** The workers of what was restored are known now: what has been taken over from finishes. */
  goOn(): void {
    const old = this.#old;
    if (old === undefined) return;
    if (old.isOver) {
      this.#old = undefined;
      this.#turnover = { ...this.#turnover, wentBack: false };
      this.#letGo(old);
    }
    if (this.#turnover.stage === 'releasing') {
      this.#active.isServer = true;
      this.#active.stop();
      return;
    }
    if (!old.isOver) {
      this.#turnover = { ...this.#turnover, stage: 'draining' };
      // A candidate that never served has no address that is to be taken from it.
      if (!this.#turnover.wentBack) {
        this.#expectLate(old, this.#active, performance.now());
        // The former keeper may have found their time over.
        for (const held of this.#late.served) takeClientsAgain(held);
      }
      void this.#drainOld();
    }
    this.#addWorkers(this.#active);
    // The reload that was to make them fewer has been lost, or the options say so now.
    if (this.#active.slots.length > this.#workers) void this.reload({ again: true });
    this.#goBackIfDue();
  }

  /** Whether the active generation is what was gone back to. */
  get isGoneBack(): boolean {
    return this.#isGoneBack;
  }

  /** That of the active generation, for another keeper. */
  saveProbation(): SavedProbation | undefined {
    return this.#probation.save(this.#nowMs);
  }

  /** Time stands still in a pause. */
  get #nowMs(): number {
    return this.#host.isPaused() ? this.#pausedAt : performance.now();
  }

  /** What the former generation ran, if that was another program. */
  get formerProgram(): Program | undefined {
    return this.#formerProgram;
  }

  /** How many workers there are to be. */
  get workers(): number {
    return this.#workers;
  }

  /** Starts a new generation and has it take over. Settles when it has, or when it has failed. */
  reload(options: ReloadOptions): Promise<ReloadOutcome> {
    return new Promise((settle) => this.#ask({ options, settle }));
  }

  #ask(asked: Asked): void {
    this.#waiting.push(asked);
    this.#request();
  }

  /**
   * Back to the former generation: at once as long as that lives, else by a reload with the program that it ran.
   */
  rollback(): Promise<ReloadOutcome> {
    if (this.hasFormer) {
      const since = performance.now();
      this.#dispatch({ type: 'back-requested' });
      const tookMs = Math.round(performance.now() - since);
      return Promise.resolve({ ok: true, generation: this.#active.number, tookMs });
    }
    const program = this.#formerProgram;
    if (program !== undefined) return this.reload({ program });
    const why =
      'there is no former generation that ran another command, folder or environment, and none is parked';
    return Promise.resolve({ ok: false, goesOn: true, why });
  }

  /** Whether the former generation is there to go back to. */
  get hasFormer(): boolean {
    const { stage, wentBack } = this.#turnover;
    return this.#old?.isOver === false && !wentBack && (stage === 'draining' || stage === 'parked');
  }

  /** A worker of the generation has died, and would be started again. */
  died(generation: Generation, end: WorkerEnd): void {
    if (generation !== this.#active) return;
    if (this.#turnover.stage === 'starting' && this.#candidate === undefined) this.#fail(endedHow(end));
    this.#probation.died(this.#nowMs);
    this.#goBackIfDue();
  }

  /** In a pause it is gone back from at the end of that, and in a reload, which may bring a good one, when that fails. */
  #goBackIfDue(): void {
    if (!this.#probation.isFailed || this.#host.isPaused() || this.#waiting.length > 0) return;
    switch (this.#turnover.stage) {
      case 'steady':
      case 'draining':
      case 'parked':
      case 'retiring':
        this.#goBack();
        return;
      default:
    }
  }

  /** The server wants an address that somebody else has. */
  taken(address: string, by: Stranger | undefined): void {
    this.#taken.set(address, `${address} is taken by ${describeStranger(by)}`);
  }

  /** It has got it. */
  got(address: string): void {
    this.#taken.delete(address);
  }

  #goBack(): void {
    const { deaths } = this.#probation;
    this.#probation.end();
    if (!this.hasFormer && this.#formerProgram === undefined) return;
    this.#host.say({ type: 'rolling-back', generation: this.#active.number, deaths });
    void this.rollback();
  }

  /** The processes have been stopped where they are: so is the time that they have. */
  paused(): void {
    this.#pausedAt = performance.now();
    this.#ready.pause();
    this.#parkTimer?.pause();
  }

  /** They go on. */
  resumed(): void {
    const nowMs = performance.now();
    this.#probation.stoodStill(nowMs - this.#pausedAt);
    this.#settling = { places: '', sinceMs: nowMs };
    this.#ready.goOn();
    this.#parkTimer?.goOn();
    // Not at once: a stop has a paused server go on too, and nothing is to be started for that.
    queueMicrotask(() => {
      if (this.#turnover.stage === 'stopping' || this.#host.isPaused()) return;
      if (this.#waiting.length > 0) this.#request();
      if (this.#releasing !== undefined) this.#releaseInTime();
      this.#goBackIfDue();
      this.changed(this.#candidate ?? this.#active);
    });
  }

  /** Stops the server and frees its ports, for somebody else. Settles when they are free. */
  release(): Promise<ReloadOutcome> {
    const refuse = (why: string, goesOn = true): Promise<ReloadOutcome> =>
      Promise.resolve({ ok: false, goesOn, why });
    if (this.#turnover.stage === 'stopping') return refuse(KEEPER_STOPS, false);
    if (this.#turnover.stage === 'released') return refuse('the port is released already');
    if (this.#releasing !== undefined || this.#turnover.stage === 'releasing')
      return refuse('a release is on its way already');
    return new Promise((settle) => {
      this.#releasing = { settle, sinceMs: performance.now() };
      this.#releaseInTime();
    });
  }

  /** A reload that goes on comes to its end first, but for a generation that is only kept for a way back. */
  #releaseInTime(): void {
    // What is paused is not to be ended.
    if (this.#host.isPaused()) return;
    if (this.#turnover.stage === 'parked') this.#dispatch({ type: 'park-over' });
    else if (this.#turnover.stage === 'steady') this.#dispatch({ type: 'release-requested' });
    // Of a restart that could not start anything nothing runs any more.
    else if (this.#turnover.stage === 'released') this.#perform({ type: 'let-go' });
  }

  /**
   * Changes how many workers there are. More are added to those that run. Fewer take the place of all by a reload: no one
   * of several that share a queue can be kept from taking connections before it is ended. When that fails there are to be
   * as many as before.
   */
  scale(workers: number): Promise<ReloadOutcome> {
    const runs = this.#active.slots.length;
    const before = Math.max(this.#workers, runs);
    this.#workers = workers;
    if (workers >= runs) {
      this.#addWorkers(this.#active);
      return Promise.resolve({ ok: true, generation: this.#active.number, tookMs: 0 });
    }
    return new Promise((answer) => {
      const settle = (outcome: ReloadOutcome): void => {
        // Unless another number has been asked for meanwhile.
        if (!outcome.ok && outcome.goesOn && this.#workers === workers) this.#workers = before;
        answer(outcome);
      };
      this.#ask({ options: { again: true }, settle });
    });
  }

  /** Ends every generation. A second call sends SIGKILL at once. */
  stop(signal?: NodeJS.Signals, delivered = false): void {
    const again = this.#turnover.stage === 'stopping';
    this.#dispatch({ type: 'stop-requested' });
    // Those that waited for a resume.
    this.#perform({ type: 'turn-away' });
    this.#answerRelease({ ok: false, goesOn: false, why: KEEPER_STOPS });
    // Those that a reload is stopping already must not be killed for it.
    for (const generation of this.all())
      if (again || !generation.isStopping) generation.stop(signal, delivered);
    this.#endIfOver();
  }

  /** Something of a generation is another: it may be ready, or may need its next worker. */
  changed(generation: Generation): void {
    if (generation === this.#old || this.#turnover.stage === 'stopping') return;
    this.#addWorkers(generation);
    if (generation === this.#active) this.#late.take();
    // Of processes that stand still nobody can tell.
    if (this.#turnover.stage !== 'starting' || this.#host.isPaused()) return;
    const starting = this.#candidate ?? this.#active;
    if (generation === starting && this.#listens(starting)) this.#ready.listens(starting);
  }

  /** Every worker of the generation has ended for good. */
  ended(generation: Generation, exitCode: number): void {
    if (generation === this.#candidate) {
      this.#fail(endedHow(generation.lastEnd));
      this.#candidate = undefined;
      this.#letGo(generation);
      this.#dispatch({ type: 'candidate-ended' });
      // It was waited for in case it takes over from one that has ended.
      if (this.#active.isOver && this.#turnover.stage === 'steady') this.stop();
    } else if (generation === this.#old) {
      this.#late.oldEnded({ isStopping: this.#turnover.stage === 'stopping' });
      // It may have ended before its time: the next one that is parked has its own.
      this.#parkTimer?.clear();
      this.#old = undefined;
      this.#letGo(generation);
      this.#dispatch({ type: 'old-ended' });
    } else {
      this.#exitCode = exitCode;
      const isAsked = this.#turnover.stage === 'emptying' || this.#turnover.stage === 'releasing';
      if (isAsked) this.#dispatch({ type: 'old-ended' });
      // A candidate may still take over from one that has ended.
      else if (this.#turnover.stage !== 'starting' || this.#candidate === undefined) {
        if (this.#turnover.stage !== 'stopping') this.stop();
      }
    }
    this.#endIfOver();
  }

  /** Lets go of everything. Who still waits for an answer is told that another keeper goes on. */
  forget(): void {
    const left: ReloadOutcome = { ok: false, goesOn: true, why: LEFT };
    for (const { settle } of [...this.#asked, ...this.#waiting]) settle(left);
    this.#answerRelease(left);
    clearInterval(this.#renewals);
    clearTimeout(this.#addAgain);
    this.#ready.end();
    this.#drain?.stop();
    this.#parkTimer?.clear();
    for (const generation of this.all()) generation.forget();
  }

  #request(): void {
    // What is paused is not to be ended, nor anything to be started: it waits for the resume.
    if (this.#host.isPaused()) return;
    const dead = this.#active.slots.every(({ phase }) => phase === 'backing-off' || phase === 'ended');
    const overlap = this.#policy.overlap && !this.#waiting.some(({ options }) => options.restart);
    this.#dispatch({ type: 'requested', overlap, dead });
  }

  #dispatch(event: TurnoverEvent): void {
    const { turnover, effects } = turn(this.#turnover, event);
    this.#turnover = turnover;
    for (const effect of effects) this.#perform(effect);
    if (this.#releasing !== undefined) this.#releaseInTime();
  }

  #perform(effect: TurnoverEffect): void {
    switch (effect.type) {
      case 'begin':
        this.#asked = this.#waiting;
        this.#waiting = [];
        this.#since = performance.now();
        this.#settling = { places: '', sinceMs: this.#since };
        this.#failure = '';
        this.#taken.clear();
        return;
      case 'start-candidate':
        void this.#startCandidate();
        return;
      case 'start-successor':
        this.#startSuccessor();
        return;
      case 'discard-candidate':
        this.#ready.end();
        if (this.#candidate?.isOver === false) this.#candidate.stop();
        return;
      case 'switch':
        this.#switch();
        return;
      case 'drain-old':
        void this.#drainOld();
        return;
      case 'park-old':
        this.#host.say({ type: 'parked', generation: this.#old?.number ?? 0, forMs: this.#policy.parkMs });
        this.#parkTimer = new PausableTimer(
          this.#policy.parkMs,
          () => this.#dispatch({ type: 'park-over' }),
          {
            paused: this.#host.isPaused(),
          },
        );
        return;
      case 'switch-back':
        this.#switchBack();
        return;
      case 'let-go':
        this.#isLetGo = true;
        // A service manager's stay listening there anyway.
        for (const held of this.#active.held.all()) if (!held.inherited) this.#active.held.release(held);
        this.#answerRelease();
        return;
      case 'stop-old':
        this.#parkTimer?.clear();
        this.#drain?.stop();
        (this.#old ?? this.#active).stop();
        return;
      case 'answer':
        this.#answer(effect.outcome);
        return;
      case 'turn-away':
        for (const { settle } of this.#waiting) settle({ ok: false, goesOn: false, why: KEEPER_STOPS });
        this.#waiting = [];
        return;
      case 'ask-again':
        this.#request();
        return;
    }
  }

  async #startCandidate(): Promise<void> {
    const candidate = this.#host.newGeneration(this.#nextNumber(), this.#active, this.#askedProgram());
    this.#candidate = candidate;
    this.#host.say({ type: 'reloading', generation: candidate.number });
    this.#ready.begin();
    try {
      candidate.handed = await handedAgain(this.#active.handed, candidate.held, this.#host.groups);
      await candidate.addWorker();
    } catch (error) {
      this.#fail(errorText(error));
      this.ended(candidate, 1);
    }
  }

  /** The new generation gets the sockets of the old one, of which nothing is left. */
  #startSuccessor(): void {
    const former = this.#active;
    const successor = this.#host.newGeneration(this.#nextNumber(), undefined, this.#askedProgram());
    this.#host.say({ type: 'reloading', generation: successor.number });
    successor.handed = former.handed;
    former.held.moveTo(successor.held);
    former.forget();
    this.#noteFormer(former, successor);
    successor.isServer = former.isServer;
    this.#active = successor;
    this.#ready.begin();
    const start = async (): Promise<void> => {
      const { handed, held } = successor;
      if (this.#isLetGo)
        successor.handed = [
          ...handed.filter((one) => one.inherited && held.has(one.held)),
          ...(await this.#host.bindAgain(held)),
        ];
      this.#isLetGo = false;
      await successor.addWorker();
    };
    start().catch((error: unknown) => {
      this.#fail(errorText(error));
    });
  }

  /** The last one that was asked for; undefined: what the keeper was started with. */
  #askedProgram(): Program | undefined {
    const asked = this.#asked.findLast(({ options }) => options.program)?.options.program;
    return asked ?? (this.#staysBack ? this.#active.program : undefined);
  }

  /** What is asked for is no more than to start again what was gone back to. */
  get #staysBack(): boolean {
    return this.#isGoneBack && this.#asked.every(({ options }) => options.again);
  }

  #noteFormer(former: Generation, next: Generation): void {
    const isBack = this.#asked.some(({ options }) => options.program) || this.#staysBack;
    if (!isSameProgram(former.program, next.program)) this.#formerProgram = former.program;
    this.#isGoneBack = isBack;
    // What was gone back to is not exchanged for what failed.
    if (isBack) this.#probation.end();
    else this.#probation.begin();
  }

  #nextNumber(): number {
    return 1 + Math.max(...this.all().map(({ number }) => number));
  }

  #failLate(): void {
    const starting = this.#candidate ?? this.#active;
    this.#fail(`it was not ready after ${this.#policy.readyTimeoutMs} ms: ${this.#whyNotReady(starting)}`);
  }

  /** The first reason counts. */
  #fail(why: string): void {
    if (this.#turnover.stage !== 'starting') return;
    this.#failure = [why, ...this.#taken.values()].join('; ');
    const { slots } = this.#candidate ?? this.#active;
    this.#dispatch({ type: 'failed', started: slots.length > 0 });
  }

  /** One worker after the other, each when the one before it serves: they share what that one has learned. */
  #addWorkers(generation: Generation): void {
    const { slots, standbys } = generation;
    const isFull = slots.length >= this.#workers;
    // Standbys give what they were started for first when there is something to stand in for.
    const wantsStandby = generation === this.#active && standbys.length < this.#policy.standbys;
    const isEnough = slots.length === 0 || (isFull && !wantsStandby) || generation === this.#unable;
    if (isEnough || this.#starting || !slots.every((slot) => this.#serves(generation, slot))) return;
    this.#starting = true;
    const addMore = (): void => {
      if (this.#turnover.stage !== 'stopping') this.#addWorkers(generation);
    };
    (isFull ? generation.addStandby() : generation.addWorker())
      .catch((error: unknown) => {
        this.#host.say({ type: 'warning', text: `${errorText(error)}; it is tried again` });
        this.#unable = generation;
        clearTimeout(this.#addAgain);
        this.#addAgain = setTimeout(() => {
          this.#unable = undefined;
          addMore();
        }, ADD_AGAIN_MS);
        this.#addAgain.unref();
      })
      .finally(() => {
        this.#starting = false;
        addMore();
      });
  }

  #listens(generation: Generation): boolean {
    const { slots } = generation;
    return slots.length >= this.#workers && slots.every((slot) => this.#serves(generation, slot));
  }

  /** Whether the worker listens on every address that it is to have. */
  #serves(generation: Generation, slot: Slot): boolean {
    if (slot.phase !== 'serving') return false;
    return this.#missing(generation, slot).length === 0 || this.#isSettled(generation, slot);
  }

  /** Whether it may listen on other addresses than its predecessor, does, and has taken no further one for a moment. */
  #isSettled(generation: Generation, { worker }: Slot): boolean {
    if (!this.#mayChangeAddresses) return false;
    const sockets = generation.held.all();
    if (sockets.length > 0 && !sockets.some((held) => isServedBy(held, worker))) return false;
    const places = servedPlaces(generation);
    const nowMs = performance.now();
    if (places !== this.#settling.places) this.#settling = { places, sinceMs: nowMs };
    return nowMs - this.#settling.sinceMs >= SETTLED_MS;
  }

  get #mayChangeAddresses(): boolean {
    return this.#asked.some(({ options }) => options.newAddresses);
  }

  /** Addresses of the predecessor that the worker does not serve yet. */
  #missing(generation: Generation, { worker }: Slot): readonly Place[] {
    const predecessor = generation.predecessor?.held.all() ?? [];
    const places = new Map(
      predecessor
        .filter(({ confirmed }) => confirmed)
        .flatMap(({ place }) => (place === undefined ? [] : [[placeKey(place), place]])),
    );
    return [...places.values()].filter(
      (place) => !generation.held.at(place).some((held) => isServedBy(held, worker)),
    );
  }

  #whyNotReady(generation: Generation): string {
    const [slot] = generation.slots.filter((one) => !this.#serves(generation, one));
    if (slot === undefined && generation.slots.length >= this.#workers)
      return notReadyYet(this.#policy.readiness);
    if (slot === undefined) return 'its workers did not all start';
    const missing = this.#missing(generation, slot);
    const listens = generation.held
      .all()
      .filter((held) => isServed(held))
      .map((held) => describeHeld(held));
    const where = listens.length === 0 ? 'nowhere' : `on ${listens.join(', ')}`;
    if (missing.length === 0) return `it listens ${where}`;
    const wanted = missing.map(({ address }) => formatAddress(address)).join(', ');
    return `it listens ${where}, not on ${wanted} (--new-addresses allows that)`;
  }

  #switch(): void {
    const candidate = this.#candidate;
    if (candidate === undefined) throw new Error('only a candidate is switched to');
    this.#ready.end();
    if (this.#mayChangeAddresses) this.#expectLate(this.#active, candidate, this.#since);
    const late = new Set(this.#late.places.map(placeKey));
    for (const sockets of byPlace(candidate.held.all())) {
      const [{ place } = {}] = sockets;
      if (place === undefined || !late.has(placeKey(place))) this.#host.groups.serve(sockets);
    }
    this.#active.attendance.stop();
    this.#active.stopStandbys();
    this.#noteFormer(this.#active, candidate);
    this.#active.onlyFinishes = this.#policy.parkMs === 0;
    this.#old = this.#active;
    this.#active = candidate;
    this.#candidate = undefined;
    candidate.tookOver();
  }

  #expectLate(old: Generation, next: Generation, sinceMs: number): void {
    this.#late.expect(old, next, sinceMs + this.#policy.readyTimeoutMs);
  }

  #switchBack(): void {
    const [back, failed] = [this.#old, this.#active];
    if (back === undefined) throw new Error('only a generation that lives is gone back to');
    this.#parkTimer?.clear();
    this.#drain?.stop();
    this.#late.giveBack();
    for (const sockets of byPlace(back.held.all())) this.#host.groups.serve(sockets);
    failed.attendance.stop();
    failed.stopStandbys();
    failed.onlyFinishes = true;
    this.#old = failed;
    this.#active = back;
    this.#formerProgram = undefined;
    this.#probation.end();
    this.#isGoneBack = true;
    back.tookBack();
    this.#host.say({ type: 'rolled-back', generation: back.number });
    this.#addWorkers(back);
  }

  async #drainOld(): Promise<void> {
    const old = this.#old;
    if (old === undefined) return;
    if (old.isOver) {
      this.ended(old, 0);
      return;
    }
    const drain = new OldDrain(old, this.#policy, () => this.#late.leftMs, this.#host);
    this.#drain = drain;
    try {
      await this.#late.wait(drain.signal);
    } catch (error) {
      // They are being stopped.
      if (drain.signal.aborted) return;
      this.#host.say({ type: 'warning', text: `addresses that may still be taken: ${errorText(error)}` });
    }
    if (this.#old !== old) return;
    await drain.run();
    if (drain.signal.aborted) return;
    // It has ended by itself meanwhile.
    if (this.#old !== old) return;
    if (old.isOver) this.ended(old, 0);
    else this.#dispatch({ type: 'drained', park: this.#policy.parkMs > 0 });
  }

  #answer(outcome: 'reloaded' | 'failed' | 'stopped'): void {
    this.#ready.end();
    const tookMs = Math.round(performance.now() - this.#since);
    const generation = this.#active.number;
    const result: ReloadOutcome =
      outcome === 'reloaded'
        ? { ok: true, generation, tookMs }
        : {
            ok: false,
            goesOn: outcome !== 'stopped' && this.#turnover.overlaps,
            why: outcome === 'stopped' ? KEEPER_STOPS : this.#failure,
            ...(this.#turnover.stage === 'released' && { released: true as const }),
          };
    if (result.ok) this.#host.say({ type: 'reloaded', generation, tookMs });
    else this.#host.say({ type: 'reload-failed', why: result.why, goesOn: result.goesOn, tookMs });
    for (const { settle } of this.#asked) settle(result);
    this.#asked = [];
    if (!result.ok) queueMicrotask(() => this.#goBackIfDue());
  }

  #answerRelease(failure?: ReloadOutcome): void {
    const releasing = this.#releasing;
    if (releasing === undefined) return;
    this.#releasing = undefined;
    const tookMs = Math.round(performance.now() - releasing.sinceMs);
    releasing.settle(failure ?? { ok: true, generation: this.#active.number, tookMs });
  }

  /** Closes what it held. */
  #letGo(generation: Generation): void {
    this.#host.groups.leave(generation.held.all());
    generation.forget();
    this.#host.groups.refresh();
  }

  #endIfOver(): void {
    if (this.#isEnded || this.#turnover.stage !== 'stopping') return;
    if (this.all().some(({ isOver }) => !isOver)) return;
    this.#isEnded = true;
    this.#host.ended(this.#exitCode);
  }
}

const RENEWAL_LOOK_MS = 5_000;
/** How long after a worker could not be started at all that is tried again. */
const ADD_AGAIN_MS = 10_000;
/** How long a new generation has taken no further address when it counts as having them all. */
const SETTLED_MS = 1_000;
const LEFT = 'another keeper has taken over meanwhile';

function endedHow(end: WorkerEnd | null): string {
  if (end === null) return 'it did not start';
  return end.signal === null
    ? `it exited with ${end.code} before it was ready`
    : `it was ended by ${end.signal} before it was ready`;
}

/** Why a generation that listens is not ready. */
function notReadyYet({ type }: Readiness): string {
  switch (type) {
    case 'notify':
      return 'it listens, and has not said READY=1 (sd_notify)';
    case 'ipc':
      return "it listens, and has not sent 'ready' (process.send)";
    case 'delay':
      return 'it listens, and has not run for long enough (--ready delay)';
    case 'listen':
    case 'http':
      return 'it listens';
  }
}
