import { accessSync, constants, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { dirname } from 'node:path';
import { errorText, HoldfastError } from '../errors.js';
import type { Found } from '../lab/fuzz.js';
import { ablations, type FuzzRun, fuzz, neverReached } from '../lab/fuzz-run.js';
import type { Mix } from '../lab/generator.js';
import { builtInScenarios } from '../lab/library.js';
import { contradictions } from '../lab/scenario-run.js';
import { writeScenario } from '../lab/write-scenario.js';
import { kernelVersion } from '../model/kernel-rules.js';

export interface FuzzFlags {
  readonly programs: number;
  readonly seed: number;
  readonly mix: Mix;
  readonly jobs?: number;
  readonly shard?: string;
  readonly out?: string;
  readonly json?: boolean;
}

/** `holdfast lab fuzz`: exit 0 when model and kernel agree on every program, 1 when not on a kernel that was verified. */
export async function labFuzz(flags: FuzzFlags): Promise<void> {
  const kernel = kernelVersion(release());
  const { from, to } = rangeOf(flags);
  if (flags.out !== undefined) requireFolderOf(flags.out);
  const files: string[] = [];
  let count = 0;
  const run = await fuzz({
    mix: flags.mix,
    seed: flags.seed,
    kernel,
    from,
    to,
    shrinks: true,
    ...(flags.jobs === undefined ? {} : { jobs: flags.jobs }),
    progress: (now) => showProgress(now, to - from),
    found: (found, reproduced) => {
      const text = describeFound(found, reproduced, flags.seed);
      clearProgress();
      if (flags.out === undefined) {
        process.stderr.write(text);
        return;
      }
      const file = flags.out.replace(/(\.ya?ml)?$/, `${count++ === 0 ? '' : `-${count}`}.yaml`);
      writeFileSync(file, text);
      files.push(file);
    },
  });
  clearProgress();
  const missed = neverReached(run, flags.mix);
  if (flags.json) {
    const { rules, ...figures } = run;
    const report = {
      kernel: { release: release(), rules: kernel.name, verified: kernel.verified },
      seed: flags.seed,
      mix: flags.mix,
      ...figures,
      rules: Object.fromEntries(rules),
      neverReached: missed,
      files,
    };
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  } else {
    process.stdout.write(describeRun(run, missed, flags));
  }
  if (run.disagreements > 0 && kernel.verified) process.exitCode = 1;
}

/** `holdfast lab ablate`. */
export async function labAblate(flags: {
  readonly programs: number;
  readonly seed: number;
  /** False with --no-scenarios. */
  readonly scenarios: boolean;
  readonly json?: boolean;
}): Promise<void> {
  const kernel = kernelVersion(release());
  const scenarios = flags.scenarios ? builtInScenarios() : [];
  const rows: AblationRow[] = [];
  const whole = { rule: 'nothing left out', mix: 'tcp' as Mix, kernel };
  for (const { rule, mix, kernel: without } of [
    whole,
    { ...whole, mix: 'udp' as Mix },
    ...ablations(kernel),
  ]) {
    const run = await fuzz({
      mix,
      seed: flags.seed,
      kernel: without,
      from: 0,
      to: flags.programs,
      shrinks: false,
      progress: (now) => showProgress(now, flags.programs, rule),
    });
    const { programs, disagreements } = run;
    const row = { rule, mix, programs, disagreements, scenarios: await contradictions(scenarios, without) };
    rows.push(row);
    clearProgress();
    if (!flags.json) process.stdout.write(describeAblation(row));
  }
  if (flags.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
}

interface AblationRow {
  readonly rule: string;
  readonly mix: Mix;
  readonly programs: number;
  readonly disagreements: number;
  /** Ids of the built-in scenarios that notice. */
  readonly scenarios: readonly string[];
}

function describeAblation({ rule, mix, programs, disagreements, scenarios }: AblationRow): string {
  const share = `${((100 * disagreements) / programs).toFixed(3)} %`;
  const count = `${disagreements}`.padStart(7);
  return `${rule.padEnd(38)} ${mix} ${count} of ${programs} ${share.padStart(9)}  ${scenarios.join(' ')}\n`;
}

/** Before hours of work, not after. */
function requireFolderOf(file: string): void {
  try {
    accessSync(dirname(file), constants.W_OK);
  } catch (error) {
    const text = `--out ${file}: nothing can be written to the folder ${dirname(file)}: ${errorText(error)}`;
    throw new HoldfastError('ERR_HOLDFAST_OPTION', text, error);
  }
}

/** The numbers of this shard's programs. */
function rangeOf({ programs, shard }: FuzzFlags): { from: number; to: number } {
  if (shard === undefined) return { from: 0, to: programs };
  const { index, count } = /^(?<index>\d+)\/(?<count>\d+)$/.exec(shard)?.groups ?? {};
  const [i, n] = [Number(index), Number(count)];
  if (index === undefined || i < 1 || i > n) {
    throw new HoldfastError(
      'ERR_HOLDFAST_OPTION',
      `--shard is I/N with I from 1 to N, such as 2/8, not ${shard}`,
    );
  }
  return { from: Math.floor(((i - 1) * programs) / n), to: Math.floor((i * programs) / n) };
}

function describeFound(found: Found, reproduced: boolean, seed: number): string {
  const { call, what, model, kernel } = found.disagreement;
  const id = `fuzz-${seed}-${found.index}`;
  const title = `${call.call}: ${what}: the model says ${model}, the kernel ${kernel}`;
  const text = writeScenario(id, title, found.program, found.outcomes);
  return `# program ${found.index}${reproduced ? '' : ', which did not disagree in 20 runs more'}\n${text}`;
}

function describeRun(run: FuzzRun, missed: readonly string[], { seed, mix }: FuzzFlags): string {
  const { programs, calls, notModelled, lost, disagreements, flaky, seconds } = run;
  const rate = (programs / seconds).toFixed(0);
  const lines = [
    `${programs} ${mix} programs, ${calls} calls, seed ${seed}: ${disagreements} disagreements, ${rate} programs/s`,
    `left out because the model does not know: ${notModelled} calls; ended early for the same reason: ${lost} programs`,
    ...(flaky === 0 ? [] : [`${flaky} disagreed once and never again in 20 runs more: no disagreement`]),
    'how often each rule took part:',
    ...[...run.rules]
      .sort((a, b) => b[1] - a[1])
      .map(([rule, count]) => `${`${count}`.padStart(10)} ${rule}`),
    ...(missed.length === 0 ? [] : [`never reached: ${missed.join(', ')}`]),
  ];
  return `${lines.join('\n')}\n`;
}

const BAR = 30;

function showProgress({ programs, disagreements, seconds }: FuzzRun, all: number, what = ''): void {
  if (!process.stderr.isTTY) return;
  const done = Math.floor((BAR * programs) / all);
  const bar = `${'#'.repeat(done)}${'.'.repeat(BAR - done)}`;
  process.stderr.write(
    `\r[${bar}] ${programs}/${all} ${what} ${disagreements} disagree, ${(programs / seconds).toFixed(0)}/s \x1b[K`,
  );
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
}
