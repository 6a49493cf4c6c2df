import { expect, test } from 'vitest';
import { ofStates } from '../../src/watch/apply.js';
import type { WatchDelta, WatchedSocket, WatchSnapshot } from '../../src/watch/view.js';
import { WATCH_STATES } from '../../src/watch/view.js';
import type { ScenarioRun, ScenarioStep, StageSocket } from '../../src/watch/web/wire.js';
import { EDGE_IDS } from '../../web/edges.js';
import { describeFrame, framesOf, stageCounts } from '../../web/frames.js';
import { litBetween, litBy } from '../../web/lit.js';
import { endsOf, routeOf } from '../../web/route.js';
import { applied } from '../../web/same.js';
import { type Box, type Shape, shapeOf } from '../../web/shape.js';
import { NODES } from '../../web/states.js';

test('a transition that skips states takes all edges between them', () => {
  expect(routeOf({ from: 'ESTABLISHED', to: 'TIME_WAIT', closing: 'active' })).toEqual([
    ...['ESTABLISHED-FIN_WAIT1', 'FIN_WAIT1-FIN_WAIT2', 'FIN_WAIT2-TIME_WAIT'],
  ]);
  expect(routeOf({ from: 'ESTABLISHED', to: null, closing: 'passive' })).toEqual([
    ...['ESTABLISHED-CLOSE_WAIT', 'CLOSE_WAIT-LAST_ACK', 'LAST_ACK-CLOSED'],
  ]);
  expect(routeOf({ from: 'CLOSING', to: 'TIME_WAIT', closing: 'active' })).toEqual(['CLOSING-TIME_WAIT']);
  expect(routeOf({ from: null, to: 'LISTEN', closing: null })).toEqual(['CLOSED-BOUND', 'BOUND-LISTEN']);
  expect(routeOf({ from: 'TIME_WAIT', to: null, closing: 'active' })).toEqual(['TIME_WAIT-CLOSED']);
});

test('what may have been a reset lights only what is certain', () => {
  expect(routeOf({ from: 'ESTABLISHED', to: null, closing: null })).toEqual([]);
  expect(routeOf({ from: 'ESTABLISHED', to: null, closing: 'active' })).toEqual(['ESTABLISHED-FIN_WAIT1']);
  expect(routeOf({ from: null, to: null, closing: null })).toEqual([]);
  expect(routeOf({ from: null, to: 'ESTABLISHED', closing: null })).toEqual([]);
});

test('how a connection began is part of its way when it is known', () => {
  const begun = { from: null, to: 'CLOSE_WAIT', closing: 'passive' } as const;
  expect(routeOf(begun, 'client')).toEqual([
    ...['CLOSED-SYN_SENT', 'SYN_SENT-ESTABLISHED', 'ESTABLISHED-CLOSE_WAIT'],
  ]);
  expect(routeOf({ ...begun, to: 'ESTABLISHED' }, 'queued')).toEqual([
    ...['LISTEN-SYN_RECV', 'SYN_RECV-ACCEPT_QUEUE'],
  ]);
});

test('from every state to every other one the way is connected', () => {
  for (const from of [null, ...WATCH_STATES]) {
    for (const to of [null, ...WATCH_STATES]) {
      for (const closing of [null, 'active', 'passive'] as const) {
        const ends = routeOf({ from, to, closing }).map(endsOf);
        for (const [at, [start]] of ends.entries()) if (at > 0) expect(ends[at - 1]?.[1]).toBe(start);
      }
    }
  }
});

const listener = socketWith({ id: '1', state: 'LISTEN', local: '0.0.0.0:80' });

test('a new connection to a listening port is a server, and one that is accepted leaves the queue', () => {
  const before = snapshotWith([listener]);
  const queued = socketWith({ id: '2', local: '10.0.0.1:80', peer: '10.0.0.2:5000', ownership: 'queue' });
  const come = deltaWith([queued, socketWith({ id: '3', local: '10.0.0.1:5001', peer: '10.0.0.2:80' })]);
  expect([...litBy(before, come)]).toEqual([
    ...['LISTEN-SYN_RECV', 'SYN_RECV-ACCEPT_QUEUE', 'CLOSED-SYN_SENT', 'SYN_SENT-ESTABLISHED'],
  ]);
  // Told late, not new.
  expect(litBy(before, deltaWith([{ ...queued, sinceMs: 0 }])).size).toBe(0);
  const accepted = deltaWith([{ ...queued, ownership: 'process', pid: 7 }]);
  expect([...litBy(applied(before, come), accepted)]).toEqual(['ACCEPT_QUEUE-ESTABLISHED']);
});

test('what a delta leaves as it was stays the same object', () => {
  const before = snapshotWith([listener]);
  const after = applied(before, deltaWith([]));
  expect(after.sockets).toBe(before.sockets);
  expect(after.ports).toBe(before.ports);
  expect(after.history.atMs).toHaveLength(1);
});

const server = stageSocket('LISTEN', '127.0.0.1:80');

test('between two steps of a scenario the edges are those that its sockets took', () => {
  const bound = stageSocket('BOUND', '127.0.0.1:80');
  expect([...litBetween([bound], [server])]).toEqual(['BOUND-LISTEN']);
  const [near, far] = ['127.0.0.1:80', '127.0.0.1:5000'];
  const pair = [stageSocket('ESTABLISHED', near, far), stageSocket('ESTABLISHED', far, near)];
  expect(litBetween([server, ...pair], [server, ...pair]).size).toBe(0);
  const closed = [stageSocket('FIN_WAIT2', near, far), stageSocket('CLOSE_WAIT', far, near)];
  expect([...litBetween([server, ...pair], [server, ...closed])]).toEqual([
    ...['ESTABLISHED-FIN_WAIT1', 'FIN_WAIT1-FIN_WAIT2', 'ESTABLISHED-CLOSE_WAIT'],
  ]);
  expect([...litBetween([server, server], [server])]).toEqual(['LISTEN-CLOSED']);
});

