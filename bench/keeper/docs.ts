import { describeCircumstances, writeSection } from '../support/docs.js';
import { table } from '../support/table.js';
import type { Part } from './part.js';
import type { Measured, Report } from './report.js';

type NamedPart = readonly [name: string, part: Part<unknown>];

/** A part's section: where and how it was measured, and its tables. */
export function describePart(part: Part<unknown>, measured: Measured): string {
  const sizes = Object.entries(measured.options).map(([name, value]) => `${name} ${value}`);
  const circumstances = `${describeCircumstances(measured)}; ${sizes.join(', ')}.`;
  return `### ${part.title}\n\n${circumstances}\n\n${part.describe(measured.figures).text}`;
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
  writeSection('figures', [describeTargets(parts, report), ...sections].join('\n\n'));
}
