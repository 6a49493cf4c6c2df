import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { tcpSockets } from '../support/proc.js';
import { until } from '../support/wait.js';
import { Client } from './client.js';
import { askToLeave, type Kind, type Program, serve, serveSource } from './program.js';

const KINDS_OF_HTTP_1: readonly Kind[] = ['http', 'https', 'http2-secure', 'express', 'fastify'];
const SIGTERM = { code: null, signal: 'SIGTERM' };

for (const kind of KINDS_OF_HTTP_1) {
  const tls = kind === 'https' || kind === 'http2-secure';

  test(`${kind}: the next request on an idle connection is answered, and the client is told to close`, async () => {
    const program = await serve(kind);
    const client = await Client.connect(program.port, { tls });
    expect((await client.request()).headers.connection).toBe('keep-alive');
    await askToLeave(program);
    const { headers, body } = await client.request();
    expect(headers.connection).toBe('close');
    expect(headers['keep-alive']).toBeUndefined();
    expect(body).toContain(`pid ${program.started.pid}`);
    client.close();
    expect(await program.started.end()).toEqual(SIGTERM);
  });

  test(`${kind}: a client that does not close is closed when it has been quiet, whatever it asks for`, async () => {
    const program = await serve(kind, { env: { HOLDFAST_GRACEFUL_QUIET_MS: '300' } });
    const client = await Client.connect(program.port, { tls });
    client.send({ path: '/held' });
    await program.started.line(/^holds/);
    await askToLeave(program);
    program.started.kill('SIGUSR2');
    expect((await client.answer()).headers.connection).toBe('close');
    client.send({ path: '/held' });
    expect((await client.ended).kind).toBe('end');
    client.close();
    expect(await program.started.end()).toEqual(SIGTERM);
    expect(program.started.lines(/^holds/)).toHaveLength(1);
  });

  test(`${kind}: a response that is being made tells the client to close`, async () => {
    const program = await serve(kind);
    const client = await Client.connect(program.port, { tls });
    client.send({ path: '/held' });
    await program.started.line(/^holds/);
    await askToLeave(program);
    program.started.kill('SIGUSR2');
    expect(await client.answer()).toMatchObject({ status: 200, headers: { connection: 'close' } });
    client.close();
    expect(await program.started.end()).toEqual(SIGTERM);
  });
}

