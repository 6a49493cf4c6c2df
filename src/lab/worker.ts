import { setImmediate as turn } from 'node:timers/promises';
import { errorCode, errorText } from '../errors.js';
import { pinThread } from '../kernel/affinity.js';
import type { KernelVersion } from '../model/kernel-rules.js';
import type { RuleId } from '../model/rules.js';
import { type Found, Fuzzer, type FuzzOptions } from './fuzz.js';
import { play, type ScenarioResult } from './play.js';
import type { Scenario } from './scenario.js';

/** What the process that changes its namespaces is told to do; one task for each process. */
export type Task =
  | {
      readonly type: 'play';
      readonly scenarios: readonly Scenario[];
      readonly kernel: KernelVersion;
      readonly cpu: number;
      /** Whether a scenario that cannot be played to its end is told, and does not end the task. */
      readonly goesOn: boolean;
      /** Whether results tell all sockets after each step. Default false. */
      readonly sockets?: boolean;
    }
  | ({ readonly type: 'fuzz' } & FuzzTask);

export interface FuzzTask extends FuzzOptions {
  /** Numbers of the first program and of the one after the last. */
  readonly from: number;
  readonly to: number;
  readonly cpu: number;
  /** Whether disagreements are looked at once more and made short; otherwise they are only counted. */
  readonly shrinks: boolean;
}

export type Report =
  | { readonly type: 'played'; readonly result: ScenarioResult }
  | { readonly type: 'unplayable'; readonly id: string; readonly why: string }
  | { readonly type: 'waiting'; readonly id: string; readonly ms: number }
  | ({ readonly type: 'progress' } & FuzzTally)
  | { readonly type: 'found'; readonly found: Found; readonly reproduced: boolean }
  | { readonly type: 'ended' }
  | { readonly type: 'failed'; readonly code: string; readonly message: string };

/** What a run did since it began. */
export interface FuzzTally {
  readonly programs: number;
  readonly calls: number;
  readonly notModelled: number;
  readonly lost: number;
  readonly disagreements: number;
  /** Programs that disagreed once and never again. */
  readonly flaky: number;
  readonly done: boolean;
  readonly rules: readonly (readonly [RuleId, number])[];
}

const REPORT_EVERY_MS = 500;
/** A model that is wrong in one thing is wrong in many programs: the first few tell. */
const SHRINK_AT_MOST = 5;
/** As for shrinking; the others are believed. */
const CONFIRM_AT_MOST = 20;
/** How often a program is run once more, on other ports each time, before what it showed is taken for an accident. */
const REPLAYS = 20;

process.once('message', (task: Task) => {
  work(task)
    .catch((error: unknown) =>
      tell({ type: 'failed', code: errorCode(error) ?? 'UNKNOWN', message: errorText(error) }),
    )
    // What was told before has left us when this has.
    .finally(() => process.send?.({ type: 'ended' } satisfies Report, () => process.disconnect()));
});

async function work(task: Task): Promise<void> {
  pinThread(task.cpu);
  if (task.type === 'fuzz') {
    await fuzz(task);
    return;
  }
  for (const scenario of task.scenarios) {
    tell(playOne(scenario, task));
    await turn();
  }
}

function playOne(
  scenario: Scenario,
  { kernel, goesOn, sockets = false }: Extract<Task, { type: 'play' }>,
): Report {
  const { id } = scenario;
  try {
    const waited = (ms: number): void => tell({ type: 'waiting', id, ms });
    return { type: 'played', result: play(scenario, { kernel, sockets, waited }) };
  } catch (error) {
    // A model that lacks a rule comes to where the whole one never does: it does not know, or has no such socket.
    if (goesOn && errorCode(error) === 'ERR_HOLDFAST_SCENARIO') {
      return { type: 'unplayable', id, why: errorText(error) };
    }
    throw error;
  }
}

async function fuzz({ mix, seed, from, to, kernel, shrinks, privileged }: FuzzTask): Promise<void> {
  const fuzzer = new Fuzzer({ mix, seed, kernel, privileged });
  let disagreements = 0;
  let flaky = 0;
  const progress = (done: boolean): void => {
    const { programs, calls, notModelled, lost, rules } = fuzzer.tally;
    const counts = { programs, calls, notModelled, lost, disagreements, flaky };
    tell({ type: 'progress', ...counts, done, rules: [...rules] });
  };
  let told = performance.now();
  for (let index = from; index < to; index++) {
    const found = fuzzer.runRandom(index);
    if (found !== undefined) {
      const again = disagreements < CONFIRM_AT_MOST ? replay(fuzzer, found) : found;
      if (again === undefined) flaky++;
      else disagreements++;
      if (shrinks && (again === undefined || disagreements <= SHRINK_AT_MOST)) {
        const shortest = again === undefined ? found : fuzzer.shrink(again);
        tell({ type: 'found', found: shortest, reproduced: again !== undefined });
      }
    }
    if (performance.now() - told > REPORT_EVERY_MS) {
      progress(false);
      told = performance.now();
      await turn();
    }
  }
  progress(true);
}

/** What the program shows when it is run once more; where the kernel chooses freely that may take several times. */
function replay(fuzzer: Fuzzer, found: Found): Found | undefined {
  for (let tries = 0; tries < REPLAYS; tries++) {
    const again = fuzzer.replay(found);
    if (again !== undefined) return again;
  }
  return undefined;
}

function tell(report: Report): void {
  process.send?.(report);
}
