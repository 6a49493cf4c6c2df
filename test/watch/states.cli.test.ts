import { afterAll, beforeAll, expect } from 'vitest';
import type { WatchState } from '../../src/watch/view.js';
import { testNeeding } from '../support/needing.js';
import { type Netns, openNetns } from '../support/netns.js';
import { type Actor, type Seen, startActor, startWatch, type Watching } from './stage.js';

/** From a fact to the line that tells it: a second to the next look, and the time to make and to read it. */
const TOLD_MS = 1_500;

interface Step {
  readonly code: string;
  /** Counts of states that are not 0, and of the accept queue. */
  readonly counts: Partial<Record<WatchState | 'to accept', number>>;
  /** Of this step: from, to, who closes first. */
  readonly transitions: readonly string[];
}

const STEPS: readonly Step[] = [
  { code: "fds.bound = bindAt('127.0.0.1', 7001)", counts: { BOUND: 1 }, transitions: ['null BOUND null'] },
  {
    code: "fds.listener = listenAt('127.0.0.1', 7000, 5)",
    counts: { BOUND: 1, LISTEN: 1 },
    transitions: ['null LISTEN null'],
  },
  {
    code: "fds.client = connect('127.0.0.1', 7000)",
    counts: { BOUND: 1, LISTEN: 1, ESTABLISHED: 2, 'to accept': 1 },
    transitions: ['null ESTABLISHED null'],
  },
  {
    code: 'fds.child = accept(fds.listener)',
    counts: { BOUND: 1, LISTEN: 1, ESTABLISHED: 2 },
    transitions: [],
  },
  {
    code: 'finish(fds.child)',
    counts: { BOUND: 1, LISTEN: 1, FIN_WAIT2: 1, CLOSE_WAIT: 1 },
    transitions: ['ESTABLISHED CLOSE_WAIT passive', 'ESTABLISHED FIN_WAIT2 active'],
  },
  {
    code: 'close(fds.client)',
    counts: { BOUND: 1, LISTEN: 1, TIME_WAIT: 1 },
    transitions: ['CLOSE_WAIT null passive', 'FIN_WAIT2 TIME_WAIT active'],
  },
  {
    code: "fds.second = connect('127.0.0.1', 7000), fds.secondChild = accept(fds.listener), close(fds.secondChild), close(fds.second)",
    counts: { BOUND: 1, LISTEN: 1, TIME_WAIT: 2 },
    transitions: ['null TIME_WAIT active', 'null null passive'],
  },
  { code: 'close(fds.listener)', counts: { BOUND: 1, TIME_WAIT: 2 }, transitions: ['LISTEN null null'] },
];

let netns: Netns;
let actor: Actor;
let watching: Watching;
/** What the machine held this process up for, at most: that much later others may be too. */
let stalledMs = 0;

beforeAll(async () => {
  netns = await openNetns();
  actor = await startActor(netns);
  watching = startWatch([], { around: netns.command });
  await watching.until('the first look', () => true);
  let dueMs = performance.now() + 50;
  const clock = setInterval(() => {
    stalledMs = Math.max(stalledMs, performance.now() - dueMs);
    dueMs = performance.now() + 50;
  }, 50);
  clock.unref();
});

afterAll(() => netns.close());

testNeeding(['netns', 'bound sockets'])(
  'sockets go through their states, and each is told with the right count within 1.5 s',
  async () => {
    let first = watching.seen.length;
    for (const { code, counts, transitions } of STEPS) {
      stalledMs = 0;
      const { doneMs } = await actor.act(code);
      const told = await watching.until(code, (seen) => isAs(seen, counts) && seen.update.atMs >= doneMs);
      stalledMs += lateMs(told);
      expect({ code, late: Math.max(0, told.readMs - doneMs - stalledMs - TOLD_MS) }).toEqual({
        code,
        late: 0,
      });
      const since = watching.seen.slice(first, watching.seen.indexOf(told) + 1);
      expect({ code, transitions: transitionsIn(since) }).toEqual({ code, transitions });
      first = watching.seen.indexOf(told) + 1;
    }
  },
);

testNeeding(['netns', 'bound sockets'])('each socket has its owner, queues and ends', async () => {
  await actor.act(`fds.listener = listenAt('127.0.0.1', 7100, 5), fds.waiting = connect('127.0.0.1', 7100)`);
  const { snapshot } = await watching.until('a client waits', ({ snapshot }) =>
    snapshot.ports.some(({ port, acceptQueue, pid }) => port === 7100 && acceptQueue === 1 && pid !== null),
  );
  const at = snapshot.sockets.filter(({ local }) => local === '127.0.0.1:7100');
  const node = { pid: actor.pid, ownership: 'process' };
  expect(at.find(({ state }) => state === 'LISTEN')).toMatchObject({
    ...node,
    receiveQueue: 1,
    sendQueue: 5,
    peer: null,
  });
  expect(at.find(({ state }) => state === 'ESTABLISHED')).toMatchObject({ ownership: 'queue', pid: null });
  expect(snapshot.sockets.find(({ peer }) => peer === '127.0.0.1:7100')).toMatchObject(node);
  expect(snapshot.ports.find(({ port }) => port === 7100)).toMatchObject({
    listening: 1,
    live: 1,
    backlog: 5,
    pid: actor.pid,
  });
  expect(snapshot.processes.find(({ pid }) => pid === actor.pid)?.program).toBe('node');
  await actor.act('close(fds.listener), close(fds.waiting)');
});

