import { once } from 'node:events';
import { connect, createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { close } from '../../src/kernel/fd.js';
import { tcpListeners, tcpSockets } from '../../src/kernel/sock-diag.js';
import { bind, listen, socketInode, streamSocket } from '../../src/kernel/socket.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { listeners } from '../support/proc.js';
import { until } from '../support/wait.js';
import { inside } from './inside.js';

test.each<[ListenOptions, { family: string; host: string; v6only: boolean }]>([
  [{ host: '127.0.0.1' }, { family: 'ipv4', host: '127.0.0.1', v6only: false }],
  [{ host: '0.0.0.0' }, { family: 'ipv4', host: '0.0.0.0', v6only: false }],
  // The kernel sets the flag by itself for one address: inet6_bind() in net/ipv6/af_inet6.c
  [{ host: '::1' }, { family: 'ipv6', host: '::1', v6only: true }],
  [{ host: '::' }, { family: 'ipv6', host: '::', v6only: false }],
  [
    { host: '::', ipv6Only: true },
    { family: 'ipv6', host: '::', v6only: true },
  ],
])('a listener at %o is told as it is', async (options, { family, host, v6only }) => {
  const port = await freePort();
  await listening({ ...options, port, backlog: 7 });
  expect(tcpListeners(port)).toEqual([
    {
      state: 'LISTEN',
      local: { family, host, port },
      peer: { family, host: family === 'ipv4' ? '0.0.0.0' : '::', port: 0 },
      interfaceIndex: 0,
      v6only,
      receiveQueue: 0,
      sendQueue: 7,
      uid: process.getuid?.(),
      inode: listeners(port)[0]?.inode,
      cookie: expect.any(BigInt),
      timer: null,
      shutdown: 0,
      cgroupId: expect.any(BigInt),
    },
  ]);
});

test('the receive queue of a listener is its accept queue', async () => {
  const port = await freePort();
  const fd = streamSocket('ipv4');
  onTestFinished(() => close(fd));
  bind(fd, { family: 'ipv4', host: '127.0.0.1', port });
  listen(fd, 16);
  for (let clients = 1; clients <= 3; clients++) {
    await connected(port);
    await until('the client in the queue', () => tcpListeners(port)[0]?.receiveQueue === clients);
  }
});

test('connections are told from both ends, by state', async () => {
  const port = await freePort();
  const accepted: Socket[] = [];
  await listening({ host: '127.0.0.1', port }, (socket) => accepted.push(socket));
  const client = await connected(port);
  await until('the connection', () => accepted.length === 1);
  const [atServer, ...others] = tcpSockets(['ESTABLISHED'], port);
  expect(others).toEqual([]);
  expect(atServer?.peer.port).toBe(client.localPort);
  expect(tcpSockets(['ESTABLISHED'], client.localPort)[0]?.peer.port).toBe(port);
  accepted[0]?.end();
  client.end();
  await until('its TIME_WAIT', () => tcpSockets(['TIME_WAIT'], port).length === 1);
  expect(tcpSockets(['TIME_WAIT'], port)[0]?.inode).toBe(0);
  expect(tcpSockets(['ESTABLISHED'], port)).toEqual([]);
});

test('a port without a listener has none, and its neighbours do not count', async () => {
  const port = await freePort();
  expect(tcpListeners(port)).toEqual([]);
  await listening({ host: '127.0.0.1', port });
  expect(tcpListeners(port + 1).filter((socket) => socket.local.port === port)).toEqual([]);
  expect(tcpListeners(port - 1).filter((socket) => socket.local.port === port)).toEqual([]);
});

test('many listeners are all told, though no one message of the kernel holds them', () => {
  const fds = Array.from({ length: 600 }, () => streamSocket('ipv4'));
  onTestFinished(() => fds.forEach(close));
  for (const fd of fds) {
    bind(fd, { family: 'ipv4', host: '127.0.0.1', port: 0 });
    listen(fd, 1);
  }
  const told = new Set(tcpListeners().map(({ inode }) => inode));
  expect(fds.filter((fd) => !told.has(socketInode(fd)))).toEqual([]);
});

testNeeding('netns')('a socket tells what its timer is for, and which directions are over', async () => {
  const told = await inside(
    ['socket-calls', 'sock-diag'],
    `
    const PORT = 7000;
    const SOL_SOCKET = 1;
    const SO_KEEPALIVE = 9;
    const to = { family: 'ipv4', host: '127.0.0.1', port: PORT };
    const { openSocket, bindTo, listenWith, connectTo, acceptNow, closeFd, setOption, nameOf } = kernel;
    const number = (value) => Buffer.from(new Int32Array([value]).buffer);
    const open = () => openSocket('tcp', 'ipv4');
    const listener = open();
    bindTo(listener, to);
    listenWith(listener, 0);
    const connection = () => {
      const client = open();
      connectTo(client, to);
      return { client, child: acceptNow(listener) };
    };
    const told = {};
    const see = async (name, fd, wanted) => {
      const { port } = nameOf(fd);
      const row = () => kernel.tcpSockets(kernel.ALL_STATES, port)[0];
      for (let tries = 0; tries < 500 && !wanted(row()); tries++) await new Promise((resolve) => setTimeout(resolve, 10));
      const { state, timer, shutdown } = row();
      told[name] = { state, timer, shutdown };
    };

    const kept = connection();
    setOption(kept.client, SOL_SOCKET, SO_KEEPALIVE, number(1));
    await see('kept', kept.client, ({ timer }) => timer !== null);

    const full = connection();
    for (let sends = 0; sends < 1000 && kernel.sendBytes(full.client, 65536) > 0; sends++);
    await see('full', full.client, ({ timer }) => timer?.kind === 'probe');

    const half = connection();
    kernel.shutdownFor(half.client, 'write');
    await see('half', half.client, ({ state }) => state === 'FIN_WAIT2');
    const other = kernel.tcpSockets(['CLOSE_WAIT'], PORT)[0];
    told.other = { state: other.state, timer: other.timer, shutdown: other.shutdown };

    const waiting = open();
    connectTo(waiting, to);
    const refused = open();
    kernel.limitConnect(refused, 20);
    connectTo(refused, to);
    await see('refused', refused, () => true);
    tell(told);`,
  );
  const expires = expect.any(Number);
  expect(told).toEqual({
    kept: { state: 'ESTABLISHED', timer: { kind: 'keepalive', expiresMs: expires }, shutdown: 0 },
    full: { state: 'ESTABLISHED', timer: { kind: 'probe', expiresMs: expires }, shutdown: 0 },
    half: { state: 'FIN_WAIT2', timer: null, shutdown: 2 },
    other: { state: 'CLOSE_WAIT', timer: null, shutdown: 1 },
    refused: { state: 'SYN_SENT', timer: { kind: 'retransmit', expiresMs: expires }, shutdown: 0 },
  });
  const { kept } = told as { kept: { timer: { expiresMs: number } } };
  expect(kept.timer.expiresMs).toBeGreaterThan(7_000_000);
  expect(kept.timer.expiresMs).toBeLessThanOrEqual(7_200_000);
});

async function listening(options: ListenOptions, accept?: (socket: Socket) => void): Promise<Server> {
  const server = createServer(accept).listen(options);
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  return server;
}

async function connected(port: number): Promise<Socket> {
  const client = connect(port, '127.0.0.1');
  onTestFinished(() => void client.destroy());
  await once(client, 'connect');
  return client;
}
