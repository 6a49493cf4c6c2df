import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import {
  closeGracefully,
  countClosings,
  type FirstCloser,
  installSignalHandlers,
  peerCloses,
  weClose,
} from '../../src/index.js';

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
}

/** Two ends of a connection. The far one closes when it is told. */
async function pair({ allowHalfOpen = false } = {}): Promise<Pair> {
  const server = createServer({ allowHalfOpen });
  await listen(server);
  const far = connect({ port: portOf(server), host: '127.0.0.1', allowHalfOpen: true });
  const [near] = (await once(server, 'connection')) as [Socket];
  server.close();
  onTestFinished(() => {
    for (const socket of [near, far]) socket.destroy();
  });
  return { near, far };
}

for (const allowHalfOpen of [false, true]) {
  test(`peerCloses sends what is written and waits for the peer, allowHalfOpen ${allowHalfOpen}`, async () => {
    const { near, far } = await pair({ allowHalfOpen });
    near.write('last words');
    const closed = peerCloses(near, { timeoutMs: 10_000 });
    const [data] = await once(far, 'data');
    expect(String(data)).toBe('last words');
    expect(near.writableEnded).toBe(false);
    far.end();
    expect(await closed).toBe<FirstCloser>('peer');
  });

  test(`weClose sends a FIN and takes what comes still, allowHalfOpen ${allowHalfOpen}`, async () => {
    const { near, far } = await pair({ allowHalfOpen });
    const closed = weClose(near);
    far.resume();
    await once(far, 'end');
    const farClosed = once(far, 'close');
    far.end('late words');
    expect(await closed).toBe<FirstCloser>('we');
    await farClosed;
    expect(far.errored).toBeNull();
  });

  test(`a peer that has closed before is the first one, allowHalfOpen ${allowHalfOpen}`, async () => {
    const { near, far } = await pair({ allowHalfOpen: true });
    near.allowHalfOpen = allowHalfOpen;
    far.end();
    near.resume();
    await once(near, 'end');
    far.resume();
    expect(await Promise.all([peerCloses(near), weClose(near)])).toEqual(['peer', 'peer']);
  });
}

test('after the timeout peerCloses closes itself, and destroys what the peer does not close', async () => {
  const { near, far } = await pair();
  const closed = peerCloses(near, { timeoutMs: 50 });
  far.resume();
  await once(far, 'end');
  expect(await closed).toBe<FirstCloser>('we');
});

test('with reset it resets then', async () => {
  const { near, far } = await pair();
  const [closed, failed] = [peerCloses(near, { timeoutMs: 50, reset: true }), once(far, 'error')];
  expect(await closed).toBe<FirstCloser>('reset');
  expect((await failed)[0]).toMatchObject({ code: 'ECONNRESET' });
});

test('who is closed already has been closed by somebody', async () => {
  const { near, far } = await pair();
  far.resetAndDestroy();
  near.on('error', () => undefined);
  await new Promise((resolve) => near.once('close', resolve));
  expect(await peerCloses(near)).toBe<FirstCloser>('reset');
});

test('a server that does not listen, and has no connections, is closed', async () => {
  const { ms, ...counts } = await closeGracefully(createServer());
  expect(counts).toEqual({ peerFirst: 0, weFirst: 0, reset: 0, cut: 0 });
  expect(ms).toBeLessThan(1_000);
});

test('a second call gets the result of the first, and the server may listen again', async () => {
  const server = await listen(createHttpServer((_, response) => response.end('x')));
  const inObject = { server };
  const [one, other] = await Promise.all([closeGracefully(server), closeGracefully(inObject)]);
  expect(one).toBe(other);
  await listen(server);
  const answer = await fetch(`http://127.0.0.1:${portOf(server)}`, { headers: { connection: 'keep-alive' } });
  expect(answer.headers.get('connection')).toBe('keep-alive');
  await answer.text();
  const progress: number[] = [];
  const { weFirst, peerFirst } = await closeGracefully(server, {
    onProgress: ({ open }) => progress.push(open),
  });
  expect({ closed: weFirst + peerFirst, progress }).toEqual({ closed: 1, progress: [0] });
});

