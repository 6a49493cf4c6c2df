import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Probation } from '../../src/keeper/probation.js';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date', 'performance'] });
});

afterEach(() => {
  vi.useRealTimers();
});

function begun(): Probation {
  const probation = new Probation();
  probation.begin();
  return probation;
}

function pass(ms: number): void {
  vi.advanceTimersByTime(ms);
}

function die(probation: Probation): boolean {
  probation.died(performance.now());
  return probation.isFailed;
}

test('the third death within 30 s is one too many, and one after that time does not count', () => {
  const probation = begun();
  expect([die(probation), die(probation)]).toEqual([false, false]);
  pass(30_000);
  expect(die(probation)).toBe(true);
  const other = begun();
  die(other);
  die(other);
  pass(30_001);
  expect(die(other)).toBe(false);
});

test('deaths before it began, and after it has ended, do not count', () => {
  const probation = new Probation();
  for (let deaths = 0; deaths < 5; deaths++) expect(die(probation)).toBe(false);
  probation.begin();
  expect(probation.deaths).toBe(0);
  die(probation);
  probation.end();
  for (let deaths = 0; deaths < 5; deaths++) expect(die(probation)).toBe(false);
  expect(probation.save(performance.now())).toBe(undefined);
});

test('time in which it stood still is none of its own', () => {
  const probation = begun();
  die(probation);
  die(probation);
  pass(60_000);
  probation.stoodStill(60_000);
  pass(29_000);
  expect(die(probation)).toBe(true);
});

test.each([
  { standsStill: false, gapMs: 19_000, counts: true },
  { standsStill: false, gapMs: 21_000, counts: false },
  { standsStill: true, gapMs: 3_600_000, counts: true },
])(
  'the next keeper goes on with it (stands still: $standsStill, after $gapMs ms)',
  ({ standsStill, gapMs, counts }) => {
    const probation = begun();
    die(probation);
    die(probation);
    pass(10_000);
    const saved = probation.save(performance.now());
    if (saved === undefined) throw new Error('it is on');
    expect(saved).toMatchObject({ ageMs: 10_000, deaths: 2 });
    pass(gapMs);
    const next = new Probation();
    next.restore(saved, standsStill);
    expect(die(next)).toBe(counts);
  },
);
