import { expect, test } from 'vitest';
import { closingOf, TransitionCounter } from '../../src/watch/transitions.js';
import type { WatchState } from '../../src/watch/view.js';

type Step = readonly [from: WatchState | null, to: WatchState | null];

const ACTIVE: readonly Step[] = [
  ['ESTABLISHED', 'FIN_WAIT1'],
  ['FIN_WAIT1', 'FIN_WAIT2'],
  ['FIN_WAIT2', 'TIME_WAIT'],
  ['FIN_WAIT1', 'CLOSING'],
  ['ESTABLISHED', 'TIME_WAIT'],
  [null, 'TIME_WAIT'],
  ['FIN_WAIT2', null],
];
const PASSIVE: readonly Step[] = [
  ['ESTABLISHED', 'CLOSE_WAIT'],
  ['CLOSE_WAIT', 'LAST_ACK'],
  ['LAST_ACK', null],
  [null, 'CLOSE_WAIT'],
];
const OPEN: readonly Step[] = [
  [null, 'ESTABLISHED'],
  ['SYN_RECV', 'ESTABLISHED'],
  ['ESTABLISHED', null],
  ['LISTEN', null],
];

test('the states tell which end closes first', () => {
  for (const [steps, closing] of [
    [ACTIVE, 'active'],
    [PASSIVE, 'passive'],
    [OPEN, null],
  ] as const) {
    for (const [from, to] of steps) expect([from, to, closingOf({ from, to })]).toEqual([from, to, closing]);
  }
});

test('what was seen before stays, and a peer in TIME_WAIT has closed first', () => {
  expect(closingOf({ from: 'CLOSE_WAIT', to: 'TIME_WAIT' }, 'passive')).toBe('passive');
  expect(closingOf({ from: 'ESTABLISHED', to: null }, null, true)).toBe('passive');
  expect(closingOf({ from: 'ESTABLISHED', to: 'TIME_WAIT' }, null, true)).toBe('active');
});

test('transitions of one kind are counted together, the most frequent first, and once', () => {
  const counter = new TransitionCounter();
  const opened = { from: null, to: 'ESTABLISHED', closing: null } as const;
  const closed = { from: 'ESTABLISHED', to: 'FIN_WAIT1', closing: 'active' } as const;
  counter.add(closed);
  counter.add(opened, 2);
  counter.add(opened);
  counter.add(closed, 0);
  expect(counter.take()).toEqual([
    { ...opened, count: 3 },
    { ...closed, count: 1 },
  ]);
  expect(counter.take()).toEqual([]);
});