for (const node of [undefined, 'node22', 'node24'] as const) {
  for (const kind of ['http', 'https'] as const) {
    const tls = kind === 'https';
    const testThat = (title: string, run: () => Promise<void>): void =>
      testNeeding(node ?? [])(`${node ?? 'node'}, ${kind}: ${title}`, run);

    testThat('an idle connection is closed when it has been quiet, and not before', async () => {
      const program = await serve(kind, { node, env: { HOLDFAST_GRACEFUL_QUIET_MS: '700' } });
      const used = await Client.connect(program.port, { tls });
      await used.request();
      const fresh = await Client.connect(program.port, { tls });
      const beforeTls = await Client.connect(program.port);
      await until('all are accepted', () => connectionsOf(program) === 3);
      const askedAtMs = await askToLeave(program);
      for (const client of [used, fresh, beforeTls]) {
        const { kind, atMs } = await client.ended;
        expect(kind).toBe('end');
        expect(atMs - askedAtMs).toBeGreaterThanOrEqual(700);
        client.close();
      }
      expect(await program.started.end()).toEqual(SIGTERM);
    });

    testThat(
      `a response that has begun is finished, and the connection stays for one more request`,
      async () => {
        const program = await serve(kind, { node });
        const client = await Client.connect(program.port, { tls });
        client.send({ path: '/begun' });
        await client.received('begun');
        await program.started.line(/^holds/);
        await askToLeave(program);
        program.started.kill('SIGUSR2');
        const begun = await client.answer();
        expect(begun.headers.connection).toBe('keep-alive');
        expect(begun.body).toMatch(/^begun\npid \d+/);
        expect((await client.request()).headers.connection).toBe('close');
        client.close();
        expect(await program.started.end()).toEqual(SIGTERM);
      },
    );

    testThat(
      `of requests that are sent one after another only the last one's answer says close`,
      async () => {
        const program = await serve(kind, { node });
        const client = await Client.connect(program.port, { tls });
        client.send({ path: '/held' });
        await program.started.line(/^holds/);
        client.send({ path: '/held' });
        client.send({ path: '/held' });
        for (const after of [1, 2]) await program.started.line(/^holds/, { after });
        await askToLeave(program);
        program.started.kill('SIGUSR2');
        const told = [await client.answer(), await client.answer(), await client.answer()];
        expect(told.map(({ headers }) => headers.connection)).toEqual(['keep-alive', 'keep-alive', 'close']);
        client.close();
        expect(await program.started.end()).toEqual(SIGTERM);
      },
    );

    testThat('a request of which a part has come is waited for', async () => {
      const program = await serve(kind, { node, env: { HOLDFAST_GRACEFUL_QUIET_MS: '100' } });
      const [first, second] = [
        await Client.connect(program.port, { tls }),
        await Client.connect(program.port, { tls }),
      ];
      await second.request();
      for (const client of [first, second]) client.socket.write('GET / HTTP/1.1\r\nHo');
      const idle = await Client.connect(program.port, { tls });
      await idle.request();
      await askToLeave(program);
      await idle.ended;
      for (const client of [first, second]) {
        client.socket.write('st: localhost\r\n\r\n');
        expect((await client.answer()).headers.connection).toBe('close');
        client.close();
      }
      idle.close();
      expect(await program.started.end()).toEqual(SIGTERM);
    });

    testThat('an answer that comes before the body has, is not lost by a reset', async () => {
      const program = await serve(kind, { node });
      const client = await Client.connect(program.port, { tls });
      await askToLeaveKeeping(program, client);
      client.socket.pause();
      client.send({ path: '/early', body: 'x'.repeat(8_000_000) });
      await until('all is sent', () => client.socket.writableLength === 0);
      client.socket.resume();
      expect(await client.answer()).toMatchObject({ status: 413, headers: { connection: 'close' } });
      client.close();
      expect(await program.started.end()).toEqual(SIGTERM);
      expect(program.started.stderr).toBe('');
    });

    testThat('a big response to a slow client is complete', async () => {
      const program = await serve(kind, { node });
      const client = await Client.connect(program.port, { tls });
      client.send({ path: '/big' });
      await client.received('HTTP/1.1 200');
      client.socket.pause();
      await askToLeave(program);
      client.socket.resume();
      expect((await client.answer()).body).toHaveLength(20_000_000);
      client.close();
      expect(await program.started.end()).toEqual(SIGTERM);
    });

    testThat('an upgraded connection goes on until the timeout', async () => {
      const env = { HOLDFAST_GRACEFUL_QUIET_MS: '100', HOLDFAST_GRACEFUL_TIMEOUT_MS: '3000' };
      const program = await serve(kind, { node, env });
      const client = await Client.connect(program.port, { tls });
      client.send({ headers: { Connection: 'Upgrade', Upgrade: 'echo' } });
      await client.received('101 Switching');
      const askedAtMs = await askToLeave(program);
      client.socket.write('still there?');
      await client.received('still there?');
      expect((await client.ended).atMs - askedAtMs).toBeGreaterThanOrEqual(3_000);
      expect(await program.started.end()).toEqual(SIGTERM);
    });
  }
}

test('a client that closes after its last answer is the one that closes first', async () => {
  const program = await serve('http');
  const client = await Client.connect(program.port);
  await client.request();
  await askToLeave(program);
  await client.request();
  client.close();
  expect(await program.started.end()).toEqual(SIGTERM);
  const left = tcpSockets().filter(({ state }) => state === 'TIME_WAIT');
  expect(left.filter(({ port }) => port === program.port)).toEqual([]);
  expect(left.filter(({ port }) => port === client.localPort)).toHaveLength(1);
});

test('a client of HTTP/1.0 sees the end of its answer at once', async () => {
  const program = await serve('http');
  const client = await Client.connect(program.port);
  const ask = { version: '1.0', headers: { Connection: 'keep-alive' } } as const;
  const other = await Client.connect(program.port);
  await askToLeaveKeeping(program, client, other);
  expect(await client.request(ask)).toMatchObject({ status: 200, headers: { connection: 'close' } });
  expect((await client.ended).kind).toBe('end');
  expect(await other.request({ version: '1.0' })).toMatchObject({
    status: 200,
    headers: { connection: 'close' },
  });
  for (const each of [client, other]) each.close();
  expect(await program.started.end()).toEqual(SIGTERM);
});

test('a connection that says nothing while the program is busy for longer than the quiet time, may do so afterwards', async () => {
  const program = await serve('http', { env: { HOLDFAST_GRACEFUL_QUIET_MS: '2000' } });
  const client = await Client.connect(program.port);
  await client.request();
  await askToLeave(program);
  program.started.kill('SIGSTOP');
  await sleep(2_100);
  client.send();
  program.started.kill('SIGCONT');
  expect((await client.answer()).headers.connection).toBe('close');
  client.close();
  expect(await program.started.end()).toEqual(SIGTERM);
});

