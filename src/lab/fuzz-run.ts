import { availableParallelism } from 'node:os';
import type { KernelRules, KernelVersion } from '../model/kernel-rules.js';
import { type RuleId, rules } from '../model/rules.js';
import { doTask } from './crew.js';
import type { Found } from './fuzz.js';
import type { Mix } from './generator.js';
import type { FuzzTally } from './worker.js';

export interface FuzzRunOptions {
  readonly mix: Mix;
  readonly seed: number;
  readonly from: number;
  readonly to: number;
  readonly kernel: KernelVersion;
  readonly shrinks: boolean;
  readonly jobs?: number;
  readonly progress?: (tally: FuzzRun) => void;
  readonly found?: (found: Found, reproduced: boolean) => void;
}

/** What all processes of a run have done. */
export interface FuzzRun {
  readonly programs: number;
  readonly calls: number;
  readonly notModelled: number;
  readonly lost: number;
  readonly disagreements: number;
  /** Programs that disagreed once and in none of 20 runs more: an accident, such as a signal or an errno that was lost. */
  readonly flaky: number;
  readonly seconds: number;
  readonly rules: ReadonlyMap<RuleId, number>;
}

/** Runs random programs in as many processes as there are CPUs. */
export async function fuzz(options: FuzzRunOptions): Promise<FuzzRun> {
  const { mix, seed, from, to, kernel, shrinks } = options;
  const jobs = Math.max(1, Math.min(options.jobs ?? availableParallelism(), to - from));
  const share = Math.ceil((to - from) / jobs);
  const tallies = new Map<number, FuzzTally>();
  const begin = performance.now();
  const sum = (): FuzzRun => total([...tallies.values()], (performance.now() - begin) / 1000);
  await Promise.all(
    Array.from({ length: jobs }, async (_, job) => {
      const range = { from: from + job * share, to: Math.min(to, from + (job + 1) * share) };
      const privileged = process.getuid?.() === 0;
      await doTask({ type: 'fuzz', mix, seed, kernel, shrinks, privileged, cpu: job, ...range }, (report) => {
        if (report.type === 'progress') {
          tallies.set(job, report);
          options.progress?.(sum());
        }
        if (report.type === 'found') options.found?.(report.found, report.reproduced);
      });
    }),
  );
  return sum();
}

function total(tallies: readonly FuzzTally[], seconds: number): FuzzRun {
  const add = (of: (tally: FuzzTally) => number): number =>
    tallies.reduce((sum, tally) => sum + of(tally), 0);
  const counts = new Map<RuleId, number>();
  for (const tally of tallies) {
    for (const [rule, count] of tally.rules) counts.set(rule, (counts.get(rule) ?? 0) + count);
  }
  return {
    programs: add(({ programs }) => programs),
    calls: add(({ calls }) => calls),
    notModelled: add(({ notModelled }) => notModelled),
    lost: add(({ lost }) => lost),
    disagreements: add(({ disagreements }) => disagreements),
    flaky: add(({ flaky }) => flaky),
    seconds,
    rules: counts,
  };
}

/** Rules that random programs of that kind should reach and did not. */
export function neverReached(run: FuzzRun, mix: Mix): readonly RuleId[] {
  return (Object.keys(rules) as RuleId[]).filter((id) => {
    const { reached = 'tcp' } = rules[id];
    const isMeant =
      mix === 'mixed'
        ? reached === 'tcp' || reached === 'udp' || reached === 'both'
        : reached === mix || reached === 'both';
    return isMeant && !run.rules.has(id);
  });
}

/** One rule left out, and how many programs then disagree with the kernel. */
export interface Ablation {
  readonly rule: string;
  readonly mix: Mix;
  readonly run: FuzzRun;
}

/** Each rule of the kernel left out once. */
export function ablations(
  kernel: KernelVersion,
): readonly { readonly rule: string; readonly mix: Mix; readonly kernel: KernelVersion }[] {
  const switches = Object.keys(kernel.rules) as (keyof KernelRules)[];
  const single = switches
    .filter((rule) => rule !== 'bindRule')
    .map((rule) => ({
      rule,
      mix: (rule === 'udpFirstSharerDecides' ? 'udp' : 'tcp') as Mix,
      kernel: { ...kernel, verified: false, rules: { ...kernel.rules, [rule]: !kernel.rules[rule] } },
    }));
  const others = (['manual page', 'netsem'] as const).map((bindRule) => ({
    rule: `bind as ${bindRule === 'netsem' ? 'Netsem has it' : 'socket(7) reads'}`,
    mix: 'tcp' as Mix,
    kernel: { ...kernel, verified: false, rules: { ...kernel.rules, bindRule } },
  }));
  return [...single, ...others];
}
