import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { type HttpCheck, httpCheck } from '../../src/keeper/http-check.js';
import { close } from '../../src/kernel/fd.js';
import { type PortRange, tcpPort, tcpSockets } from '../../src/kernel/sock-diag.js';
import { acceptQueueLength, bind, listen, setReuseAddress, streamSocket } from '../../src/kernel/socket.js';
import { connectTo, openSocket } from '../../src/kernel/socket-calls.js';
import { testNeeding } from '../support/needing.js';
import { freePort, freePorts } from '../support/ports.js';
import { start } from '../support/process.js';
import { goHttp, javaHttp, pythonHttp, type TestServer } from '../support/servers.js';
import { until } from '../support/wait.js';

test.each([200, 204, 302, 399])('an answer with status %d is a good one', async (status) => {
  const port = await httpServer(() => status);
  expect(await check(port)).toEqual({ ok: true });
});

test('the path is asked for, by GET, at the name of the address', async () => {
  const seen: unknown[] = [];
  const port = await httpServer((request) => {
    seen.push([request.method, request.url, request.headers.host, request.headers.connection]);
    return 200;
  });
  expect(await check(port, { path: '/health?full=1' })).toEqual({ ok: true });
  expect(seen).toEqual([['GET', '/health?full=1', `127.0.0.1:${port}`, 'close']]);
});

test('a server that is ready later is asked until it is', async () => {
  let asked = 0;
  const port = await httpServer(() => (++asked < 4 ? 503 : 200));
  expect(await check(port)).toEqual({ ok: true });
  expect(asked).toBe(4);
});

test('a server that listens later is asked until it does', async () => {
  const port = await freePort();
  const asking = check(port, { everyMs: 5 });
  const late = createServer((_, response) => response.end());
  onTestFinished(() => void late.close());
  late.listen(port, '127.0.0.1');
  expect(await asking).toEqual({ ok: true });
});

test('an informational answer is not the last word', async () => {
  const port = await tcpServer((socket) => {
    socket.write('HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n');
    socket.write('\r\nHTTP/1.1 2');
    setImmediate(() => socket.end('00 OK\r\nContent-Length: 0\r\n\r\n'));
  });
  expect(await check(port)).toEqual({ ok: true });
});

/** What is wrong with a server, by what is told of it. */
const FAULTY: Readonly<Record<string, () => Promise<number>>> = {
  'status 400': () => httpServer(() => 400),
  'status 404': () => httpServer(() => 404),
  'status 500': () => httpServer(() => 500),
  'status 503': () => httpServer(() => 503),
  'connection refused': () => freePort(),
  'connection reset': () => tcpServer((socket) => void socket.resetAndDestroy()),
  'connection closed without an answer': () => tcpServer((socket) => void socket.end('HTTP/1.1 2')),
  'its answer is not HTTP/1': () => tcpServer((socket) => void socket.end('220 mail.example ESMTP\r\n')),
  'no answer within 4 s': () => tcpServer(() => undefined),
  'no connection within 4 s': fullListener,
};

test('what is wrong is told when the time is over', async () => {
  const told = Object.values(FAULTY).map(async (server) =>
    check(await server(), { timeoutMs: 4_000, everyMs: 1_000 }),
  );
  const expected = Object.keys(FAULTY).map((why) => ({ ok: false, why }));
  expect(await Promise.all(told)).toEqual(expected);
});

test('a request that had hardly any time left does not hide what was wrong before', async () => {
  let asked = 0;
  const port = await tcpServer((socket) => {
    if (++asked === 1) socket.end('HTTP/1.1 503 Starting\r\n\r\n');
  });
  expect(await check(port, { timeoutMs: 900, everyMs: 0 })).toEqual({ ok: false, why: 'status 503' });
  expect(asked).toBe(2);
});

test('an answer that does not end counts, and its connection is ended', async () => {
  let isClosed = false;
  const port = await tcpServer((socket) => {
    socket.once('close', () => {
      isClosed = true;
    });
    socket.write('HTTP/1.1 200 OK\r\n\r\ndata: 1\r\n\r\n');
  });
  expect(await check(port)).toEqual({ ok: true });
  await until('the end of the connection', () => isClosed);
});

test('an aborted check ends at once and leaves no connection', async () => {
  const port = await tcpServer(() => undefined);
  const stop = new AbortController();
  const asking = check(port, { signal: stop.signal });
  await until('its connection', () => tcpSockets(['ESTABLISHED'], port).length > 0);
  stop.abort(new Error('no longer wanted'));
  await expect(asking).rejects.toThrow('no longer wanted');
  await until('the end of its connection', () => tcpSockets(['ESTABLISHED'], port).length === 0);
  await expect(check(port, { signal: stop.signal })).rejects.toThrow('no longer wanted');
});

test('a check that is aborted between two requests ends at once', async () => {
  let asked = 0;
  const port = await httpServer(() => {
    asked++;
    return 503;
  });
  const stop = new AbortController();
  const asking = check(port, { everyMs: 60_000, timeoutMs: 60_000, signal: stop.signal });
  await until('the first request', () => asked === 1);
  await until('the end of its connection', () => tcpSockets(['ESTABLISHED'], port).length === 0);
  stop.abort();
  await expect(asking).rejects.toMatchObject({ name: 'AbortError' });
});

