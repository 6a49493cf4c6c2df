import { readFileSync, writeFileSync } from 'node:fs';
import { fromProject } from '../support/project.js';
import { table } from '../support/table.js';
import type { Part } from './part.js';
import type { Measured, Report } from './report.js';

type NamedPart = readonly [name: string, part: Part<unknown>];

/** A part's section: where and how it was measured, and its tables. */
export function describePart(part: Part<unknown>, measured: Measured): string {
  return `### ${part.title}\n\n${describeCircumstances(measured)}\n\n${part.describe(measured.figures).text}`;
}

/** One row for each target of the parts that have figures. */
export function describeTargets(parts: readonly NamedPart[], { parts: measured }: Report): string {
  const targets = parts.flatMap(([name, part]) => {
    const its = measured[name];
    return its === undefined ? [] : part.describe(its.figures).targets;
  });
  const rows = targets.map(({ what, target, figure, verdict }) => [what, target, figure, verdict]);
  return `### Targets\n\n${table(['what', 'target', 'measured', 'verdict'], rows)}`;
}

/** Replaces the figures in docs/benchmarks.md. @throws Error when a part has never been measured. */
export function writeDocs(parts: readonly NamedPart[], report: Report): void {
  const sections = parts.map(([name, part]) => {
    const measured = report.parts[name];
    if (measured === undefined)
      throw new Error(`${name} has not been measured: docs/benchmarks.md stays as it is`);
    return describePart(part, measured);
  });
  const text = readFileSync(file, 'utf8');
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (begin === -1 || end < begin) throw new Error(`docs/benchmarks.md lacks ${BEGIN} and ${END}`);
  const figures = [describeTargets(parts, report), ...sections].join('\n\n');
  writeFileSync(file, `${text.slice(0, begin + BEGIN.length)}\n\n${figures}\n\n${text.slice(end)}`);
}

const file = fromProject('docs', 'benchmarks.md');
const BEGIN = '<!-- figures: begin -->';
const END = '<!-- figures: end -->';

function describeCircumstances({ measuredAt, tookSeconds, machine, programs, options }: Measured): string {
  const { cpu, cores, memoryGb, arch, kernel, node } = machine;
  const versions = Object.entries(programs).map(([name, version]) => `${name} ${version}`);
  const sizes = Object.entries(options).map(([name, value]) => `${name} ${value}`);
  return [
    `${measuredAt.slice(0, 10)}, ${Math.ceil(tookSeconds / 60)} min;`,
    `${cores} cores of ${cpu} (${arch}), ${memoryGb} GB, Linux ${kernel}, Node ${node};`,
    `${versions.join(', ')}; ${sizes.join(', ')}.`,
  ].join(' ');
}
