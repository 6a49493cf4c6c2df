import { readFileSync, writeFileSync } from 'node:fs';
import type { Machine } from './machine.js';
import { fromProject } from './project.js';

/** What figures depend on. */
export interface Circumstances {
  /** When it began, in UTC. */
  readonly measuredAt: string;
  readonly tookSeconds: number;
  readonly machine: Machine;
  /** The versions of what was measured, by name. */
  readonly programs: Readonly<Record<string, string>>;
}

/** When, where and with what it was measured, in one sentence without its end. */
export function describeCircumstances({ measuredAt, tookSeconds, machine, programs }: Circumstances): string {
  const { cpu, cores, memoryGb, arch, kernel, node } = machine;
  const versions = Object.entries(programs).map(([name, version]) => `${name} ${version}`);
  return [
    `${measuredAt.slice(0, 10)}, ${Math.ceil(tookSeconds / 60)} min;`,
    `${cores} cores of ${cpu} (${arch}), ${memoryGb} GB, Linux ${kernel}, Node ${node};`,
    versions.join(', '),
  ].join(' ');
}

/** Replaces what docs/benchmarks.md has between the two marks of that name. */
export function writeSection(name: string, text: string): void {
  const [first, last] = [`<!-- ${name}: begin -->`, `<!-- ${name}: end -->`];
  const page = readFileSync(file, 'utf8');
  const begin = page.indexOf(first);
  const end = page.indexOf(last);
  if (begin === -1 || end < begin) throw new Error(`docs/benchmarks.md lacks ${first} and ${last}`);
  writeFileSync(file, `${page.slice(0, begin + first.length)}\n\n${text}\n\n${page.slice(end)}`);
}

const file = fromProject('docs', 'benchmarks.md');
