/** A median with an interval that has it with the given confidence. */
export interface Estimate {
  readonly median: number;
  readonly low: number;
  readonly high: number;
  /** Of the interval: the exact probability that it has the median of what the values are drawn from. */
  readonly confidence: number;
  readonly count: number;
}

/** @throws RangeError without values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const above = sorted[Math.floor(middle)];
  const below = sorted[Math.ceil(middle) - 1];
  if (above === undefined || below === undefined) throw new RangeError('no values');
  return (above + below) / 2;
}

/** The smallest value that at least the share `q` of the values does not exceed. @throws RangeError without values. */
export function quantile(values: readonly number[], q: number): number {
  const value = [...values].sort((a, b) => a - b)[Math.max(0, Math.ceil(q * values.length) - 1)];
  if (value === undefined) throw new RangeError('no values');
  return value;
}

/**
 * The median and the narrowest pair of order statistics with a confidence of at least 0.95, which needs no assumption
 * about the distribution. Fewer than 6 values allow no such pair: then the extremes, with the confidence they have.
 *
 * @throws RangeError without values.
 */
export function estimate(values: readonly number[]): Estimate {
  const sorted = [...values].sort((a, b) => a - b);
  const count = sorted.length;
  let outside = 0;
  while (outside + 1 < count / 2 && confidenceOf(count, outside + 1) >= CONFIDENCE) outside++;
  return {
    median: median(sorted),
    low: sorted[outside] ?? Number.NaN,
    high: sorted[count - 1 - outside] ?? Number.NaN,
    confidence: confidenceOf(count, outside),
    count,
  };
}

const CONFIDENCE = 0.95;

/** The median is outside when at most `outside` of `count` fair coins show heads, or at most as many tails. */
function confidenceOf(count: number, outside: number): number {
  let probability = 0.5 ** count;
  let sum = 0;
  for (let heads = 0; heads <= outside; heads++) {
    sum += probability;
    probability *= (count - heads) / (heads + 1);
  }
  return Math.max(0, 1 - 2 * sum);
}
