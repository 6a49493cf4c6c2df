import fc from 'fast-check';
import { expect, test } from 'vitest';
import { checkRange, inAnyOrder } from '../../src/ports/range.js';

test('every port of a range comes once, in whatever order', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 65_535 }), fc.integer({ min: 0, max: 300 }), (from, more) => {
      const to = Math.min(65_535, from + more);
      const ports = [...inAnyOrder({ from, to })];
      expect(ports.toSorted((a, b) => a - b)).toEqual(
        Array.from({ length: to - from + 1 }, (_, index) => from + index),
      );
    }),
  );
});

test('two who look at the same time hardly ever begin at the same port', () => {
  const first = Array.from({ length: 100 }, () => inAnyOrder({ from: 1, to: 65_535 }).next().value);
  expect(new Set(first).size).toBeGreaterThan(90);
});

for (const [from, to, what] of [
  [0, 10, '0 is none'],
  [-5, 10, 'whole number from 1'],
  [1, 65_536, 'whole number from 1'],
  [1.5, 3, 'whole number'],
  [20, 10, 'ends before it begins'],
  [Number.NaN, 10, 'whole number'],
] as const) {
  test(`the range ${from}-${to} is refused`, () => {
    expect(() => checkRange({ from, to })).toThrowError(
      expect.objectContaining({ code: 'ERR_HOLDFAST_OPTION', message: expect.stringContaining(what) }),
    );
  });
}
