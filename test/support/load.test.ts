import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { type LoadOptions, type LoadResult, startLoad } from './load.js';
import { startLoadProcess } from './load-process.js';
import { freePort } from './ports.js';
import { until } from './wait.js';

test('every request to a server that answers is ok, and its pid is known', async () => {
  const server = createHttpServer((_, response) => response.end(`pid ${process.pid}\n`));
  const result = await loadOf(50, { port: await listen(server) });
  expect(result).toMatchObject({ refused: 0, reset: 0, eof: 0, hung: 0, other: 0, skipped: 0, failures: [] });
  expect(result.ok).toBe(result.sent);
  expect(result.ok).toBeGreaterThanOrEqual(50);
  expect(result.pids).toEqual([process.pid]);
  expect(result.processes[0]?.ok).toBe(result.ok);
  expect(result.medianMs).toBeGreaterThan(0);
  expect(result.maxMs).toBeGreaterThanOrEqual(result.p99Ms ?? Number.POSITIVE_INFINITY);
});

test('every good answer is in the result when that is asked for', async () => {
  const server = createHttpServer((_, response) => setTimeout(() => response.end('pid 1\n'), 5));
  const port = await listen(server);
  const { ok, durationMs, answers } = await loadOf(20, { port, keepAnswers: true });
  expect(answers).toHaveLength(ok);
  expect(answers.map(({ atMs }) => atMs)).toEqual(answers.map(({ atMs }) => atMs).sort((a, b) => a - b));
  for (const { atMs, tookMs } of answers) {
    expect(tookMs).toBeGreaterThan(4);
    expect(atMs).toBeGreaterThanOrEqual(tookMs);
  }
  expect(answers[0]?.atMs).toBeLessThan(durationMs);
  expect((await loadOf(5, { port })).answers).toEqual([]);
});

test('an answer without a length, and one in chunks, is whole when the server says so', async () => {
  const unbounded = createServer((socket) => socket.end('HTTP/1.0 200 OK\r\n\r\npid 7\n'));
  expect(await loadOf(5, { port: await listen(unbounded) })).toMatchObject({ eof: 0, pids: [7] });
  const chunked = createHttpServer((_, response) => {
    response.write('pid ');
    setTimeout(() => response.end('8\n'), 5);
  });
  const result = await loadOf(5, { port: await listen(chunked) });
  expect(result.ok).toBe(result.sent);
});

test('a closed port refuses', async () => {
  const result = await loadOf(5, { port: await freePort() });
  expect(result).toMatchObject({ ok: 0, refused: result.sent, medianMs: null, pids: [] });
  expect(result.failures[0]).toMatchObject({ kind: 'refused', code: 'ECONNREFUSED', phase: 'connecting' });
  expect(result.longestGapMs).toBe(result.durationMs);
});

test('a server that closes without an answer, or in the middle of it, is an eof', async () => {
  const silent = createServer((socket) => socket.once('data', () => socket.end()));
  const first = await loadOf(5, { port: await listen(silent) });
  expect(first).toMatchObject({ ok: 0, eof: first.sent });
  expect(first.failures[0]).toMatchObject({ kind: 'eof', phase: 'waiting' });

  const cut = createServer((socket) =>
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\npid 1')),
  );
  const second = await loadOf(5, { port: await listen(cut) });
  expect(second).toMatchObject({ ok: 0, eof: second.sent });
  expect(second.failures[0]).toMatchObject({ kind: 'eof', phase: 'answering' });
});

test('a reset is a reset', async () => {
  const server = createServer((socket) => socket.once('data', () => socket.resetAndDestroy()));
  const result = await loadOf(5, { port: await listen(server) });
  expect(result).toMatchObject({ ok: 0, reset: result.sent });
  expect(result.failures[0]).toMatchObject({ kind: 'reset', code: 'ECONNRESET' });
});

test('a server that accepts and says nothing hangs, and stop waits for the last request', async () => {
  const server = createServer((socket) => socket.resume());
  const result = await loadOf(5, { port: await listen(server), timeoutMs: 200 });
  expect(result).toMatchObject({ ok: 0, hung: result.sent });
  expect(result.failures.every((failure) => failure.endedAtMs - failure.startedAtMs >= 190)).toBe(true);
});

test('another status is no good answer', async () => {
  const server = createHttpServer((_, response) => response.writeHead(503).end('pid 1'));
  const result = await loadOf(5, { port: await listen(server) });
  expect(result).toMatchObject({ ok: 0, other: result.sent });
  expect(result.failures[0]?.code).toBe('HTTP 503');
});

test('requests start on schedule while the earlier ones wait', async () => {
  const server = createServer((socket) => socket.resume());
  const load = startLoad({ port: await listen(server), ratePerSecond: 500, timeoutMs: 300 });
  await until('100 requests are sent', () => load.counts().sent >= 100);
  expect(load.counts()).toMatchObject({ ok: 0, skipped: 0 });
  const { sent, durationMs } = await load.stop();
  // Never ahead of the schedule; how far behind depends on what else this machine does.
  expect(sent).toBeLessThanOrEqual(durationMs / 2 + 1);
});

test('no more sockets are open than allowed; the rest is skipped', async () => {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.resume();
  });
  const result = await loadOf(20, { port: await listen(server), maxOpen: 10, timeoutMs: 2_000 }, 'skipped');
  expect(connections).toBe(10);
  expect(result).toMatchObject({ sent: 10, hung: 10 });
  expect(result.skipped).toBeGreaterThanOrEqual(20);
});

test('the longest gap is the time in which the server did not answer', async () => {
  let answers = true;
  const server = createHttpServer(async (_, response) => {
    if (answers) response.end(`pid ${process.pid}\n`);
    else response.destroy();
  });
  const load = startLoad({ port: await listen(server), ratePerSecond: 200 });
  await until('20 answers', () => load.counts().ok >= 20);
  answers = false;
  const pausedMs = performance.now();
  await sleep(150); // the length of the gap is the subject
  answers = true;
  const pauseMs = performance.now() - pausedMs;
  const before = load.counts().ok;
  await until('20 more answers', () => load.counts().ok >= before + 20);
  const { longestGapMs, longestGapAtMs, durationMs, failures } = await load.stop();
  expect(longestGapMs).toBeGreaterThanOrEqual(pauseMs * 0.5); // an answer may have been on its way
  expect(longestGapAtMs + longestGapMs).toBeLessThan(durationMs);
  expect(failures.length).toBeGreaterThan(10);
});

test('a second stop gives the same result', async () => {
  const load = startLoad({ port: await freePort() });
  expect(await load.stop()).toBe(await load.stop());
});

test('as a process of its own it prints the same result', async () => {
  const server = createHttpServer((_, response) => response.end(`pid ${process.pid}\n`));
  const port = await listen(server, '::1');
  let requests = 0;
  server.on('request', () => requests++);
  const load = await startLoadProcess({ host: '::1', port, ratePerSecond: 200 });
  await until('20 requests', () => requests >= 20);
  const result = await load.stop();
  expect(result.ok).toBe(requests);
  expect(result).toMatchObject({ sent: requests, pids: [process.pid] });
});

/** The result of a load that went on until `atLeast` requests were sent, or ended in another way. */
async function loadOf(
  atLeast: number,
  options: LoadOptions,
  kind: 'sent' | 'skipped' = 'sent',
): Promise<LoadResult> {
  const load = startLoad({ ratePerSecond: 500, ...options });
  await until(`${atLeast} ${kind}`, () => load.counts()[kind] >= atLeast);
  return load.stop();
}

async function listen(server: Server, host = '127.0.0.1'): Promise<number> {
  server.listen(0, host);
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
