import { expect, test } from 'vitest';
import { Distribution, type StartedWorker, Tally } from '../../src/keeper/tally.js';

const worker = (id: number, phase: StartedWorker['phase'], attempt = 1): StartedWorker => ({
  id,
  attempt,
  phase,
});

test('the outcome of a start is counted once, when it is known', () => {
  const tally = new Tally();
  tally.look([worker(1, 'starting')]);
  expect(tally.starts).toEqual({ listened: 0, ended: 0, stopped: 0 });
  tally.look([worker(1, 'serving')]);
  tally.look([worker(1, 'cleaning')]);
  tally.look([worker(1, 'backing-off')]);
  expect(tally.starts).toEqual({ listened: 1, ended: 0, stopped: 0 });
});

test.each([
  ['parked', 'listened'],
  ['cleaning', 'ended'],
  ['backing-off', 'ended'],
  ['ended', 'ended'],
  ['stopping', 'stopped'],
] as const)('one that was starting and is %s counts as %s', (phase, outcome) => {
  const tally = new Tally();
  tally.look([worker(1, 'starting')]);
  tally.look([worker(1, phase)]);
  expect(tally.starts).toEqual({ listened: 0, ended: 0, stopped: 0, [outcome]: 1 });
});

test('one in whose place the next was started, unseen, has ended', () => {
  const tally = new Tally();
  tally.look([worker(1, 'starting')]);
  tally.look([worker(2, 'starting', 2)]);
  tally.look([worker(2, 'serving', 2)]);
  expect(tally.starts).toEqual({ listened: 1, ended: 1, stopped: 0 });
  expect(tally.restarts).toBe(1);
});

test('the first starts of several workers and of a new generation are no restarts', () => {
  const tally = new Tally();
  tally.look([worker(1, 'serving'), worker(2, 'serving')]);
  tally.look([worker(1, 'serving'), worker(2, 'serving'), worker(3, 'starting')]);
  tally.look([worker(3, 'serving')]);
  expect(tally.restarts).toBe(0);
  expect(tally.starts.listened).toBe(3);
});

test('workers of another keeper are no starts, but for the outcome of one that has none yet', () => {
  const tally = new Tally();
  tally.know([worker(5, 'serving', 3), worker(6, 'starting', 2)]);
  tally.look([worker(5, 'serving', 3), worker(6, 'serving', 2)]);
  expect(tally.restarts).toBe(0);
  expect(tally.starts.listened).toBe(1);
  tally.look([worker(7, 'starting', 4), worker(6, 'serving', 2)]);
  expect(tally.restarts).toBe(1);
});

test('what is told is counted by its outcome, in seconds', () => {
  const tally = new Tally();
  tally.hear({ type: 'served-again', address: '', pid: 1, gapMs: 130 });
  tally.hear({ type: 'reloaded', generation: 2, tookMs: 400 });
  tally.hear({ type: 'reload-failed', why: '', goesOn: true, tookMs: 60_000 });
  tally.hear({ type: 'drained', generation: 1, tookMs: 20, connections: 0, complete: true });
  tally.hear({ type: 'drained', generation: 2, tookMs: 30_000, connections: 3, complete: false });
  tally.hear({ type: 'exited', pid: 1, code: 0, signal: null });
  const { gaps, reloads, drains, connectionsCut } = tally;
  expect([gaps, reloads.done, reloads.failed, drains.complete, drains.cut].map(({ sum }) => sum)).toEqual([
    0.13, 0.4, 60, 0.02, 30,
  ]);
  expect(connectionsCut).toBe(3);
});

test('an amount is in the first bucket whose bound it does not exceed', () => {
  const distribution = new Distribution([0.1, 1]);
  for (const amount of [0, 0.1, 0.11, 1, 1.1]) distribution.add(amount);
  expect(distribution.counts).toEqual([2, 2, 1]);
  expect(distribution).toMatchObject({ count: 5, sum: expect.closeTo(2.31, 9) });
});
