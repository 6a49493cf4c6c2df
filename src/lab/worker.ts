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
  readonly done: boolean;
  readonly rules: readonly (readonly [RuleId, number])[];
}

const REPORT_EVERY_MS = 500;
/** A model that is wrong in one thing is wrong in many programs: the first few tell. */
const SHRINK_AT_MOST = 5;

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

function playOne(scenario: Scenario, { kernel, goesOn }: Extract<Task, { type: 'play' }>): Report {
  const { id } = scenario;
  try {
    return { type: 'played', result: play(scenario, kernel, (ms) => tell({ type: 'waiting', id, ms })) };
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
  const progress = (done: boolean): void => {
    const { programs, calls, notModelled, lost, rules } = fuzzer.tally;
    tell({ type: 'progress', programs, calls, notModelled, lost, disagreements, done, rules: [...rules] });
  };
  let told = performance.now();
  for (let index = from; index < to; index++) {
    const found = fuzzer.runRandom(index);
    if (found !== undefined) {
      disagreements++;
      if (shrinks && disagreements <= SHRINK_AT_MOST) {
        const again = fuzzer.replay(found);
        tell({
          type: 'found',
          found: again === undefined ? found : fuzzer.shrink(again),
          reproduced: again !== undefined,
        });
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

function tell(report: Report): void {
  process.send?.(report);
}
