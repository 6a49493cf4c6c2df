import fc from 'fast-check';
import { expect, test } from 'vitest';
import { applyDelta, HISTORY_MAX } from '../../src/watch/apply.js';
import { Difference } from '../../src/watch/difference.js';
import type {
  KeeperMark,
  WatchDelta,
  WatchedKeeper,
  WatchFilter,
  WatchSnapshot,
  WatchState,
} from '../../src/watch/view.js';
import { MadeLooks, type MadeSocket } from './looks.js';

const NOBODY = { keepers: [], marks: [] };

test('a viewer that applies deltas has what is there, whenever it reads and whatever did not fit', () => {
  const states: WatchState[] = ['LISTEN', 'ESTABLISHED', 'CLOSE_WAIT', 'FIN_WAIT2'];
  const socket = fc.record({
    key: fc.integer({ min: 1, max: 300 }),
    state: fc.constantFrom(...states),
    receiveQueue: fc.integer({ min: 0, max: 3 }),
    pid: fc.integer({ min: 1, max: 9 }),
  });
  const look = fc.record({
    sockets: fc.uniqueArray(socket, { selector: ({ key }) => key, maxLength: 300 }),
    isRead: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(look, { minLength: 1, maxLength: 12 }), (looks) => {
      const made = new MadeLooks();
      const difference = new Difference({}, 1_000);
      let seen: WatchSnapshot | undefined;
      const read = (): WatchDelta | undefined => {
        const update = difference.take();
        if (update?.type === 'snapshot') seen = update;
        else if (update !== undefined && seen !== undefined) seen = applyDelta(seen, update);
        if (update?.type !== 'delta') return undefined;
        expect(JSON.stringify(update).length).toBeLessThanOrEqual(20_000);
        return update;
      };
      for (const { sockets, isRead } of looks) {
        difference.add(made.next(sockets), NOBODY);
        if (isRead) read();
      }
      read();
      for (let left = seen?.left ?? 0, reads = 0; left > 0 || reads < 2; reads++) left = read()?.left ?? left;
      const last = looks.at(-1)?.sockets ?? [];
      const told = seen?.sockets.map(({ id, state, receiveQueue, pid }) => ({
        key: Number.parseInt(id, 16),
        state,
        receiveQueue,
        pid,
      }));
      const byKey = (one: { key: number }, other: { key: number }): number => one.key - other.key;
      expect(told?.sort(byKey)).toEqual([...last].sort(byKey));
      expect(seen?.processes.map(({ pid }) => pid).sort()).toEqual(
        [...new Set(last.map(({ pid }) => pid))].sort(),
      );
      expect(seen?.counts.ESTABLISHED).toBe(last.filter(({ state }) => state === 'ESTABLISHED').length);
    }),
    { numRuns: 40 },
  );
});

test('a delta of 3,000 changes has at most 20 kB, all counts, and the rest in those that follow', () => {
  const made = new MadeLooks();
  const difference = new Difference({}, 1_000);
  difference.add(made.next([]), NOBODY);
  let seen = difference.take() as WatchSnapshot;
  const sockets = Array.from(
    { length: 3_000 },
    (_, key): MadeSocket => ({ key: key + 1, state: 'ESTABLISHED' }),
  );
  difference.add(made.next(sockets), NOBODY);
  const first = difference.take() as WatchDelta;
  expect(JSON.stringify(first).length).toBeLessThanOrEqual(20_000);
  expect(first.counts.ESTABLISHED).toBe(3_000);
  expect(first.transitions).toEqual([{ from: null, to: 'ESTABLISHED', closing: null, count: 3_000 }]);
  expect(first.left + first.sockets.length).toBeGreaterThanOrEqual(3_000);
  seen = applyDelta(seen, first);
  let deltas = 1;
  for (; seen.left > 0; deltas++) seen = applyDelta(seen, difference.take() as WatchDelta);
  expect(seen.sockets).toHaveLength(3_000);
  expect(deltas).toBeGreaterThan(10);
});

test('changes of state come before those of queues when not all fit', () => {
  const made = new MadeLooks();
  const difference = new Difference({}, 1_000);
  const all = (state: (key: number) => WatchState, receiveQueue: number): MadeSocket[] =>
    Array.from({ length: 500 }, (_, key) => ({ key: key + 1, state: state(key), receiveQueue }));
  difference.add(made.next(all(() => 'ESTABLISHED', 0)), NOBODY);
  difference.take();
  difference.add(made.next(all((key) => (key >= 480 ? 'CLOSE_WAIT' : 'ESTABLISHED'), 5)), NOBODY);
  const { sockets, left } = difference.take() as WatchDelta;
  expect(left).toBeGreaterThan(0);
  expect(sockets.filter(({ state }) => state === 'CLOSE_WAIT')).toHaveLength(20);
});

test('what a viewer has not read is one delta, with the transitions of all looks', () => {
  const made = new MadeLooks();
  const difference = new Difference({}, 1_000);
  difference.add(made.next([]), NOBODY);
  difference.take();
  for (let look = 0; look < 50; look++) {
    difference.add(made.next([{ key: look + 1, state: 'ESTABLISHED' }]), NOBODY);
  }
  const delta = difference.take() as WatchDelta;
  expect(delta.sequence).toBe(2);
  expect(delta.sockets.map(({ id }) => id)).toEqual(['32']);
  expect(delta.gone).toEqual([]);
  expect(delta.transitions).toEqual([
    { from: null, to: 'ESTABLISHED', closing: null, count: 50 },
    { from: 'ESTABLISHED', to: null, closing: null, count: 49 },
  ]);
});

