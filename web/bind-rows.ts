import type { BindReport } from '../src/diagnosis/report.js';

export interface ReuseOptions {
  readonly reuseaddr: boolean;
  readonly reuseport: boolean;
}

/** The binds with the options that were chosen, and those with others. */
export function chosenRows(
  rows: readonly BindReport[],
  { reuseaddr, reuseport }: ReuseOptions,
): { readonly chosen: readonly BindReport[]; readonly others: readonly BindReport[] } {
  const isChosen = ({ options }: BindReport): boolean =>
    options.includes('SO_REUSEADDR') === reuseaddr && options.includes('SO_REUSEPORT') === reuseport;
  return { chosen: rows.filter(isChosen), others: rows.filter((row) => !isChosen(row)) };
}