testNeeding('netns')('who does not close its end is named, with those that wait for it', async () => {
  await actor.act(`fds.listener = listenAt('127.0.0.1', 7200),
    fds.kept = Array.from({ length: 3 }, () => [connect('127.0.0.1', 7200), accept(fds.listener)]),
    fds.kept.forEach(([client]) => finish(client))`);
  const { snapshot } = await watching.until(
    'three in CLOSE_WAIT',
    ({ snapshot }) => snapshot.counts.CLOSE_WAIT === 3 && snapshot.unclosed.some(({ pid }) => pid !== null),
  );
  expect(snapshot.unclosed).toEqual([{ pid: actor.pid, closeWait: 3, finWait2: 3 }]);
  await actor.act('fds.kept.flat().forEach(close), close(fds.listener)');
});

testNeeding('netns')(
  '20,000 entries of TIME_WAIT are counted, with when they end, and none is listed',
  async () => {
    await actor.act(`timeWaits('127.0.0.9', 7300, 20000)`);
    const told = await watching.until('20,000', ({ snapshot }) => snapshot.counts.TIME_WAIT >= 20_000);
    const { timeWaitEnds, ports, counts } = told.snapshot;
    expect(timeWaitEnds.reduce((all, one) => all + one)).toBe(counts.TIME_WAIT);
    expect(timeWaitEnds).toHaveLength(60);
    expect(ports[0]).toMatchObject({ port: 7300, listening: 0, live: 0, timeWait: 20_000 });
    expect(told.snapshot.sockets.filter(({ state }) => state === 'TIME_WAIT')).toEqual([]);
    for (const { update, bytes } of watching.seen)
      if (update.type === 'delta') expect(bytes).toBeLessThanOrEqual(20_000);
  },
);

testNeeding('netns')('a port, a process and its descendants can be looked at alone', async () => {
  const other = await startActor(netns);
  await actor.act(
    `fds.listener = listenAt('127.0.0.1', 7400), fds.client = connect('127.0.0.1', 7400), fds.child = accept(fds.listener)`,
  );
  await other.act(`fds.listener = listenAt('127.0.0.1', 7401), fds.client = connect('127.0.0.1', 7400)`);
  const one = async (...flags: string[]): Promise<object> => {
    const { snapshot } = await startWatch(flags, { around: netns.command }).until(
      'its owners',
      ({ snapshot }) => snapshot.sockets.every(({ ownership }) => ownership !== 'pending'),
    );
    const { LISTEN, ESTABLISHED, TIME_WAIT } = snapshot.counts;
    return { LISTEN, ESTABLISHED, TIME_WAIT, pids: snapshot.processes.map(({ pid }) => pid) };
  };
  expect(await one('--port', '7401')).toEqual({ LISTEN: 1, ESTABLISHED: 0, TIME_WAIT: 0, pids: [other.pid] });
  // The client of the other one waits in this one's queue.
  expect(await one('--port', '7400')).toEqual({ LISTEN: 1, ESTABLISHED: 2, TIME_WAIT: 0, pids: [actor.pid] });
  expect(await one('--pid', `${other.pid}`)).toEqual({
    LISTEN: 1,
    ESTABLISHED: 1,
    TIME_WAIT: 0,
    pids: [other.pid],
  });
  expect(await one('--pid', `${process.pid}`, '--port', '7401')).toEqual(await one('--port', '7401'));
  await actor.act('close(fds.listener), close(fds.client), close(fds.child)');
});

/** How much later than a second after the look before it this one was: the machine had others to run. */
function lateMs({ update }: Seen): number {
  const before = watching.seen.findLast(({ update: { sequence } }) => sequence === update.sequence - 1);
  return Math.max(0, update.atMs - (before?.update.atMs ?? update.atMs) - 1_000);
}

function isAs({ snapshot }: Seen, wanted: Step['counts']): boolean {
  const counts = Object.entries({ ...snapshot.counts, 'to accept': snapshot.acceptQueue });
  return counts.every(([name, count]) => count === (wanted[name as WatchState] ?? 0));
}

/** Each once, without those through states that one look may have seen and another not. */
function transitionsIn(seen: readonly Seen[]): readonly string[] {
  const all = seen.flatMap(({ update }) => (update.type === 'delta' ? update.transitions : []));
  return [...new Set(all.map(({ from, to, closing }) => `${from} ${to} ${closing}`))].sort();
}
