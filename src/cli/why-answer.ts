import { describeWhy } from '../diagnosis/describe.js';
import type { WhyReport } from '../diagnosis/report.js';

const EXIT = { free: 0, held: 1, leftovers: 1, unknown: 3, blocked: 4 } as const;

/** Of several ports the worst news: one that is held, then one that cannot be told, then one that is blocked. */
export function exitCodeOf(reports: readonly WhyReport[]): number {
  const codes = new Set<number>(reports.map(({ verdict }) => EXIT[verdict]));
  return [1, 3, 4].find((code) => codes.has(code)) ?? 0;
}

/** Free ports of a range are only counted. */
export function describeAll(
  reports: readonly WhyReport[],
  { verbose, all }: { readonly verbose?: boolean | undefined; readonly all?: boolean | undefined },
): string {
  if (all) return reports.map(({ summary }) => `${summary}\n`).join('') || 'no port is in use\n';
  const shown =
    reports.length <= 1 || verbose ? reports : reports.filter(({ verdict }) => verdict !== 'free');
  const texts = shown.map((report) => describeWhy(report, { verbose }));
  const free = reports.length - shown.length;
  if (free > 0) texts.push(`${free} ${free === 1 ? 'port is' : 'ports are'} free.\n`);
  return texts.join('\n');
}
