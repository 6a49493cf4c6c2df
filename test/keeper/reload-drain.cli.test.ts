import { once } from 'node:events';
import { get, request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { KeeperState } from '../../src/index.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { freePort } from '../support/ports.js';
import { isAlive } from '../support/proc.js';
import { nodeHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { freeze, queueClients } from './clients.js';
import { reloaded, settled } from './reloads.js';

test('an answer in two parts is finished by the old server', async () => {
  const { port, keeper } = await startServer();
  const answer = text(await response(port, '/parts'));
  const { old } = await replaced(keeper);
  expect(await answer).toBe(`first second of ${old}`);
  await settled(keeper);
  expect(isAlive(old)).toBe(false);
});

const DRAIN_TIMEOUT_MS = 8_000;

test('while it is paused the old server loses none of the time in which it may finish', async () => {
  const port = await freePort();
  const code = `require('node:http').createServer((_, response) => {
    const timer = setInterval(() => response.write('line\\n'), 200);
    process.once('SIGUSR2', () => response.end('end', clearInterval(timer)));
  }).listen(${port}, '127.0.0.1')`;
  const flags = ['--drain-timeout', `${DRAIN_TIMEOUT_MS}ms`];
  const keeper = startKeeper([process.execPath, '-e', code], { flags });
  await keeper.holding();
  const answer = await response(port, '/');
  const { old } = await replaced(keeper);
  await keeper.ask('pause', 'app');
  // Longer than it has in all.
  await sleep(DRAIN_TIMEOUT_MS + 1_000);
  expect(keeper.state()).toMatchObject({ paused: true, reload: 'draining' });
  await keeper.ask('resume', 'app');
  process.kill(old, 'SIGUSR2');
  expect(await text(answer)).toMatch(/^(line\n)+end$/);
  await settled(keeper);
  expect(isAlive(old)).toBe(false);
});

test('an upload in pieces is taken by the old server to its end', async () => {
  const { port, keeper } = await startServer();
  const upload = request({ port, host: '127.0.0.1', method: 'POST', path: '/upload' });
  const answered = once(upload, 'response');
  upload.write('x'.repeat(1000));
  // The server has its first piece.
  await until('the server reads', async () => (await text(await response(port, '/reads'))) === '1000');
  const { old } = await replaced(keeper);
  for (let piece = 0; piece < 4; piece++) {
    await sleep(300);
    upload.write('y'.repeat(1000));
  }
  upload.end();
  const [answer] = await answered;
  expect(await text(answer)).toBe(`5000 bytes to ${old}`);
});

test('on a unix socket, which both servers take clients from, no answer is cut', async () => {
  const path = join(temporaryFolder(), 'socket');
  const code = `require('node:http').createServer((q, r) =>
    setTimeout(() => r.end('pid ' + process.pid), q.url === '/slow' ? 1500 : 50)).listen({ fd: 3 })`;
  const keeper = startKeeper([process.execPath, '-e', code], { flags: ['--listen', `unix:${path}`] });
  await keeper.holding();
  const ask = (url: string): Promise<string> =>
    new Promise((resolve) => {
      const client = get({ socketPath: path, path: url, agent: false }, (got) => resolve(text(got)));
      client.once('error', (error) => resolve(String(error)));
    });
  const answers: Promise<string>[] = [];
  const load = setInterval(() => answers.push(ask('/')), 100);
  for (let reloads = 0; reloads < 2; reloads++) {
    const before = keeper.worker();
    expect(await ask('/')).toBe(`pid ${before}`);
    const slow = ask('/slow');
    await sleep(200); // it is taken, or waits for either server
    await reloaded(keeper);
    expect(await slow).toMatch(/^pid /);
    await settled(keeper);
    expect(isAlive(before)).toBe(false);
  }
  clearInterval(load);
  const failed = (await Promise.all(answers)).filter((answer) => !answer.startsWith('pid '));
  expect(failed).toEqual([]);
  expect(answers.length).toBeGreaterThan(20);
});

test('--drain-wait open: events that pause longer than a quiet connection come to their end', async () => {
  const { port, keeper } = await startServer(['--drain-wait', 'open', '--drain-quiet', '100ms']);
  const events = text(await response(port, '/events'));
  const { old } = await replaced(keeper);
  expect(await events).toBe(`one of ${old}\ntwo of ${old}\nthree of ${old}\n`);
  await settled(keeper);
  expect(isAlive(old)).toBe(false);
});

test('a connection that only idles is closed after the quiet time, not after the whole time', async () => {
  const { port, keeper } = await startServer(['--drain-quiet', '300ms', '--drain-timeout', '60s']);
  const idle = connect(port, '127.0.0.1');
  await once(idle, 'connect');
  const closed = once(idle, 'close');
  idle.on('error', () => undefined);
  const { old } = await replaced(keeper);
  await closed;
  await settled(keeper);
  expect(isAlive(old)).toBe(false);
});

test('what does not end is cut after --drain-timeout, and told', async () => {
  const { port, keeper } = await startServer(['--drain-timeout', '500ms']);
  const endless = await response(port, '/endless');
  const cut = once(endless, 'error').then(([error]) => error.code);
  endless.resume();
  await reloaded(keeper);
  await keeper.process.line(/generation 1 has not finished after .*: 1 connection will be cut/);
  expect(await cut).toBe('ECONNRESET');
  await settled(keeper);
});

test('status tells what a drain waits for, and until when', async () => {
  const { port, keeper } = await startServer(['--drain-wait', 'open', '--drain-timeout', '1h']);
  const endless = await response(port, '/endless');
  endless.on('error', () => undefined).resume();
  await reloaded(keeper);
  const drain = await until('a look', async () => {
    const { stdout } = await keeper.ask('status', 'app', '--json');
    const [state] = JSON.parse(stdout) as KeeperState[];
    return state?.reload === 'draining' && state.drain?.connections === 1 && state.drain;
  });
  expect(drain).toMatchObject({ generation: 1, shared: [], late: [] });
  const minutes = (drain.until - Date.now()) / 60_000;
  expect(minutes).toBeGreaterThan(50);
  expect(minutes).toBeLessThanOrEqual(60);
  const { stdout } = await keeper.ask('status', 'app');
  expect(stdout).toMatch(
    /^ {2}generation 1: 1 connection, \d owed something; it is waited for \d+ min more at the most$/m,
  );
  // While it is paused its time stands still.
  expect((await keeper.ask('pause', 'app')).exit.code).toBe(0);
  const end = await drainEnd(keeper);
  await sleep(1_000);
  expect((await drainEnd(keeper)) - end).toBeGreaterThan(900);
  expect((await keeper.ask('resume', 'app')).exit.code).toBe(0);
  endless.destroy();
  await settled(keeper);
  expect((await keeper.ask('status', 'app')).stdout).not.toContain('at the most');
});

async function drainEnd(keeper: RunningKeeper): Promise<number> {
  const [state] = JSON.parse((await keeper.ask('status', 'app', '--json')).stdout) as KeeperState[];
  return state?.drain?.until ?? 0;
}

test('status tells which sockets the old generation shares until it stops', async () => {
  const path = join(temporaryFolder(), 'socket');
  const code = `require('node:http').createServer((request, response) => response.write('begun')).listen({ fd: 3 })`;
  const keeper = startKeeper([process.execPath, '-e', code], { flags: ['--listen', `unix:${path}`] });
  await keeper.holding();
  const asked = get({ socketPath: path, agent: false });
  const [answer] = await once(asked, 'response');
  await reloaded(keeper);
  const drain = await until('a look', async () => {
    const { stdout } = await keeper.ask('status', 'app', '--json');
    const [state] = JSON.parse(stdout) as KeeperState[];
    return state?.drain?.connections === 1 && state.drain;
  });
  expect(drain).toMatchObject({ generation: 1, owed: null, shared: [`unix:${path}`], late: [] });
  expect((await keeper.ask('status', 'app')).stdout).toContain(
    `  unix:${path}: shared, the old generation takes connections there until it stops\n`,
  );
  answer.on('error', () => undefined);
  asked.destroy();
  await settled(keeper);
});

test('--drain-wait queue: the stop signal comes at once, and the server ends by itself', async () => {
  const { port, keeper } = await startServer(['--drain-wait', 'queue'], ['--graceful']);
  const answer = text(await response(port, '/parts'));
  const { old } = await replaced(keeper);
  expect(await answer).toBe(`first second of ${old}`);
  await settled(keeper);
});

test('a stop while the old server finishes an answer lets it, as it does the new one', async () => {
  const { port, keeper } = await startServer([], ['--graceful']);
  const answer = text(await response(port, '/parts'));
  const { old } = await replaced(keeper);
  keeper.process.kill('SIGTERM');
  expect(await answer).toBe(`first second of ${old}`);
  expect(await keeper.process.end()).toEqual({ code: 0, signal: null });
});

test('a server that dies while it finishes what it had is not started again', async () => {
  const { port, keeper } = await startServer(['--drain-timeout', '60s']);
  const answer = await response(port, '/endless');
  answer.on('error', () => undefined).resume();
  const { old } = await replaced(keeper);
  const { starts } = keeper.state();
  process.kill(old, 'SIGKILL');
  await settled(keeper);
  expect(keeper.state().starts).toBe(starts);
});

test('a server that dies while clients of before the reload wait for it is, and answers them', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port));
  await keeper.holding();
  await freeze(keeper.worker());
  const { outcomes } = await queueClients(port, 3);
  const { old, next } = await replaced(keeper);
  process.kill(old, 'SIGKILL');
  const [again, ...others] = new Set(await outcomes);
  expect(others).toEqual([]);
  expect(again).toEqual(expect.any(Number));
  expect([old, next]).not.toContain(again);
  await settled(keeper);
  expect(keeper.worker()).toBe(next);
});

