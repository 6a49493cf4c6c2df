import type { KernelVersion } from '../model/kernel-rules.js';
import type { RuleId } from '../model/rules.js';
import type { Sysctls } from '../model/world.js';
import type { Call, Program, ProgramSysctls, Slot } from './call.js';
import { type Mix, PORTS, random, randomCall, randomSysctls } from './generator.js';
import { type Disagreement, Lockstep } from './lockstep.js';
import { applySysctls, enterStage } from './stage.js';

const FIRST_PORT = 2048;
const LAST_PORT = 65_000;
const CALLS = 21;

export interface FuzzOptions {
  readonly mix: Mix;
  readonly seed: number;
  readonly kernel: KernelVersion;
}

export interface Found {
  /** Number of the program within the run. */
  readonly index: number;
  readonly program: Program;
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
    const base = this.#nextBase();
    const lockstep = this.#open(base, sysctls);
    const calls: Call[] = [];
    const slots: Slot[] = [];
    let next = 0;
    try {
      for (let count = 0; count < CALLS; count++) {
        const call = randomCall(rng, {
          world: lockstep.world,
          mix: this.#options.mix,
          slots,
          next,
          idAt: (slot) => lockstep.idAt(slot),
          offsetOf: (port) => (port >= base && port < base + PORTS ? port - base : undefined),
        });
        const outcome = lockstep.do(call);
        if (outcome.type === 'not-modelled') {
          this.tally.notModelled++;
          continue;
        }
        calls.push(call);
        this.tally.calls++;
        if (outcome.type === 'lost') {
          this.tally.lost++;
          return undefined;
        }
        if (outcome.type === 'disagree') {
          return { index, program: { sysctls, calls }, disagreement: outcome.disagreement };
        }
        for (const rule of outcome.step.applied)
          this.tally.rules.set(rule, (this.tally.rules.get(rule) ?? 0) + 1);
        if (call.call === 'close') slots.splice(slots.indexOf(call.slot), 1);
        if (call.call === 'socket' || (call.call === 'accept' && outcome.step.outcome.ok)) slots.push(next++);
      }
      return undefined;
    } finally {
      this.tally.programs++;
      lockstep.end();
    }
  }

  /** A given program, on ports that nothing has used. */
  replay(program: Program): Disagreement | undefined {
    const lockstep = this.#open(this.#nextBase(), program.sysctls);
    try {
      for (const call of program.calls) {
        if ('slot' in call && call.call !== 'socket' && lockstep.idAt(call.slot) === undefined) continue;
        const outcome = lockstep.do(call);
        if (outcome.type === 'disagree') return outcome.disagreement;
        if (outcome.type === 'lost') return undefined;
      }
      return undefined;
    } finally {
      lockstep.end();
    }
  }

  /** The shortest program that still disagrees, by leaving out calls one after the other. */
  shrink(program: Program): Program {
    let { calls } = program;
    for (let at = calls.length - 1; at >= 0; at--) {
      const shorter = calls.filter((_, index) => index !== at);
      if (this.replay({ ...program, calls: shorter }) !== undefined) calls = shorter;
    }
    return { ...program, calls };
  }

  #open(base: number, sysctls: ProgramSysctls): Lockstep {
    const { portRange, reservedPorts, unprivilegedPortStart, ...others } = sysctls;
    const actual: Sysctls = {
      ...others,
      portRange: { low: base + portRange.low, high: base + portRange.high },
      reservedPorts: reservedPorts.map((offset) => base + offset),
      unprivilegedPortStart: base + unprivilegedPortStart,
      finTimeoutS: 60,
      maxTwBuckets: 1_000_000,
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
