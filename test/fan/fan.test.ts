import { expect, test } from 'vitest';
import { fanOut, type StartRemote } from '../../src/fan/fan.js';
import type { RemoteEnd } from '../../src/fan/remote.js';

const HOSTS = ['a', 'b', 'c', 'd'];

/** Commands that are over when they are told to be. */
function hosts() {
  const running = new Map<string, (end: RemoteEnd) => void>();
  const start: StartRemote = ({ host }) => {
    const ended = new Promise<RemoteEnd>((resolve) => running.set(host, resolve));
    return { ended, stop: () => running.get(host)?.({ status: null, error: null, closedFirst: false }) };
  };
  const end = (host: string): void => running.get(host)?.({ status: 0, error: null, closedFirst: false });
  return { start, end, begun: () => [...running.keys()] };
}

test('when no more is asked for, commands that run end, and other hosts have no result', async () => {
  const { start, end, begun } = hosts();
  const noMore = new AbortController();
  const results = fanOut({ hosts: HOSTS, command: ['true'], fanout: 2, noMore: noMore.signal }, start);
  const first = results.next();
  end('a');
  expect((await first).value).toMatchObject({ host: 'a', status: 0 });
  noMore.abort();
  const second = results.next();
  end('b');
  expect((await second).value).toMatchObject({ host: 'b', status: 0, error: null });
  expect(await results.next()).toMatchObject({ done: true });
  expect(begun()).toEqual(['a', 'b']);
});

test('when all is to be stopped, commands that run are ended, and the others are not begun', async () => {
  const { start, end, begun } = hosts();
  const stopping = new AbortController();
  const told: unknown[] = [];
  const options = { hosts: HOSTS, command: ['true'], fanout: 2, signal: stopping.signal };
  for await (const { host, error, attempts } of fanOut(
    { ...options, onStart: (host) => setImmediate(() => (host === 'a' ? end('a') : stopping.abort())) },
    start,
  ))
    told.push([host, error?.phase ?? null, attempts]);
  expect(begun().slice(0, 2)).toEqual(['a', 'b']);
  expect(told).toHaveLength(4);
  expect(told).toContainEqual(['a', null, 1]);
  expect(told).toContainEqual(['b', 'stopped', 1]);
  expect(told).toContainEqual(['d', 'stopped', 0]);
});
