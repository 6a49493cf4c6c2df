/** How TIME_WAIT empties. */
export interface Drain {
  readonly all: number;
  /** That end within a second, and within ten. */
  readonly inOne: number;
  readonly inTen: number;
  /** Seconds until the last has ended. */
  readonly seconds: number;
  /** So many are left after each second. */
  readonly left: readonly number[];
}

/** @param ends How many end in each coming second. */
export function drainOf(ends: readonly number[]): Drain {
  const all = sum(ends);
  let left = all;
  return {
    all,
    inOne: ends[0] ?? 0,
    inTen: sum(ends.slice(0, 10)),
    seconds: ends.findLastIndex((count) => count > 0) + 1,
    left: ends.map((count) => {
      left -= count;
      return left;
    }),
  };
}

export function describeDrain(ends: readonly number[]): string {
  const { all, inOne, inTen, seconds } = drainOf(ends);
  if (all === 0) return 'There is no entry in TIME_WAIT.';
  return `Of ${all} ${all === 1 ? 'entry' : 'entries'}, ${inOne} end within 1 s, ${inTen} within 10 s, and the last in ${seconds} s.`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, one) => all + one, 0);
}