test('the signal cuts off what is left', async () => {
  const server = await listen(createHttpServer(() => undefined));
  const client = connect(portOf(server), '127.0.0.1');
  client.on('error', () => undefined).write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(server, 'request');
  const stop = new AbortController();
  const closing = closeGracefully(server, { signal: stop.signal });
  stop.abort();
  expect(await closing).toMatchObject({ cut: 1 });
});

test('countClosings tells who closed first, and Prometheus too', async () => {
  const server = await listen(
    createServer((socket) => socket.on('data', () => socket.end()).on('error', () => undefined)),
  );
  const closings = countClosings(server);
  const [first, second, third] = [await connected(server), await connected(server), await connected(server)];
  expect(closings.open).toBe(3);
  first.end();
  second.write('x');
  await Promise.all([first, second].map((socket) => once(socket, 'close')));
  third.resetAndDestroy();
  await closeGracefully(server);
  expect(closings).toMatchObject({ open: 0, peerFirst: 1, weFirst: 1, reset: 1 });
  expect(await closings.timeWait()).toBe(1);
  const text = await closings.metrics();
  expect(text).toContain(`holdfast_server_closed_connections_total{server="127.0.0.1:`);
  expect(text).toMatch(/first="we"\} 1\n/);
  expect(text).toMatch(/holdfast_server_time_wait\{.*\} 1\n/);
  closings.stop();
});

const REFUSED: Readonly<Record<string, () => unknown>> = {
  'no server': () => closeGracefully({} as never),
  nothing: () => closeGracefully(undefined as never),
  'a negative time': () => closeGracefully(createServer(), { timeoutMs: -1 }),
  'a time that is no number': () => closeGracefully(createServer(), { peerFirstMs: '5' as never }),
  'a time that Node takes for 1 ms': () => closeGracefully(createServer(), { idleMs: 2 ** 31 }),
  'a reset that is no boolean': () => closeGracefully(createServer(), { reset: 1 as never }),
  'a callback that is none': () => closeGracefully(createServer(), { onProgress: 1 as never }),
  'a signal that is none': () => closeGracefully(createServer(), { signal: {} as never }),
  'peerCloses of no socket': () => peerCloses({} as never),
  'peerCloses of a server that is not of HTTP': () => peerCloses(createServer()),
  'weClose of a server': () => weClose(createServer() as never),
  'countClosings of nothing': () => countClosings(null as never),
  'signal handlers for SIGKILL': () => installSignalHandlers(createServer(), { signals: ['SIGKILL'] }),
  'signal handlers for no signal': () =>
    installSignalHandlers(createServer(), { signals: ['SIGNOT' as never] }),
  'an exit code that is none': () => installSignalHandlers(createServer(), { exitCode: 256 }),
  'a wrong time for signal handlers': () => installSignalHandlers(createServer(), { timeoutMs: 0.5 }),
};

for (const [what, call] of Object.entries(REFUSED)) {
  test(`${what} is refused`, async () => {
    const handlers = process.listenerCount('SIGTERM');
    await expect((async () => call())()).rejects.toMatchObject({
      name: 'HoldfastError',
      code: 'ERR_HOLDFAST_OPTION',
      message: expect.stringMatching(/, not |main thread/),
    });
    expect(process.listenerCount('SIGTERM')).toBe(handlers);
  });
}

async function listen<S extends Server>(server: S): Promise<S> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function connected(server: Server): Promise<Socket> {
  const socket = connect(portOf(server), '127.0.0.1').on('error', () => undefined);
  await Promise.all([once(socket, 'connect'), once(server, 'connection')]);
  return socket.resume();
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
