import { expect, test } from 'vitest';
import type { KeeperState } from '../../src/index.js';
import { reloaded, settled } from '../keeper/reloads.js';
import { bodyOf } from '../support/http.js';
import { startKeeper } from '../support/keeper.js';
import { freePort } from '../support/ports.js';
import { nodeHttp } from '../support/servers.js';
import { until } from '../support/wait.js';
import { startKeptLoad } from './kept-load.js';

const RELOADS = 3;
const CLIENTS = 20;
const QUIET = { HOLDFAST_GRACEFUL_QUIET_MS: '300' };

test(`${RELOADS} reloads fail no request of ${CLIENTS} clients that keep their connections`, async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { flags: ['--graceful', 'node'], env: QUIET });
  await keeper.holding();
  const load = startKeptLoad({ port, clients: CLIENTS, pauseMs: 50 });
  const workers = [keeper.worker()];
  for (let reload = 0; reload < RELOADS; reload++) {
    const { requests } = load;
    await until('requests', () => load.requests > requests + 100);
    workers.push(await reloaded(keeper));
    await settled(keeper);
  }
  const { failures, told, pids } = await load.stop();
  expect(failures).toEqual([]);
  // Each was told to go, and none found its connection closed under it.
  expect(told).toBeGreaterThanOrEqual(CLIENTS * RELOADS);
  expect([...pids].sort()).toEqual(workers.map(String).sort());
  // By the stop signal, and not by SIGKILL: the server drained by itself.
  expect(keeper.process.lines(/ended by SIGTERM/)).toHaveLength(RELOADS);
}, 60_000);

/** A server that answers with how many requests Node has had for any server of the program. */
const COUNTING = `
let requests = 0;
require('node:diagnostics_channel').subscribe('http.server.request.start', () => requests++);
require('node:http').createServer((_, response) => {
  response.end(JSON.stringify({ requests, standby: process.env.HOLDFAST_STANDBY ?? null }));
}).listen(Number(process.argv[1]), '127.0.0.1');
`;

test('a standby has answered a request of nobody before it waits, and a worker that serves at once has not', async () => {
  const port = await freePort();
  const keeper = startKeeper([process.execPath, '-e', COUNTING, `${port}`], {
    flags: ['--graceful', 'node', '--standby'],
  });
  const isParked = ({ workers }: KeeperState): boolean => workers.some(({ phase }) => phase === 'parked');
  await keeper.untilState('a standby', isParked);
  expect(JSON.parse(await bodyOf(port))).toEqual({ requests: 1, standby: null });
  process.kill(keeper.worker(), 'SIGKILL');
  await keeper.process.line(/was standing by/);
  expect(JSON.parse(await bodyOf(port))).toEqual({ requests: 2, standby: '1' });
});

test('what is in NODE_OPTIONS and what was chosen stays', async () => {
  const port = await freePort();
  const keeper = startKeeper(reporter(port), {
    flags: ['--graceful', 'node', '--stop-signal', 'SIGINT', '--stop-timeout', '5s'],
    env: { NODE_OPTIONS: '--no-deprecation', HOLDFAST_GRACEFUL_TIMEOUT_MS: '1234' },
  });
  await keeper.holding();
  const { options, signal, timeoutMs, handlers } = JSON.parse(await bodyOf(port));
  expect(options).toMatch(/^--no-deprecation --import=file:\/\/\/.*\/dist\/graceful\.js$/);
  expect({ signal, timeoutMs, handlers }).toEqual({ signal: 'SIGINT', timeoutMs: '1234', handlers: 1 });
});

test('one that is there already is not loaded twice, and the time is less than that until SIGKILL', async () => {
  const port = await freePort();
  const given = '--import holdfast/graceful';
  const keeper = startKeeper(reporter(port), {
    flags: ['--graceful', 'node', '--stop-timeout', '5s'],
    env: { NODE_OPTIONS: given },
  });
  await keeper.holding();
  expect(JSON.parse(await bodyOf(port))).toMatchObject({
    options: given,
    signal: 'SIGTERM',
    timeoutMs: '4000',
  });
});

test('tools below the server that never listen are as without it', async () => {
  const port = await freePort();
  const script = `
    const tool = 'console.log(process.listenerCount("SIGTERM"), process._getActiveHandles().length)';
    const run = (env) => require('node:child_process').execFileSync(process.execPath, ['-e', tool], { env, encoding: 'utf8' });
    const { NODE_OPTIONS, ...without } = process.env;
    const answer = JSON.stringify({ with: run(process.env), without: run(without), is: NODE_OPTIONS !== undefined });
    http.createServer((_, response) => response.end(answer)).listen(${port}, '127.0.0.1');`;
  const keeper = startKeeper([process.execPath, '-e', script], { flags: ['--graceful', 'node'] });
  await keeper.holding();
  const answer = JSON.parse(await bodyOf(port));
  expect(answer.is).toBe(true);
  expect(answer.with).toBe(answer.without);
  expect(answer.with).toMatch(/^0 /);
});

/** A server that answers with what it was started with. */
function reporter(port: number): readonly string[] {
  const script = `
    http.createServer((_, response) => response.end(JSON.stringify({
      options: process.env.NODE_OPTIONS,
      signal: process.env.HOLDFAST_GRACEFUL_SIGNAL,
      timeoutMs: process.env.HOLDFAST_GRACEFUL_TIMEOUT_MS,
      handlers: process.listenerCount(process.env.HOLDFAST_GRACEFUL_SIGNAL),
    }))).listen(${port}, '127.0.0.1');`;
  return [process.execPath, '-e', script];
}