test('clients that wait to be accepted are served', async () => {
  const program = await serve('http');
  program.started.kill('SIGSTOP');
  const clients = await Promise.all(Array.from({ length: 50 }, () => Client.connect(program.port)));
  for (const client of clients) client.send();
  program.started.kill('SIGTERM');
  program.started.kill('SIGCONT');
  for (const client of clients) {
    expect((await client.answer()).headers.connection).toBe('close');
    client.close();
  }
  expect(await program.started.end()).toEqual(SIGTERM);
});

test('what is not answered at the timeout is cut off', async () => {
  const program = await serve('http', { env: { HOLDFAST_GRACEFUL_TIMEOUT_MS: '500' } });
  const client = await Client.connect(program.port);
  client.send({ path: '/held' });
  await program.started.line(/^holds/);
  const askedAtMs = performance.now();
  program.started.kill('SIGTERM');
  expect(await program.started.end()).toEqual(SIGTERM);
  expect((await client.ended).atMs - askedAtMs).toBeGreaterThanOrEqual(500);
});

test('at the timeout the connections of a program with a handler are closed, and the program goes on', async () => {
  const program = await serveSource(
    `
    const server = require('node:http').createServer(() => console.log('asked'));
    server.listen(process.env.PORT, '127.0.0.1', () => console.log('listens'));
    process.on('SIGTERM', () => server.close(() => { console.log('closed'); process.exitCode = 9; }));`,
    { env: { HOLDFAST_GRACEFUL_TIMEOUT_MS: '500' } },
  );
  const client = await Client.connect(program.port);
  client.send();
  await program.started.line(/^asked$/);
  await askToLeave(program);
  await client.ended;
  expect(await program.started.end()).toEqual({ code: 9, signal: null });
  expect(program.started.stdout).toContain('closed');
});

test('a connection of another protocol goes on until its client closes it', async () => {
  const program = await serve('net');
  const client = await Client.connect(program.port);
  client.socket.write('one');
  await client.received('one');
  await askToLeave(program);
  client.socket.write('two');
  await client.received('onetwo');
  client.close();
  expect(await program.started.end()).toEqual(SIGTERM);
});

test('connections of a server that has been closed before are waited for too, and a server that is unref-ed leaves', async () => {
  const program = await serveSource(
    `
    const http = require('node:http');
    const answer = (request, response) => {
      if (request.url === '/close') closed.close();
      response.end('served');
    };
    const closed = http.createServer(answer).listen(0, '127.0.0.1', () => console.log('port', closed.address().port));
    const server = http.createServer(answer).unref();
    server.listen(process.env.PORT, '127.0.0.1', () => console.log('listens'));`,
  );
  const port = Number((await program.started.line(/^port (\d+)$/))[1]);
  const [first, second] = [await Client.connect(port), await Client.connect(program.port)];
  await second.request();
  await first.request({ path: '/close' });
  await askToLeave(program);
  for (const client of [first, second]) {
    expect((await client.request()).headers.connection).toBe('close');
    client.close();
  }
  expect(await program.started.end()).toEqual(SIGTERM);
});

test('a server that begins to listen while the others leave, leaves with them', async () => {
  const program = await serveSource(
    `
    const http = require('node:http');
    const first = http.createServer((request, response) => {
      const late = http.createServer((_, response) => response.end('late'));
      late.listen(0, '127.0.0.1', () => console.log('port', late.address().port));
      response.end('first');
    });
    first.listen(process.env.PORT, '127.0.0.1', () => console.log('listens'));`,
  );
  const client = await Client.connect(program.port);
  await askToLeaveKeeping(program, client);
  await client.request();
  await program.started.line(/^port/);
  client.close();
  expect(await program.started.end()).toEqual(SIGTERM);
});

/** When the server has accepted the clients: a listener that is closed before would reset them. */
async function askToLeaveKeeping(program: Program, ...clients: readonly Client[]): Promise<void> {
  await until('all are accepted', () => connectionsOf(program) === clients.length);
  await askToLeave(program);
}

/** How many connections the program has accepted. */
function connectionsOf({ port }: Program): number {
  // One in the queue has no inode yet. @see tcp(7), /proc/net/tcp
  return tcpSockets().filter(
    (socket) => socket.port === port && socket.inode > 0 && socket.state !== 'LISTEN',
  ).length;
}
