import { expect, test } from 'vitest';
import { differences, judgeMost, judgeRatio } from '../../bench/support/rounds.js';
import { estimate, median, quantile } from '../../bench/support/statistics.js';

test('the interval of 9 values is between the second and the eighth, with the binomial confidence', () => {
  const values = [9, 1, 8, 2, 7, 3, 6, 4, 5];
  const { confidence, ...rest } = estimate(values);
  expect(rest).toEqual({ median: 5, low: 2, high: 8, count: 9 });
  expect(confidence).toBeCloseTo(1 - 2 * (10 / 512), 10);
});

test('too few values for a confidence of 0.95 give their extremes and say how little that means', () => {
  expect(estimate([3, 1, 2])).toEqual({ median: 2, low: 1, high: 3, confidence: 0.75, count: 3 });
  expect(estimate([1])).toMatchObject({ low: 1, high: 1, confidence: 0 });
});

test('the median of an even number of values is between the middle two; no values have none', () => {
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(quantile([4, 1, 3, 2], 0.9)).toBe(4);
  expect(() => median([])).toThrow(RangeError);
});

test('a target is reached, reached within the noise of two equal ones, or missed', () => {
  const about = (middle: number, width: number) => ({
    median: middle,
    low: middle - width,
    high: middle + width,
    confidence: 0.95,
    count: 9,
  });
  expect(judgeRatio(about(0.98, 0.01), 0.98, about(1, 0.01))).toBe('reached');
  expect(judgeRatio(about(0.965, 0.01), 0.98, about(1, 0.01))).toBe('reached within the noise');
  expect(judgeRatio(about(0.95, 0.01), 0.98, about(1, 0.01))).toBe('missed');
});

test('what should be at most a target may lie below it by the interval and the noise', () => {
  const about = { median: 32, low: 31, high: 34, confidence: 0.95, count: 9 };
  expect(judgeMost(about, 32, 0)).toBe('reached');
  expect(judgeMost(about, 30, 1)).toBe('reached within the noise');
  expect(judgeMost(about, 30, 0.5)).toBe('missed');
  expect(differences([5, 7], [2, 3])).toEqual([3, 4]);
});
