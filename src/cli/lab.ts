import { release } from 'node:os';
import { builtInScenarios, findScenarios } from '../lab/library.js';
import type { CaseResult, ScenarioResult } from '../lab/play.js';
import type { Scenario } from '../lab/scenario.js';
import { playable, runScenarios } from '../lab/scenario-run.js';
import { kernelVersion } from '../model/kernel-rules.js';
import { rules } from '../model/rules.js';

export interface RunFlags {
  readonly json?: boolean;
  readonly quick?: boolean;
  readonly verbose?: boolean;
}

/** `holdfast lab list`. */
export function labList(flags: { readonly json?: boolean }): void {
  const scenarios = builtInScenarios();
  if (flags.json) {
    const rows = scenarios.map(({ id, title, source, claim, slow }) => ({
      id,
      title,
      source,
      claim: claim ?? null,
      slow,
    }));
    process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
    return;
  }
  const width = Math.max(...scenarios.map(({ id }) => id.length));
  for (const { id, title, slow } of scenarios) {
    process.stdout.write(`${id.padEnd(width)}  ${title}${slow ? '  (takes minutes)' : ''}\n`);
  }
}

/** `holdfast lab show NAME`: what is tried, without trying it. */
export function labShow(names: readonly string[], flags: { readonly json?: boolean }): void {
  const scenarios = findScenarios(names);
  if (flags.json) process.stdout.write(`${JSON.stringify(scenarios, null, 2)}\n`);
  else process.stdout.write(scenarios.map(describeScenario).join('\n'));
}

/** `holdfast lab run NAME...`: exit 0 when model and kernel agree in all and the verified kernel's outcomes came, else 1. */
export async function labRun(names: readonly string[], flags: RunFlags): Promise<void> {
  const wanted = findScenarios(names).filter(({ slow }) => !(flags.quick && slow));
  const scenarios = playable(wanted);
  const notRun = wanted.filter((scenario) => !scenarios.includes(scenario)).map(({ id }) => id);
  const kernel = kernelVersion(release());
  const results = new Map<string, ScenarioResult>();
  const printed = new Set<string>();
  await runScenarios(scenarios, kernel, (report) => {
    if (report.type === 'waiting' && report.ms >= 1000) say(`${report.id} waits for ${report.ms / 1000} s`);
    if (report.type !== 'played') return;
    results.set(report.result.id, report.result);
    if (!flags.json) printWhatIsReady(scenarios, results, printed, flags);
  });
  const all = scenarios.map(({ id }) => results.get(id)).filter((result) => result !== undefined);
  if (flags.json) {
    const about = { release: release(), rules: kernel.name, verified: kernel.verified };
    process.stdout.write(`${JSON.stringify({ kernel: about, results: all, notRun }, null, 2)}\n`);
  } else {
    process.stdout.write(summaryOf(all, notRun));
  }
  const failed = all.some(({ agrees, asExpected }) => kernel.verified && !(agrees && asExpected));
  if (failed || all.length < scenarios.length) process.exitCode = 1;
}

function summaryOf(all: readonly ScenarioResult[], notRun: readonly string[]): string {
  const disagree = all.filter(({ agrees }) => !agrees).length;
  const unexpected = all.filter(({ asExpected }) => !asExpected).length;
  const skipped = notRun.length === 0 ? '' : `not run, as they need root: ${notRun.join(', ')}\n`;
  return `${all.length} scenarios on Linux ${release()}: model and kernel disagree in ${disagree}, ${unexpected} came out other than on the verified kernel\n${skipped}`;
}

/** In the order of the list, whatever the order in which they end. */
function printWhatIsReady(
  scenarios: readonly Scenario[],
  results: ReadonlyMap<string, ScenarioResult>,
  printed: Set<string>,
  flags: RunFlags,
): void {
  for (const scenario of scenarios) {
    const result = results.get(scenario.id);
    if (result === undefined) return;
    if (printed.has(scenario.id)) continue;
    printed.add(scenario.id);
    process.stdout.write(describeResult(scenario, result, flags.verbose === true));
  }
}

function say(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`${text}\n`);
}

function describeScenario({ id, title, source, claim, why, depends, cases }: Scenario): string {
  const lines = [`${id}: ${title}`, `  source: ${source}`];
  if (claim !== undefined) lines.push(`  claim: ${claim}`);
  if (why !== undefined) lines.push(`  why: ${why}`);
  if (depends !== undefined) lines.push(`  depends: ${depends}`);
  for (const { when, sysctls, steps } of cases) {
    if (when !== '') lines.push(`  ${when}:`);
    for (const [name, value] of Object.entries(sysctls)) lines.push(`    sysctl ${name} = ${value}`);
    for (const { line } of steps) lines.push(`    ${line}`);
  }
  return `${lines.join('\n')}\n`;
}

function describeResult(
  scenario: Scenario,
  { verdict, agrees, cases }: ScenarioResult,
  verbose: boolean,
): string {
  const { id, title, claim, depends } = scenario;
  const on = verdict === 'depends' && depends !== undefined ? ` on ${depends}` : '';
  const lines = [
    `${id}: ${claim ?? title}`,
    `  ${verdict}${on}${agrees ? '' : '; MODEL AND KERNEL DISAGREE'}`,
  ];
  for (const one of cases) lines.push(...describeCase(one, verbose || !agrees));
  return `${lines.join('\n')}\n`;
}

function describeCase(
  { when, steps, before, after, holds }: CaseResult,
  verbose: boolean,
): readonly string[] {
  const lines =
    when === '' ? [] : [`  ${when}${holds === undefined ? '' : holds ? ': as claimed' : ': not as claimed'}`];
  for (const { line, model, kernel, expected, claimed, rule } of steps) {
    const isOdd = model !== kernel || kernel !== expected;
    if (!verbose && !isOdd && claimed === undefined) continue;
    const seen = model === kernel ? kernel : `kernel ${kernel}, model ${model}`;
    const claim = claimed === undefined ? '' : ` (claimed ${claimed})`;
    const by = rule === undefined || rule === 'done' ? '' : ` [${rule}: ${rules[rule].says}]`;
    lines.push(
      `    ${line.replace(/\s*->.*$/, '')}: ${seen}${claim}${by}${kernel === expected ? '' : `, expected ${expected}`}`,
    );
  }
  if (verbose)
    lines.push(
      '    before:',
      ...before.map((row) => `      ${row}`),
      '    after:',
      ...after.map((row) => `      ${row}`),
    );
  return lines;
}
