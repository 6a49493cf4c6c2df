import { constants } from 'node:os';
import { expect, onTestFinished, test } from 'vitest';
import type { Fd } from '../../src/kernel/libc.js';
import {
  acceptNow,
  bindTo,
  closeFd,
  connectTo,
  copyFd,
  disconnect,
  isV6OnlyNow,
  limitConnect,
  listenWith,
  nameOf,
  openSocket,
  receiveBytes,
  sendBytes,
  setOption,
  shutdownFor,
  tcpStateOf,
} from '../../src/kernel/socket-calls.js';
import type { InetAddress } from '../../src/model/address.js';
import { freePort } from '../support/ports.js';
import { until } from '../support/wait.js';

const { errno } = constants;

function socket(protocol: 'tcp' | 'udp' = 'tcp', family: InetAddress['family'] = 'ipv4'): Fd {
  return owned(openSocket(protocol, family));
}

/** Closed at the end of the test. */
function owned(fd: Fd): Fd {
  if (fd < 0) throw new Error(`no socket: errno ${-fd}`);
  onTestFinished(() => void closeFd(fd));
  return fd;
}

/** A listener on a free port of 127.0.0.1. */
async function listener(backlog = 8): Promise<{ readonly fd: Fd; readonly at: InetAddress }> {
  const at: InetAddress = { family: 'ipv4', host: '127.0.0.1', port: await freePort() };
  const fd = socket();
  expect([bindTo(fd, at), listenWith(fd, backlog)]).toEqual([0, 0]);
  return { fd, at };
}

test('a failure is the negative errno, nothing is thrown', async () => {
  const { fd, at } = await listener();
  const other = socket();
  expect(bindTo(other, at)).toBe(-errno.EADDRINUSE);
  expect(acceptNow(other)).toBe(-errno.EINVAL);
  expect(acceptNow(fd)).toBe(-errno.EAGAIN);
  expect(connectTo(fd, at)).toBe(-errno.EISCONN);
  expect(shutdownFor(other, 'write')).toBe(-errno.ENOTCONN);
  expect(sendBytes(other, 1)).toBe(-errno.EPIPE);
  expect(receiveBytes(other, 1)).toBe(-errno.ENOTCONN);
  expect(setOption(other, 0xffff, 1, Buffer.alloc(4))).toBe(-errno.ENOPROTOOPT);
  expect(listenWith(socket('udp'), 1)).toBe(-errno.EOPNOTSUPP);
  expect(closeFd(9_999)).toBe(-errno.EBADF);
  expect(connectTo(other, { ...at, port: await freePort() })).toBe(-errno.ECONNREFUSED);
});

test('a connection is told by its states and by the queue of its listener', async () => {
  const { fd, at } = await listener();
  expect(tcpStateOf(fd)).toEqual({ state: 'LISTEN', waiting: 0 });
  const client = socket();
  expect(tcpStateOf(client)).toEqual({ state: 'CLOSE', waiting: 0 });
  expect(connectTo(client, at)).toBe(0);
  expect(tcpStateOf(client)).toEqual({ state: 'ESTABLISHED', waiting: 0 });
  await until('the client in the queue', () => tcpStateOf(fd).waiting === 1);
  const child = owned(acceptNow(fd));
  expect(tcpStateOf(fd).waiting).toBe(0);
  expect(receiveBytes(child, 10)).toBe(-errno.EAGAIN);
  expect(sendBytes(client, 3)).toBe(3);
  await until('the bytes', () => receiveBytes(child, 10) === 3);
  expect(shutdownFor(client, 'write')).toBe(0);
  await until('the end of the other', () => tcpStateOf(child).state === 'CLOSE_WAIT');
  expect(receiveBytes(child, 1)).toBe(0);
  expect(disconnect(client)).toBe(0);
  expect(tcpStateOf(client).state).toBe('CLOSE');
  await until('the reset', () => tcpStateOf(child).state === 'CLOSE');
});

test('a socket that was copied lives until the copy is closed', async () => {
  const { fd, at } = await listener();
  const copy = copyFd(fd);
  closeFd(fd);
  const again = socket();
  expect(bindTo(again, at)).toBe(-errno.EADDRINUSE);
  closeFd(copy);
  expect(bindTo(again, at)).toBe(0);
});

test.each<[InetAddress['family'], string]>([
  ['ipv4', '0.0.0.0'],
  ['ipv4', '127.0.0.2'],
  ['ipv6', '::'],
  ['ipv6', '::1'],
  ['ipv6', '::ffff:127.0.0.1'],
])('an %s socket bound to %s is named so', async (family, host) => {
  const fd = socket('tcp', family);
  const empty = family === 'ipv4' ? '0.0.0.0' : '::';
  expect(nameOf(fd)).toEqual({ family, host: empty, port: 0 });
  const port = await freePort();
  expect(bindTo(fd, { family, host, port })).toBe(0);
  expect(nameOf(fd)).toEqual({ family, host, port });
});

test('IPV6_V6ONLY is told, and off for IPv4', async () => {
  const six = socket('tcp', 'ipv6');
  expect([isV6OnlyNow(six), isV6OnlyNow(socket())]).toEqual([false, false]);
  bindTo(six, { family: 'ipv6', host: '::1', port: 0 });
  expect(isV6OnlyNow(six)).toBe(true);
});

test('a connect that nobody answers ends after its time with EINPROGRESS', async () => {
  // A queue for one connection: the SYN of the next one is dropped.
  const { fd, at } = await listener(0);
  expect(connectTo(socket(), at)).toBe(0);
  await until('the full queue', () => tcpStateOf(fd).waiting === 1);
  const late = socket();
  expect(limitConnect(late, 100)).toBe(0);
  expect(connectTo(late, at)).toBe(-errno.EINPROGRESS);
});
