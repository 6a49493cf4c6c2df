// How long the command takes to start: `holdfast --version` against the Node that does nothing, in alternating pairs.

import { spawnSync } from 'node:child_process';
import { fromProject } from './support/project.js';
import { median } from './support/statistics.js';
import { table } from './support/table.js';
import { undisturbed } from './support/undisturbed.js';

const DISTURBED_RUNS = 3;

export interface StartFigures {
  readonly pairs: number;
  /** Medians. */
  readonly nodeMs: number;
  readonly versionMs: number;
  /** The median of the pairs' ratios: `holdfast --version` over `node -e 0`. */
  readonly ratio: number;
}

/** One pair after another, the two of it in turns first. Blocks until it is done. */
export function measureStart(pairs: number): StartFigures {
  return undisturbed(
    () => measure(pairs, 1),
    () => measure(pairs, DISTURBED_RUNS),
  );
}

/** `runs`: each time of a pair is the shortest of so many. */
function measure(pairs: number, runs: number): StartFigures {
  const shortest = (args: readonly string[]): number =>
    Math.min(...Array.from({ length: runs }, () => timeMs(args)));
  const node = (): number => shortest(['-e', '0']);
  const holdfast = (): number => shortest([fromProject('dist/cli/main.cjs'), '--version']);
  // The first of each reads its files from the disk.
  node();
  holdfast();
  const times = Array.from({ length: pairs }, (_, pair) => {
    if (pair % 2 === 0) return { nodeMs: node(), versionMs: holdfast() };
    const versionMs = holdfast();
    return { nodeMs: node(), versionMs };
  });
  return {
    pairs,
    nodeMs: median(times.map(({ nodeMs }) => nodeMs)),
    versionMs: median(times.map(({ versionMs }) => versionMs)),
    ratio: median(times.map(({ nodeMs, versionMs }) => versionMs / nodeMs)),
  };
}

/** The figures in one line. */
export function describeStart({ pairs, nodeMs, versionMs, ratio }: StartFigures): string {
  const ms = (value: number): string => `${value.toFixed(1)} ms`;
  return `holdfast --version ${ms(versionMs)}, node -e 0 ${ms(nodeMs)}, ratio ${ratio.toFixed(2)} (medians of ${pairs} pairs)`;
}

/** An argument is the number of pairs, 20 by default. */
export async function main([pairs = '20']: readonly string[]): Promise<void> {
  const { nodeMs, versionMs, ratio } = measureStart(Number(pairs));
  const rows = [
    ['node -e 0', nodeMs.toFixed(1), '1.00'],
    ['holdfast --version', versionMs.toFixed(1), ratio.toFixed(2)],
  ];
  process.stdout.write(`${table(['command', 'median, ms', 'ratio'], rows)}\n`);
}

function timeMs(args: readonly string[]): number {
  const begun = performance.now();
  const { status } = spawnSync(process.execPath, args, { stdio: 'ignore' });
  if (status !== 0) throw new Error(`node ${args.join(' ')} exited with ${status}`);
  return performance.now() - begun;
}