test('each case of a scenario begins without sockets', () => {
  const step: ScenarioStep = {
    ...{ line: 'old.listen', kernel: 'ok', model: 'ok', expected: 'ok', claimed: null, rule: null },
    sockets: [server],
  };
  const steps = [step, step];
  const cases = [
    { when: 'one', holds: true, steps },
    { when: 'other', holds: false, steps },
  ];
  const run: ScenarioRun = { id: 'X-a', verdict: 'depends', agrees: true, asExpected: true, cases };
  const frames = framesOf(run);
  expect(frames.map(({ lit }) => lit.size)).toEqual([2, 0, 2, 0]);
  expect(frames.map((frame) => describeFrame('X-a', frame))[3]).toBe('lab: X-a, case 2 of 2, step 2 of 2');
  expect(stageCounts(step.sockets)).toMatchObject({ LISTEN: 1, ESTABLISHED: 0 });
});

for (const isNarrow of [false, true]) {
  const shape = shapeOf(isNarrow);
  const name = isNarrow ? 'narrow' : 'wide';

  test(`the ${name} diagram has every state and every edge inside it, and no edge runs through a state`, () => {
    for (const id of NODES) expect(isInside(shape.nodes[id], shape)).toBe(true);
    for (const edge of EDGE_IDS) {
      const { points, line, head } = shape.edges[edge];
      for (const [x, y] of points)
        expect(x >= 0 && y >= 0 && x <= shape.width && y <= shape.height).toBe(true);
      for (const id of NODES) {
        if (!endsOf(edge).includes(id)) expect(crosses(points, shape.nodes[id]), `${edge} ${id}`).toBe(false);
      }
      expect(line).not.toContain('NaN');
      expect(head).not.toContain('NaN');
    }
  });

  test(`no two labels of the ${name} diagram overlap, nor does one a state`, () => {
    const labels = EDGE_IDS.map((edge) => ({ edge, box: labelBox(shape, edge) }));
    for (const [at, { edge, box }] of labels.entries()) {
      for (const other of labels.slice(at + 1)) {
        expect(overlaps(box, other.box), `${edge} ${other.edge}`).toBe(false);
      }
      for (const id of NODES) expect(overlaps(box, shape.nodes[id]), `${edge} ${id}`).toBe(false);
      for (const other of EDGE_IDS) {
        expect(crosses(shape.edges[other].points, box), `${edge} on ${other}`).toBe(false);
      }
    }
  });
}

/** Room that a label takes, with letters of 12 px. */
function labelBox({ edges }: Shape, edge: (typeof EDGE_IDS)[number]): Box {
  const {
    text,
    at: [x, y],
    anchor,
  } = edges[edge].label;
  const width = text.length * 7.1;
  const left = anchor === 'start' ? x : anchor === 'end' ? x - width : x - width / 2;
  return { x: left, y: y - 9, width, height: 11 };
}

function isInside(box: Box, { width, height }: Shape): boolean {
  return box.x >= 0 && box.y >= 0 && box.x + box.width <= width && box.y + box.height <= height;
}

function overlaps(one: Box, other: Box): boolean {
  return (
    one.x < other.x + other.width &&
    other.x < one.x + one.width &&
    one.y < other.y + other.height &&
    other.y < one.y + one.height
  );
}

/** All lines go along or across. */
function crosses(points: Shape['edges'][keyof Shape['edges']]['points'], box: Box): boolean {
  return points.slice(1).some(([x, y], at) => {
    const [fromX, fromY] = points[at] ?? [x, y];
    const line = {
      ...{ x: Math.min(x, fromX), y: Math.min(y, fromY) },
      ...{ width: Math.abs(x - fromX), height: Math.abs(y - fromY) },
    };
    return overlaps(line, box);
  });
}

function stageSocket(state: StageSocket['state'], local: string, peer: string | null = null): StageSocket {
  return { state, local, peer };
}

function socketWith(given: Partial<WatchedSocket>): WatchedSocket {
  return {
    ...{ id: '0', state: 'ESTABLISHED', local: '127.0.0.1:1', peer: null, ownership: 'process', pid: 1 },
    ...{ user: 'root', receiveQueue: 0, sendQueue: 0, timer: null, sinceMs: 1, closing: null },
    ...given,
  };
}

function snapshotWith(sockets: readonly WatchedSocket[]): WatchSnapshot {
  return {
    ...{ type: 'snapshot', intervalMs: 1_000, ...totals(), sockets, left: 0, processes: [], keepers: [] },
    ...{ history: { atMs: [], counts: ofStates(() => []), acceptQueue: [] }, marks: [] },
  };
}

function deltaWith(sockets: readonly WatchedSocket[]): WatchDelta {
  return {
    ...{ type: 'delta', ...totals(), transitions: [], missed: false, sockets, gone: [], left: 0 },
    ...{ processes: [], keepers: [], keepersGone: [], marks: [] },
  };
}

function totals(): Pick<WatchSnapshot, keyof WatchDelta & keyof WatchSnapshot & keyof typeof TOTALS> {
  return TOTALS;
}

const TOTALS = {
  ...{ sequence: 1, atMs: 0, counts: ofStates(() => 0), acceptQueue: 0, orphans: 0, timeWaitEnds: [] },
  ...{ ports: [], unclosed: [], unseen: { sockets: 0, processes: 0 } },
};
