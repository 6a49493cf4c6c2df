import { expect, test } from 'vitest';
import type { FanResult, Output } from '../../src/fan/fan.js';
import { type RollingOptions, rollOver } from '../../src/fan/reload-on.js';

/** Who was begun, batch by batch, and what became of whom. */
interface Told {
  readonly batches: readonly (readonly string[])[];
  readonly ends: readonly string[];
}

/** `ends`: of those hosts the reload does not end well. `interruptAt`: when that host is done, no more is asked for. */
async function roll(
  hosts: readonly string[],
  options: RollingOptions,
  {
    ends = {},
    interruptAt,
  }: { ends?: Readonly<Record<string, Partial<FanResult>>>; interruptAt?: string } = {},
): Promise<Told> {
  const batches: (readonly string[])[] = [];
  const noMore = new AbortController();
  const run = async function* (some: readonly string[], over: AbortSignal): AsyncGenerator<FanResult> {
    const begun: string[] = [];
    batches.push(begun);
    // As fan with a fan-out of two.
    for (let at = 0; at < some.length && !over.aborted; at += 2) {
      const two = some.slice(at, at + 2);
      begun.push(...two);
      for (const host of two) yield { ...GOOD, host, ...ends[host] };
    }
  };
  const told: string[] = [];
  for await (const at of rollOver(hosts, options, noMore.signal, run)) {
    told.push(`${at.host} ${at.ok ? `generation ${at.generation}` : at.reason}`);
    if (at.host === interruptAt) noMore.abort();
  }
  return { batches, ends: told };
}

const SIX = ['a', 'b', 'c', 'd', 'e', 'f'];
const BAD: Partial<FanResult> = {
  status: 1,
  stdout: output('{"ok":false,"goesOn":true,"why":"it exited with 3 before it was ready"}'),
};
const GONE: Partial<FanResult> = { status: null, error: { phase: 'connect', text: 'refused' } };

test('every host in its batch', async () => {
  const { batches, ends } = await roll(SIX, { batch: '34%' });
  expect(batches).toEqual([
    ['a', 'b'],
    ['c', 'd'],
    ['e', 'f'],
  ]);
  expect(ends).toEqual(SIX.map((host) => `${host} generation 2`));
});

test('without more said one host at a time', async () => {
  expect((await roll(['a', 'b'], {})).batches).toEqual([['a'], ['b']]);
});

test('a host that fails lets the others of its batch end, and nobody else is begun', async () => {
  const { batches, ends } = await roll(SIX, { batch: 2, stopOnFailure: true }, { ends: { c: BAD } });
  expect(batches).toEqual([
    ['a', 'b'],
    ['c', 'd'],
  ]);
  expect(ends).toEqual([
    ...['a generation 2', 'b generation 2', 'c reload-failed', 'd generation 2'],
    ...['e not-begun', 'f not-begun'],
  ]);
});

test('of a batch that has not begun as a whole, the rest is not begun', async () => {
  const { batches, ends } = await roll(SIX, { batch: '100%', stopOnFailure: true }, { ends: { b: GONE } });
  expect(batches).toEqual([['a', 'b']]);
  expect(ends.slice(1)).toEqual([
    'b unreachable',
    'c not-begun',
    'd not-begun',
    'e not-begun',
    'f not-begun',
  ]);
});

test('unless it is to stop at a failure, it goes on', async () => {
  const { ends } = await roll(SIX, { batch: 2 }, { ends: { a: GONE, c: BAD } });
  expect(ends).toEqual([
    ...['a unreachable', 'b generation 2', 'c reload-failed', 'd generation 2'],
    ...['e generation 2', 'f generation 2'],
  ]);
});

test('when no more is asked for, who is begun ends', async () => {
  const { batches, ends } = await roll(SIX, { batch: 4 }, { interruptAt: 'a' });
  expect(batches).toEqual([['a', 'b']]);
  expect(ends.slice(0, 3)).toEqual(['a generation 2', 'b generation 2', 'c not-begun']);
});

const GOOD: FanResult = {
  ...{ host: '', status: 0, signal: null, timedOut: false, error: null, ms: 1, attempts: 1, closedFirst: 0 },
  ...{ stdout: output('{"ok":true,"generation":2,"tookMs":5}'), stderr: output('') },
};

function output(text: string): Output {
  return { text: () => text } as Output;
}
