import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { listeners } from '../support/proc.js';
import { start } from '../support/process.js';
import { until } from '../support/wait.js';
import { Client } from './client.js';
import {
  type ClosingKind,
  HERE,
  openStage,
  type ServerOptions,
  startServer,
  timeWaits,
} from './closing-stage.js';

const serve = (kind: ClosingKind, options?: ServerOptions) => startServer(HERE, kind, options);
/** What a busy machine may add. */
const SLACK_MS = 700;

for (const [reset, expected, kind] of [
  [false, { weFirst: 1, reset: 0 }, 'end'],
  [true, { weFirst: 0, reset: 1 }, 'reset'],
] as const) {
  test(`a client that does not close after Connection: close is ended after 500 ms with reset ${reset}`, async () => {
    const server = await serve('http', { delayMs: 300, close: { reset } });
    const client = await Client.connect(server.port);
    client.send();
    await server.started.line(/^accepted$/);
    const closing = server.close();
    expect((await client.answer()).headers.connection).toBe('close');
    const answeredAtMs = performance.now();
    const end = await client.ended;
    expect(end.kind).toBe(kind);
    expect(end.atMs - answeredAtMs).toBeGreaterThanOrEqual(400);
    expect(end.atMs - answeredAtMs).toBeLessThan(500 + SLACK_MS);
    client.close();
    expect(await closing).toMatchObject({ peerFirst: 0, cut: 0, ...expected });
  });
}

