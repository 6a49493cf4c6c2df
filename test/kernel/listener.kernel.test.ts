import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { errorCode } from '../../src/errors.js';
import { close } from '../../src/kernel/fd.js';
import type { Fd } from '../../src/kernel/libc.js';
import { steerGroupTo } from '../../src/kernel/reuseport-group.js';
import {
  acceptQueueLength,
  bind,
  isListening,
  listen,
  refuseNewConnections,
  setReuseAddress,
  setReusePort,
  stopListening,
  streamSocket,
} from '../../src/kernel/socket.js';
import { freePort } from '../support/ports.js';
import { until } from '../support/wait.js';

/** A socket bound to 127.0.0.1 that the test closes. */
function boundSocket(port: number, { reusePort = false } = {}): Fd {
  const fd = streamSocket('ipv4');
  onTestFinished(() => close(fd));
  setReuseAddress(fd, true);
  if (reusePort) setReusePort(fd, true);
  bind(fd, { family: 'ipv4', host: '127.0.0.1', port });
  return fd;
}

async function connected(port: number): Promise<Socket> {
  const client = connect(port, '127.0.0.1');
  onTestFinished(() => void client.destroy());
  await once(client, 'connect');
  return client;
}

function codeOf(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return errorCode(error);
  }
}

test('a listener that is shut down refuses clients and keeps its port', async () => {
  const port = await freePort();
  const fd = boundSocket(port);
  listen(fd, 16);
  const queued = await connected(port);
  const reset = once(queued, 'error');
  stopListening(fd);
  expect(errorCode((await reset)[0])).toBe('ECONNRESET');
  expect(isListening(fd)).toBe(false);
  await expect(connected(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  const stranger = streamSocket('ipv4');
  onTestFinished(() => close(stranger));
  expect(codeOf(() => bind(stranger, { family: 'ipv4', host: '127.0.0.1', port }))).toBe('EADDRINUSE');
  listen(fd, 16);
  await connected(port);
  expect(acceptQueueLength(fd)).toBe(1);
});

test('SO_REUSEPORT set between bind and listen keeps a plain second bind out', async () => {
  const port = await freePort();
  const fd = boundSocket(port);
  setReusePort(fd, true);
  listen(fd, 16);
  expect(codeOf(() => boundSocket(port))).toBe('EADDRINUSE');
});

test('clearing SO_REUSEPORT after listen does not keep a member out, for listen has asked for the port again', async () => {
  const port = await freePort();
  const fd = boundSocket(port);
  setReusePort(fd, true);
  listen(fd, 16);
  setReusePort(fd, false);
  expect(codeOf(() => boundSocket(port, { reusePort: true }))).toBeUndefined();
});

test('a group with a program gives a foreign member nothing', async () => {
  const port = await freePort();
  const fd = boundSocket(port);
  setReusePort(fd, true);
  listen(fd, 128);
  steerGroupTo(fd, 0);
  const member = boundSocket(port, { reusePort: true });
  listen(member, 128);
  for (let client = 0; client < 40; client++) await connected(port);
  expect([acceptQueueLength(fd), acceptQueueLength(member)]).toEqual([40, 0]);
});

test('a program can only be attached to a listener that began in a group', async () => {
  const port = await freePort();
  const fd = boundSocket(port);
  listen(fd, 16);
  setReusePort(fd, true);
  expect(codeOf(() => steerGroupTo(fd, 0))).toBe('EINVAL');
});

test('a closed entrance lets in nobody new and loses nobody who was in', async () => {
  const port = await freePort();
  const fd = boundSocket(port);
  listen(fd, 16);
  const queued = (await connected(port)).on('error', () => undefined);
  queued.write('hello');
  refuseNewConnections(fd);
  const late = connect(port, '127.0.0.1').on('error', () => undefined);
  onTestFinished(() => void late.destroy());
  // A connection on loopback takes microseconds; this one would be there long before the first is written to again.
  await sleep(200);
  expect(late.connecting).toBe(true);
  expect(acceptQueueLength(fd)).toBe(1);
  expect(queued.errored).toBeNull();
  // Its next SYN, after a second, meets nobody.
  stopListening(fd);
  await until('the refusal', () => late.destroyed, { timeoutMs: 5_000 });
});