test('entries of TIME_WAIT end by their timers, and those that began are told by them', () => {
  const made = new MadeLooks();
  const difference = new Difference({}, 1_000);
  difference.add(
    made.next(
      [],
      [
        [7000, 500],
        [7000, 700],
        [7000, 30_000],
      ],
    ),
    NOBODY,
  );
  const { timeWaitEnds, counts } = difference.take() as WatchSnapshot;
  expect(counts.TIME_WAIT).toBe(3);
  expect([timeWaitEnds.length, timeWaitEnds[0], timeWaitEnds[30], timeWaitEnds[1]]).toEqual([60, 2, 1, 0]);
  difference.add(
    made.next(
      [],
      [
        [7000, 29_000],
        [7000, 59_990],
        [7001, 59_500],
        [7002, 60_000],
      ],
    ),
    NOBODY,
  );
  const delta = difference.take() as WatchDelta;
  expect(delta.timeWaitEnds[59]).toBe(3);
  expect(delta.transitions).toEqual([
    { from: null, to: 'TIME_WAIT', closing: 'active', count: 3 },
    { from: 'TIME_WAIT', to: null, closing: 'active', count: 2 },
  ]);
});

const FILTERS: readonly (readonly [filter: WatchFilter, established: number, timeWaits: number])[] = [
  [{}, 3, 3],
  [{ port: 7000 }, 2, 2],
  [{ port: 7001 }, 1, 1],
  [{ port: 7001, keeper: 'shop' }, 0, 0],
  [{ keeper: 'nobody' }, 0, 0],
];

test('a filter lets through sockets of its port, and what is left of them', () => {
  for (const [filter, established, timeWaits] of FILTERS) {
    const difference = new Difference(filter, 1_000);
    const sockets: MadeSocket[] = [
      { key: 1, state: 'LISTEN', port: 7000 },
      { key: 2, state: 'ESTABLISHED', port: 7000 },
      { key: 3, state: 'ESTABLISHED', port: 7000 },
      { key: 4, state: 'ESTABLISHED', port: 7001 },
    ];
    const look = new MadeLooks().next(sockets, [
      [7000, 1_000],
      [7000, 2_000],
      [7001, 3_000],
    ]);
    difference.add(look, NOBODY);
    const { counts } = difference.take() as WatchSnapshot;
    expect([filter, counts.ESTABLISHED, counts.TIME_WAIT]).toEqual([filter, established, timeWaits]);
  }
});

test('keepers that change and end are told, and marks once', () => {
  const made = new MadeLooks();
  const difference = new Difference({}, 1_000);
  const shop: WatchedKeeper = {
    ...{ name: 'shop', pid: 5, phase: 'serving', generation: 1, starts: 1, reload: 'steady', paused: false },
    ...{ addresses: ['127.0.0.1:80'], workers: [{ pid: 6, generation: 1, phase: 'serving' }] },
  };
  const mark: KeeperMark = { atMs: 5, keeper: 'shop', kind: 'reloaded', generation: 2, pid: null };
  difference.add(made.next([]), { keepers: [shop], marks: [] });
  let seen = difference.take() as WatchSnapshot;
  expect(seen.keepers).toEqual([shop]);
  const next = { ...shop, generation: 2 };
  difference.add(made.next([]), { keepers: [next], marks: [mark] });
  const delta = difference.take() as WatchDelta;
  expect([delta.keepers, delta.marks, delta.keepersGone]).toEqual([[next], [mark], []]);
  seen = applyDelta(seen, delta);
  difference.add(made.next([]), { keepers: [next], marks: [] });
  expect(difference.take()).toMatchObject({ keepers: [], marks: [], keepersGone: [] });
  difference.add(made.next([]), NOBODY);
  seen = applyDelta(seen, difference.take() as WatchDelta);
  expect([seen.keepers, seen.marks]).toEqual([[], [mark]]);
});

test('the history has the counts of the last looks', () => {
  const made = new MadeLooks();
  const difference = new Difference({}, 1_000);
  const look = (count: number): MadeSocket[] =>
    Array.from({ length: count }, (_, key) => ({ key: key + 1, state: 'ESTABLISHED' }));
  difference.add(made.next(look(1)), NOBODY);
  let seen = difference.take() as WatchSnapshot;
  for (let at = 0; at < HISTORY_MAX + 5; at++) {
    difference.add(made.next(look(at % 7)), NOBODY);
    seen = applyDelta(seen, difference.take() as WatchDelta);
  }
  const { atMs, counts } = seen.history;
  expect([atMs.length, counts.ESTABLISHED.length, counts.ESTABLISHED.at(-1)]).toEqual([
    HISTORY_MAX,
    HISTORY_MAX,
    (HISTORY_MAX + 4) % 7,
  ]);
  expect(atMs.at(-1)).toBe(seen.atMs);
});