const SERVER = `
const { createServer } = require('node:http');
let read = 0;
const answers = {
  '/parts': (q, r) => { r.write('first '); setTimeout(() => r.end('second of ' + process.pid), 500); },
  '/upload': (q, r) => { q.on('data', (d) => { read += d.length; }).on('end', () => r.end(read + ' bytes to ' + process.pid)); },
  '/reads': (q, r) => r.end(String(read)),
  '/events': (q, r) => {
    const say = (word) => r.write(word + ' of ' + process.pid + '\\n');
    say('one');
    setTimeout(() => say('two'), 1200);
    setTimeout(() => { say('three'); r.end(); }, 2400);
  },
  '/endless': (q, r) => { r.write('a'); setInterval(() => r.write('b'), 50); },
};
const server = createServer((q, r) => answers[q.url](q, r)).listen(process.env.PORT, '127.0.0.1');
if (process.argv.includes('--graceful')) process.on('SIGTERM', () => server.close());
`;

async function startServer(
  flags: readonly string[] = [],
  options: readonly string[] = [],
): Promise<{ readonly port: number; readonly keeper: RunningKeeper }> {
  const port = await freePort();
  const keeper = startKeeper([process.execPath, '-e', SERVER, '--', ...options], {
    flags,
    env: { PORT: `${port}` },
  });
  await keeper.holding();
  return { port, keeper };
}

/** The answer's head has come. */
async function response(port: number, path: string): Promise<import('node:http').IncomingMessage> {
  const [answer] = await once(get({ port, host: '127.0.0.1', path, agent: false }), 'response');
  return answer;
}

/** Reloads, and gives the pids of both. */
async function replaced(keeper: RunningKeeper): Promise<{ readonly old: number; readonly next: number }> {
  const old = keeper.worker();
  return { old, next: await reloaded(keeper) };
}