test('a source port that somebody listens on is left out', async () => {
  const [taken = 0, free = 0] = await inARow(2);
  const seen: (number | undefined)[] = [];
  const port = await httpServer((request) => {
    seen.push(request.socket.remotePort);
    return 200;
  });
  await tcpServer(() => undefined, taken);
  expect(await check(port, { sourcePorts: { from: taken, to: free } })).toEqual({ ok: true });
  expect(seen).toEqual([free]);
  const why = `each source port from ${taken} to ${taken} is in use`;
  expect(await check(port, { sourcePorts: { from: taken, to: taken }, timeoutMs: 50 })).toEqual({
    ok: false,
    why,
  });
});

test('a source port that a connection to the same server has is left out', async () => {
  const [taken = 0, free = 0] = await inARow(2);
  const seen: (number | undefined)[] = [];
  const port = await httpServer((request) => {
    seen.push(request.socket.remotePort);
    return 200;
  });
  const address = { family: 'ipv4', host: '127.0.0.1' } as const;
  const client = openSocket('tcp', 'ipv4');
  onTestFinished(() => close(client));
  setReuseAddress(client, true);
  bind(client, { ...address, port: taken });
  expect(connectTo(client, { ...address, port })).toBe(0);
  expect(await check(port, { sourcePorts: { from: taken, to: free } })).toEqual({ ok: true });
  expect(seen).toEqual([free]);
});

test('the ports are used in turn', async () => {
  const sourcePorts = await sourcePortsOf(3);
  const seen: (number | undefined)[] = [];
  const port = await httpServer((request) => {
    seen.push(request.socket.remotePort);
    return seen.length < 6 ? 503 : 200;
  });
  expect(await check(port, { sourcePorts })).toEqual({ ok: true });
  const { from } = sourcePorts;
  expect(seen).toEqual([from, from + 1, from + 2, from, from + 1, from + 2]);
});

test('an address that this machine has not is told', async () => {
  const address = { family: 'ipv4', host: '192.0.2.1', port: 80 } as const;
  const result = await check(80, { address, timeoutMs: 50 });
  expect(result).toEqual({ ok: false, why: expect.stringContaining('bind EADDRNOTAVAIL 192.0.2.1:') });
});

const SERVERS: readonly TestServer[] = [pythonHttp, goHttp, javaHttp];

for (const server of SERVERS) {
  testNeeding(server.needs as never)(
    `${server.name} has nothing to complain of, and no TIME_WAIT`,
    async () => {
      const port = await freePort();
      const started = start(server.command(port));
      await started.listening(port);
      for (let times = 0; times < 5; times++) expect(await check(port)).toEqual({ ok: true });
      await until('the end of the connections', () => tcpPort(port).sockets.length === 1);
      expect(tcpPort(port).leftovers).toEqual([]);
      started.kill();
      await started.end();
      expect(started.stderr).not.toMatch(/Traceback|Exception|reset|broken/i);
    },
  );
}

/** A check of 127.0.0.1, from one source port where no others are given. */
async function check(port: number, options: Partial<HttpCheck> = {}): ReturnType<typeof httpCheck> {
  return httpCheck({
    address: { family: 'ipv4', host: '127.0.0.1', port },
    path: '/',
    sourcePorts: options.sourcePorts ?? (await sourcePortsOf(1)),
    timeoutMs: 10_000,
    everyMs: 5,
    ...options,
  });
}

async function sourcePortsOf(count: number): Promise<PortRange> {
  const [from = 0] = await inARow(count);
  return { from, to: from + count - 1 };
}

/** Free ports that follow on each other. */
async function inARow(count: number): Promise<readonly number[]> {
  for (;;) {
    const ports = (await freePorts(count)).toSorted((one, other) => one - other);
    if (ports.every((port, at) => port === (ports[0] ?? 0) + at)) return ports;
  }
}

function httpServer(answer: (request: IncomingMessage) => number): Promise<number> {
  const server = createServer((request, response) => response.writeHead(answer(request)).end('text'));
  return listening(server);
}

function tcpServer(connected: (socket: Socket) => void, port?: number): Promise<number> {
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined).resume();
    connected(socket);
  });
  return listening(server, port);
}

/** A listener with a client in its queue, which has room for one. */
async function fullListener(): Promise<number> {
  const address = { family: 'ipv4', host: '127.0.0.1', port: await freePort() } as const;
  const [fd, client] = [streamSocket('ipv4'), openSocket('tcp', 'ipv4')];
  onTestFinished(() => [fd, client].forEach(close));
  bind(fd, address);
  listen(fd, 0);
  expect(connectTo(client, address)).toBe(0);
  await until('the full queue', () => acceptQueueLength(fd) === 1);
  return address.port;
}

/** The port, on 127.0.0.1, until the test is over. */
async function listening(server: Server, at?: number): Promise<number> {
  const port = at ?? (await freePort());
  server.listen(port, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  return port;
}
