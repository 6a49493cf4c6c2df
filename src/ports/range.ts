import { HoldfastError } from '../errors.js';
import type { PortRange } from '../kernel/inet-diag.js';

export type { PortRange };

/** The range, when it is one. @throws {HoldfastError} ERR_HOLDFAST_OPTION */
export function checkRange(range: PortRange): PortRange {
  const { from, to } = range;
  for (const port of [from, to]) {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw wrong(range, 'a port is a whole number from 1 to 65535; 0 is none, it asks the kernel for any');
    }
  }
  if (from > to) throw wrong(range, 'it ends before it begins');
  return range;
}

function wrong({ from, to }: PortRange, what: string): HoldfastError {
  return new HoldfastError('ERR_HOLDFAST_OPTION', `the range ${from}-${to}: ${what}`);
}

/**
 * Every port of the range once, in an order that begins anywhere: who looks for a free one at the same time looks
 * elsewhere, and a full stretch of the range is left with the next step.
 */
export function* inAnyOrder({ from, to }: PortRange): Generator<number> {
  const size = to - from + 1;
  const stride = strideFor(size);
  let offset = Math.floor(Math.random() * size);
  for (let tried = 0; tried < size; tried++) {
    yield from + offset;
    offset = (offset + stride) % size;
  }
}

/** A step of any length that leads to every offset before it comes back to the first one. */
function strideFor(size: number): number {
  for (;;) {
    const stride = 1 + Math.floor(Math.random() * size);
    if (greatestCommonDivisor(stride, size) === 1) return stride;
  }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
