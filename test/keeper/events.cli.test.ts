import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import type { KeeperEvent, MissedEvents } from '../../src/keeper/event-log.js';
import { EVENTS_KEPT, EventLog } from '../../src/keeper/event-log.js';
import { holdfast, type RunningKeeper, startKeeper } from '../support/keeper.js';
import { freePort } from '../support/ports.js';
import { type Started, start } from '../support/process.js';
import { nodeHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { reloaded } from './reloads.js';

test('events tells what was, and with -f what comes: a crash, and the server that serves again', async () => {
  const { port, keeper } = await startServer();
  const followed = startEvents(keeper, '-f');
  await followed.line(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z started, pid \d+$/);
  await followed.line(/Z keeps .* for pid \d+$/);
  const before = keeper.worker();
  const after = await keeper.crash();
  await followed.line(new RegExp(`Z pid ${before} ended by SIGKILL$`));
  await followed.line(new RegExp(`Z started again, pid ${after}$`));
  await followed.line(new RegExp(`Z .*:${port} is served again by pid ${after} after .*$`));
  const asked = startEvents(keeper);
  expect(await asked.end()).toEqual({ code: 0, signal: null });
  expect(asked.stdout).toBe(followed.stdout);
});

test('events -f ends when the keeper ends, with its last words', async () => {
  const { keeper } = await startServer();
  const followed = startEvents(keeper, '-f');
  await followed.line(/keeps/);
  expect((await keeper.ask('stop', keeper.name)).exit.code).toBe(0);
  expect(await followed.end()).toEqual({ code: 0, signal: null });
  expect(followed.stdout).toMatch(/Z stopping with SIGTERM\n.*Z pid \d+ (ended by|exited with) .*\n$/s);
});

test('events -f says so when the keeper is killed, and ends with 1', async () => {
  const { keeper } = await startServer();
  const followed = startEvents(keeper, '-f');
  await followed.line(/keeps/);
  process.kill(keeper.state().pid, 'SIGKILL');
  expect(await followed.end()).toEqual({ code: 1, signal: null });
  expect(followed.stderr).toBe(`holdfast: the keeper "${keeper.name}" was killed\n`);
});

test('--json prints one event a line, numbered and with its time', async () => {
  const { keeper } = await startServer();
  const beganMs = Date.now();
  await reloaded(keeper);
  const asked = startEvents(keeper, '--json');
  await asked.end();
  const events = asked.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as KeeperEvent);
  expect(events.map(({ id }) => id)).toEqual(events.map((_, index) => index + 1));
  const told = events.find(({ type }) => type === 'reloaded');
  expect(told).toMatchObject({ type: 'reloaded', generation: 2, tookMs: expect.any(Number) });
  expect(told?.time).toBeGreaterThanOrEqual(beganMs);
  expect(told?.time).toBeLessThanOrEqual(Date.now());
});

test('without a keeper of that name it exits 2 and says so', async () => {
  const { keeper } = await startServer();
  for (const args of [
    ['events', 'nobody'],
    ['events', 'nobody', '-f'],
  ]) {
    const { exit, stdout, stderr } = await keeper.ask(...args);
    expect({ code: exit.code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^holdfast: no keeper named "nobody" runs; .* \[ERR_HOLDFAST_NOT_RUNNING\]\n$/);
  }
});

test('a follower that goes away, and one that does not read, are none of the keeper', async () => {
  const { port, keeper } = await startServer();
  const gone = await followRaw(keeper);
  gone.destroy();
  const silent = await followRaw(keeper);
  silent.pause();
  const before = keeper.worker();
  await keeper.crash();
  await keeper.process.line(new RegExp(`:${port} is served again`));
  expect(keeper.worker()).not.toBe(before);
  expect((await keeper.ask('events', keeper.name)).stdout).toContain('is served again');
  silent.destroy();
});

test('a connection that nobody reads holds up no more than its buffers', async () => {
  const log = new EventLog();
  const followers: ServerResponse[] = [];
  const server = createServer((_, response) => {
    followers.push(response);
    log.follow(response);
  });
  const socketPath = join(temporaryFolder(), 'sock');
  await once(server.listen(socketPath), 'listening');
  onTestFinished(() => server.closeAllConnections());
  onTestFinished(() => void server.close());
  log.add({ type: 'started', pid: 1, attempt: 1 });
  const [reader] = await once(get({ socketPath, agent: false }), 'response');
  reader.pause();
  for (let round = 0; round < 100; round++) {
    for (let pid = 0; pid < 200; pid++) log.add({ type: 'warning', text: 'x'.repeat(100) });
    await setImmediate();
  }
  const [follower] = followers;
  expect((follower?.writableLength ?? 0) + (follower?.socket?.writableLength ?? 0)).toBeLessThan(100_000);
  log.add({ type: 'started', pid: 2, attempt: 1 });
  reader.setEncoding('utf8');
  let read = '';
  for await (const chunk of reader) {
    read += chunk;
    if (read.includes('"pid":2')) break;
  }
  expect(read).toContain('"type":"missed"');
});

test('who reads too slowly is told how many events he has missed; no more is kept for him than before', () => {
  const log = new EventLog();
  const reader = new SlowReader();
  log.follow(reader as never);
  for (let pid = 1; pid <= 10 * EVENTS_KEPT; pid++) log.add({ type: 'started', pid, attempt: 1 });
  expect(reader.lines).toHaveLength(1);
  expect(log.recent()).toHaveLength(EVENTS_KEPT);
  reader.takes = Number.POSITIVE_INFINITY;
  reader.drained();
  const missed = reader.lines[1] as MissedEvents;
  expect(missed).toMatchObject({ type: 'missed', id: 2, count: 9 * EVENTS_KEPT - 1 });
  const rest = reader.lines.slice(2).map(({ id }) => id);
  expect(rest).toEqual(log.recent().map(({ id }) => id));
  expect(rest[0]).toBe(missed.id + missed.count);
});

/** Takes one line, and more when it is told to. */
class SlowReader {
  readonly lines: (KeeperEvent | MissedEvents)[] = [];
  takes = 1;
  drained: () => void = () => undefined;

  write(line: string): boolean {
    this.lines.push(JSON.parse(line));
    return this.lines.length < this.takes;
  }

  once(): void {
    // It never closes.
  }

  on(_: 'drain', drained: () => void): void {
    this.drained = drained;
  }
}

async function startServer(): Promise<{ readonly port: number; readonly keeper: RunningKeeper }> {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port));
  await keeper.holding();
  return { port, keeper };
}

function startEvents(keeper: RunningKeeper, ...options: readonly string[]): Started {
  return start([...holdfast, 'events', keeper.name, ...options], { env: keeper.env });
}

async function followRaw(keeper: RunningKeeper): Promise<IncomingMessage> {
  const socketPath = join(keeper.env.HOLDFAST_STATE_DIR, `${keeper.name}.sock`);
  await until('the control socket', () => keeper.state().pid);
  const [response] = await once(get({ socketPath, path: '/events?follow', agent: false }), 'response');
  return response;
}
