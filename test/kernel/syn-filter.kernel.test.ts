import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { unacknowledgedBytes } from '../../src/kernel/send-queue.js';
import { dropSyns, takeSyns } from '../../src/kernel/syn-filter.js';

for (const host of ['127.0.0.1', '::1']) {
  test(`a listening socket at ${host} answers no SYN until it may, and its connections go on`, async () => {
    const server = createServer((socket) => socket.pipe(socket)).listen(0, host);
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const before = open(port, host);
    await once(before, 'connect');
    dropSyns(fdOf(server));
    const after = open(port, host);
    before.write('still here');
    expect(String((await once(before, 'data'))[0])).toBe('still here');
    expect(after.connecting).toBe(true);
    takeSyns(fdOf(server));
    // The kernel sends its SYN again after a second.
    await once(after, 'connect');
  });
}

test('to take SYNs where none are dropped is an error', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  expect(() => takeSyns(fdOf(server))).toThrow(expect.objectContaining({ code: 'ENOENT' }));
});

test('what a peer has not acknowledged is counted', async () => {
  const server = createServer((socket) => socket.pause()).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const socket = open((server.address() as AddressInfo).port, '127.0.0.1');
  await once(socket, 'connect');
  expect(unacknowledgedBytes(fdOf(socket))).toBe(0);
  socket.write(Buffer.alloc(50_000_000));
  expect(unacknowledgedBytes(fdOf(socket))).toBeGreaterThan(0);
});

function open(port: number, host: string): Socket {
  const socket = connect(port, host);
  onTestFinished(() => void socket.destroy());
  return socket;
}

function fdOf(owner: Server | Socket): number {
  return (owner as unknown as { readonly _handle: { readonly fd: number } })._handle.fd;
}
