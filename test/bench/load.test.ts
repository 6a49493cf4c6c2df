import { expect, test } from 'vitest';
import { failedOf, latenciesMs, longestGapMs, sumOfCounts } from '../../bench/support/load.js';

const answers = [10, 12, 80, 82, 100].map((atMs) => ({ atMs, tookMs: 5 }));
const DURATION_MS = 130;

test('a gap belongs to every span that it has a part in', () => {
  const gapMs = (fromMs: number, toMs: number): number =>
    longestGapMs(answers, DURATION_MS, { fromMs, toMs });
  expect(gapMs(50, 60)).toBe(68); // within the gap
  expect(gapMs(0, 20)).toBe(68); // its begin
  expect(gapMs(70, 81)).toBe(68); // its end
  expect(gapMs(81, 90)).toBe(18);
});

test('the start and the end of a load stand for answers', () => {
  expect(longestGapMs(answers, DURATION_MS, { fromMs: 1, toMs: 5 })).toBe(10);
  expect(longestGapMs(answers, DURATION_MS, { fromMs: 105, toMs: 110 })).toBe(30);
  expect(longestGapMs([], DURATION_MS, { fromMs: 1, toMs: 5 })).toBe(DURATION_MS);
});

test('the latencies of a span are those of the requests under way in it', () => {
  const all = [
    { atMs: 10, tookMs: 2 }, // over before it
    { atMs: 21, tookMs: 3 }, // began before it
    { atMs: 25, tookMs: 4 },
    { atMs: 40, tookMs: 30 }, // around it
    { atMs: 38, tookMs: 6 }, // began after it
  ];
  expect(latenciesMs(all, { fromMs: 20, toMs: 30 })).toEqual([3, 4, 30]);
});

test('what was not sent has failed too', () => {
  const counts = { sent: 10, skipped: 2, ok: 7, refused: 1, reset: 1, eof: 0, hung: 0, other: 1 };
  expect(failedOf(counts)).toBe(5);
  expect(sumOfCounts([counts, counts])).toMatchObject({ sent: 20, skipped: 4, ok: 14, other: 2 });
});
