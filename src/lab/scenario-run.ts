import { availableParallelism } from 'node:os';
import { HoldfastError } from '../errors.js';
import type { KernelVersion } from '../model/kernel-rules.js';
import { doTask } from './crew.js';
import type { ScenarioResult } from './play.js';
import { needsRoot, type Scenario } from './scenario.js';
import type { Report } from './worker.js';

/** Plays scenarios, one process for each CPU. Resolves when all have ended. @throws {HoldfastError} as `doTask` */
export async function runScenarios(
  scenarios: readonly Scenario[],
  kernel: KernelVersion,
  report: (report: Report) => void,
): Promise<void> {
  await Promise.all(
    sharesOf(scenarios).map((share, cpu) =>
      doTask({ type: 'play', scenarios: share, kernel, cpu, goesOn: false }, report),
    ),
  );
}

/** The ids of those in which the kernel contradicts this model, in their order; slow ones are not tried. */
export async function contradictions(
  scenarios: readonly Scenario[],
  kernel: KernelVersion,
): Promise<readonly string[]> {
  const found = new Set<string>();
  const quick = playable(scenarios).filter(({ slow }) => !slow);
  await Promise.all(
    sharesOf(quick).map((share, cpu) =>
      doTask({ type: 'play', scenarios: share, kernel, cpu, goesOn: true }, (report) => {
        if (report.type === 'unplayable') found.add(report.id);
        if (report.type === 'played' && !report.result.agrees) found.add(report.result.id);
      }),
    ),
  );
  return quick.map(({ id }) => id).filter((id) => found.has(id));
}

/** Plays one scenario, and looks at all sockets after each step. @throws {HoldfastError} as `doTask`, ERR_HOLDFAST_LAB when aborted */
export async function watchScenario(
  scenario: Scenario,
  kernel: KernelVersion,
  signal: AbortSignal,
): Promise<ScenarioResult> {
  let result: ScenarioResult | undefined;
  const task = { type: 'play', scenarios: [scenario], kernel, cpu: 0, goesOn: false, sockets: true } as const;
  await doTask(
    task,
    (report) => {
      if (report.type === 'played') result = report.result;
    },
    signal,
  );
  if (result === undefined) throw new HoldfastError('ERR_HOLDFAST_LAB', `${scenario.id} was not played`);
  return result;
}

/** Those that this user can try. */
export function playable(scenarios: readonly Scenario[]): readonly Scenario[] {
  const isRoot = process.getuid?.() === 0;
  return scenarios.filter((scenario) => isRoot || !needsRoot(scenario));
}

/** One share for each CPU, and one for each scenario that mostly waits. */
function sharesOf(scenarios: readonly Scenario[]): readonly (readonly Scenario[])[] {
  const quick = scenarios.filter(({ slow }) => !slow);
  const jobs = Math.min(availableParallelism(), quick.length);
  const shares = Array.from({ length: jobs }, (_, job) =>
    quick.filter((_one, index) => index % jobs === job),
  );
  return [...shares, ...scenarios.filter(({ slow }) => slow).map((scenario) => [scenario])];
}
