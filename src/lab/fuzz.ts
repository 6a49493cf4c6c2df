import type { KernelVersion } from '../model/kernel-rules.js';
import type { RuleId } from '../model/rules.js';
import type { Sysctls } from '../model/world.js';
import type { Call, Program, ProgramSysctls, Slot } from './call.js';
import { type Mix, PORTS, random, randomCalls, randomHabits, randomSysctls } from './generator.js';
import { type Disagreement, Lockstep, type Outcome } from './lockstep.js';
import { applySysctls, enterStage } from './stage.js';

const FIRST_PORT = 2048;
const LAST_PORT = 65_000;
/** More than all programs of a namespace leave behind. */
const MAX_TIME_WAITS = 1_000_000;
const CALLS = 22;
const USERS = [0, 0, 0, 1000];

export interface FuzzOptions {
  readonly mix: Mix;
  readonly seed: number;
  readonly kernel: KernelVersion;
  /** As root: sockets of several users, and binds without CAP_NET_BIND_SERVICE. */
  readonly privileged: boolean;
}

export interface Found {
  /** Number of the program within the run. */
  readonly index: number;
  readonly program: Program;
  /** What the kernel gave for each call: ok or an error's name. */
  readonly outcomes: readonly string[];
  readonly disagreement: Disagreement;
}

/** What a run has done so far. */
export interface Tally {
  programs: number;
  calls: number;
  /** Calls that were left out because the model says that it does not know. */
  notModelled: number;
  /** Programs that ended early where the kernel's choice led out of the model. */
  lost: number;
  /** How often each rule took part. */
  readonly rules: Map<RuleId, number>;
}

/** Runs programs on the model and on the kernel, in namespaces that it makes one after the other. */
export class Fuzzer {
  readonly #options: FuzzOptions;
  readonly tally: Tally = { programs: 0, calls: 0, notModelled: 0, lost: 0, rules: new Map() };
  #base = LAST_PORT;
  #sysctls: Sysctls | undefined;

  constructor(options: FuzzOptions) {
    this.#options = options;
  }

  /** The random program with that number; undefined when model and kernel agree on it. */
  runRandom(index: number): Found | undefined {
    const rng = random(Math.imul(this.#options.seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b));
    const sysctls = randomSysctls(rng);
    const habits = randomHabits(rng);
    const base = this.#nextBase();
    const lockstep = this.#open(base, sysctls);
    const calls: Call[] = [];
    const outcomes: string[] = [];
    const slots: Slot[] = [];
    let next = 0;
    let tries = 0;
    const { privileged } = this.#options;
    try {
      while (calls.length < CALLS) {
        const batch = randomCalls(rng, {
          world: lockstep.world,
          mix: this.#options.mix,
          habits,
          users: privileged ? USERS : [0],
          mayDropRights: privileged,
          slots,
          next,
          idAt: (slot) => lockstep.idAt(slot),
          offsetOf: (port) => (port >= base && port < base + PORTS ? port - base : undefined),
        });
        for (const call of batch) {
          const outcome = lockstep.do(call);
          if (outcome.type === 'not-modelled') {
            this.tally.notModelled++;
            if (++tries > CALLS) return undefined;
            continue;
          }
          calls.push(call);
          this.tally.calls++;
          if (outcome.type === 'lost') {
            this.tally.lost++;
            return undefined;
          }
          outcomes.push(kernelsWord(outcome));
          if (outcome.type === 'disagree') {
            return { index, program: { sysctls, calls }, outcomes, disagreement: outcome.disagreement };
          }
          for (const rule of outcome.step.applied)
            this.tally.rules.set(rule, (this.tally.rules.get(rule) ?? 0) + 1);
          if (call.call === 'close') slots.splice(slots.indexOf(call.slot), 1);
          if (call.call === 'socket' || (call.call === 'accept' && outcome.step.outcome.ok))
            slots.push(next++);
        }
      }
      return undefined;
    } finally {
      this.tally.programs++;
      lockstep.end();
    }
  }

  /** A given program once more, on ports that nothing has used; undefined when model and kernel agree on it. */
  replay({ index, program }: Pick<Found, 'index' | 'program'>): Found | undefined {
    const lockstep = this.#open(this.#nextBase(), program.sysctls);
    const calls: Call[] = [];
    const outcomes: string[] = [];
    try {
      for (const call of program.calls) {
        if ('slot' in call && call.call !== 'socket' && lockstep.idAt(call.slot) === undefined) continue;
        const outcome = lockstep.do(call);
        if (outcome.type === 'not-modelled') continue;
        if (outcome.type === 'lost') return undefined;
        calls.push(call);
        outcomes.push(kernelsWord(outcome));
        if (outcome.type === 'disagree') {
          return { index, program: { ...program, calls }, outcomes, disagreement: outcome.disagreement };
        }
      }
      return undefined;
    } finally {
      lockstep.end();
    }
  }

  /** The shortest program that still disagrees, by leaving out calls one after the other. */
  shrink(found: Found): Found {
    let shortest = found;
    for (let at = found.program.calls.length - 1; at >= 0; at--) {
      const { index, program } = shortest;
      if (at >= program.calls.length) continue;
      const calls = program.calls.filter((_, other) => other !== at);
      shortest = this.replay({ index, program: { ...program, calls } }) ?? shortest;
    }
    return shortest;
  }

  #open(base: number, sysctls: ProgramSysctls): Lockstep {
    const { portRange, reservedPorts, unprivilegedPortStart, ...others } = sysctls;
    const actual: Sysctls = {
      ...others,
      portRange: { low: base + portRange.low, high: base + portRange.high },
      reservedPorts: reservedPorts.map((offset) => base + offset),
      unprivilegedPortStart: base + unprivilegedPortStart,
      finTimeoutS: 60,
      maxTwBuckets: MAX_TIME_WAITS,
    };
    applySysctls(actual, this.#sysctls);
    this.#sysctls = actual;
    return new Lockstep(base, actual, this.#options.kernel);
  }

  #nextBase(): number {
    this.#base += PORTS;
    if (this.#base + PORTS > LAST_PORT) {
      enterStage();
      this.#sysctls = undefined;
      this.#base = FIRST_PORT;
    }
    return this.#base;
  }
}

function kernelsWord(outcome: Outcome): string {
  if (outcome.type === 'agree') return outcome.step.outcome.ok ? 'ok' : outcome.step.outcome.code;
  if (outcome.type === 'disagree' && outcome.disagreement.what === 'result')
    return outcome.disagreement.kernel;
  return 'ok';
}