for (const reset of [false, true]) {
  test(`a slow reader gets all of a 20 MB response with reset ${reset}`, async () => {
    // The client's system may have some megabytes that the client has not read: a reset before it has would lose them.
    const server = await serve('http', {
      delayMs: 100,
      close: { reset, timeoutMs: 30_000, peerFirstMs: 10_000 },
    });
    const client = new Socket();
    onTestFinished(() => void client.destroy());
    client.connect(server.port, '127.0.0.1');
    await once(client, 'connect');
    client.write('GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await server.started.line(/^accepted$/);
    const closing = server.close();
    const { length, hash } = await readSlowly(client);
    expect({ length, hash }).toEqual({ length: 20_000_000, hash: BIG_HASH });
    client.end();
    expect(await closing).toMatchObject({ peerFirst: 1, cut: 0, reset: 0 });
  });
}

const BIG_HASH = createHash('sha256').update(Buffer.alloc(20_000_000, 'big response ')).digest('hex');

/** The body of a response with Content-Length, at about 10 MB/s. */
async function readSlowly(socket: Socket): Promise<{ length: number; hash: string }> {
  const hash = createHash('sha256');
  let [length, wanted] = [0, Number.NaN];
  let head = '';
  for await (const data of socket) {
    let body = data as Buffer;
    if (Number.isNaN(wanted)) {
      head += body.toString('latin1');
      const end = head.indexOf('\r\n\r\n') + 4;
      if (end < 4) continue;
      wanted = Number(/content-length: (\d+)/i.exec(head)?.[1]);
      body = Buffer.from(head.slice(end), 'latin1');
    }
    hash.update(body);
    length += body.length;
    if (length >= wanted) break;
    await sleep(body.length / 10_000);
  }
  return { length, hash: hash.digest('hex') };
}

test('bodies that are on their way arrive, and are answered', async () => {
  const server = await serve('http');
  const clients = await Promise.all(Array.from({ length: 50 }, () => Client.connect(server.port)));
  const body = 'x'.repeat(10_000);
  const head = `POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${2 * body.length}\r\n\r\n`;
  for (const client of clients) client.socket.write(head + body);
  await server.started.line(/^accepted$/, { after: 49 });
  const closing = server.close();
  await until('it listens no more', () => listeners(server.port).length === 0);
  for (const client of clients) client.socket.write(body);
  for (const client of clients) {
    const answer = await client.answer();
    expect(answer.headers.connection).toBe('close');
    expect(answer.body).toBe(body + body);
    client.close();
  }
  expect(await closing).toMatchObject({ peerFirst: 50, cut: 0 });
});

test('a handler that takes longer than the timeout is cut off', async () => {
  const server = await serve('http', { close: { timeoutMs: 1_000 } });
  const client = await Client.connect(server.port);
  client.send({ path: '/never' });
  await server.started.line(/^never$/);
  const { ms, ...counts } = await server.close();
  expect(counts).toMatchObject({ cut: 1, peerFirst: 0, weFirst: 0, reset: 0 });
  expect(ms).toBeGreaterThanOrEqual(990);
  expect(ms).toBeLessThan(1_200 + SLACK_MS);
});

for (const kind of ['net', 'tls'] as const) {
  const tls = kind === 'tls';

  test(`${kind}: a peer that is owed an answer gets it, and one that is not is left to close first`, async () => {
    const server = await serve(kind);
    const [owed, done] = [
      await Client.connect(server.port, { tls }),
      await Client.connect(server.port, { tls }),
    ];
    done.socket.write('0 done\n');
    await done.received('done');
    owed.socket.write('1500 late\n');
    await server.started.line(/^accepted$/, { after: 1 });
    await until('the server has read it', () => owed.socket.bytesWritten > 0);
    const closing = server.close();
    await until('it listens no more', () => listeners(server.port).length === 0);
    done.socket.end();
    await owed.received('late');
    expect((await owed.ended).kind).toBe('end');
    for (const client of [owed, done]) client.close();
    const { cut, peerFirst, weFirst } = await closing;
    expect({ cut, all: peerFirst + weFirst }).toEqual({ cut: 0, all: 2 });
    expect(peerFirst).toBeGreaterThanOrEqual(1);
  });

  test(`${kind}: a peer that is dead is ended after its time and cut off at the timeout`, async () => {
    const server = await serve(kind, { close: { timeoutMs: 2_500 } });
    const dead = await Client.connect(server.port, { tls });
    dead.socket.write('0 done\n');
    await dead.received('done');
    const closing = server.close();
    expect((await dead.ended).kind).toBe('end');
    expect(await closing).toMatchObject({ cut: 1, peerFirst: 0 });
    dead.close();
  });
}

testNeeding('netns')(
  'a client of TLS whose FIN comes long after its close_notify is the one that closes first',
  async () => {
    const netns = await openStage();
    const server = await startServer(netns, 'https', { delayMs: 0, peerCloses: { timeoutMs: 10_000 } });
    const client = start(netns.command([process.execPath, '-e', LATE_FIN, `${server.port}`]));
    await client.line(/^answered$/);
    await client.end();
    expect(await timeWaits(netns, server.port)).toEqual({ server: 0, clients: 1 });
  },
);

/** The FIN comes 1,500 ms after the close_notify. */
const LATE_FIN = `
  const { Duplex } = require('node:stream');
  const raw = require('node:net').connect(process.argv[1], '127.0.0.1');
  const carrier = new Duplex({
    read() {},
    write: (chunk, _, written) => void raw.write(chunk, written),
    final: (ended) => void setTimeout(() => raw.end(ended), 1_500),
  });
  raw.on('data', (chunk) => carrier.push(chunk));
  const secure = require('node:tls').connect({ socket: carrier, rejectUnauthorized: false });
  secure.write('GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n');
  secure.once('data', () => {
    console.log('answered');
    secure.end();
  });
`;

test('an upgraded connection is one of another protocol', async () => {
  const server = await serve('http');
  const client = await Client.connect(server.port);
  client.send({ headers: { Connection: 'Upgrade', Upgrade: 'lines' } });
  await client.received('101 Switching');
  await sleep(50); // in one tick of the kernel there would be no telling which came last
  client.socket.write('700 late\n');
  await sleep(50);
  const closing = server.close();
  await client.received('late');
  client.close();
  expect(await closing).toMatchObject({ cut: 0 });
});

test('a server that nobody has seen before closes all its connections', async () => {
  for (const kind of ['http', 'https'] as const) {
    const server = await serve(kind, { counted: false });
    const client = await Client.connect(server.port, { tls: kind === 'https' });
    await client.request();
    const closing = server.close();
    expect((await client.ended).kind).toBe('end');
    client.close();
    expect(await closing).toMatchObject({ weFirst: 1, cut: 0 });
  }
});

test('closing HTTP when nobody comes loads no native code', async () => {
  const source = `
    import { createServer } from 'node:http';
    import { createRequire } from 'node:module';
    import { closeGracefully } from '${new URL('../../dist/index.js', import.meta.url).href}';
    const server = createServer((_, response) => response.end()).listen(0, '127.0.0.1', async () => {
      await (await fetch('http://127.0.0.1:' + server.address().port)).text();
      await closeGracefully(server);
      console.log('native:', process.report.getReport().sharedObjects.some((file) => file.includes('koffi')));
      process.exit();
    });`;
  const program = start([process.execPath, '--input-type=module', '-e', source]);
  expect((await program.line(/^native: (.*)$/))[1]).toBe('false');
});
