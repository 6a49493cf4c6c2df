import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Requirement } from '../../scripts/requirements.js';
import { writeSection } from './docs.js';
import { needs } from './plain.js';
import { benchFolder } from './project.js';
import { isInSandbox, runInSandbox } from './sandbox.js';

/** A bench that measures in rounds, keeps its figures in a file, and tells them as Markdown. */
export interface Bench<F> {
  readonly name: string;
  readonly usage: string;
  readonly needs: readonly Requirement[];
  readonly defaultRounds: number;
  /** Whether it measures in namespaces of its own. */
  readonly isSandboxed: boolean;
  /** Installs what it compares with, while there is a network. */
  prepare?(): Promise<void>;
  measure(rounds: number, isSmall: boolean): Promise<F>;
  describe(figures: F): string;
}

/** Runs it with the options that all of them have. */
export async function runBench<F>(bench: Bench<F>, args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: `${bench.defaultRounds}` },
      small: { type: 'boolean', default: false },
      docs: { type: 'boolean', default: false },
      told: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(bench.usage);
    return;
  }
  if (!/^[1-9]\d*$/.test(values.rounds)) throw new Error(`--rounds is a whole number, not ${values.rounds}`);
  if (!values.told && !isInSandbox()) {
    needs(bench.needs);
    await bench.prepare?.();
    if (bench.isSandboxed) {
      runInSandbox(bench.name, args);
      return;
    }
  }
  const file = join(benchFolder, `${bench.name}.json`);
  if (!values.told) {
    const figures = await bench.measure(Number(values.rounds), values.small);
    mkdirSync(benchFolder, { recursive: true });
    writeFileSync(file, `${JSON.stringify(figures, null, 2)}\n`);
  }
  const text = bench.describe(JSON.parse(readFileSync(file, 'utf8')) as F);
  process.stdout.write(`${text}\n`);
  if (values.docs) writeSection(bench.name, text);
}
