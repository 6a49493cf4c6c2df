import { expect } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { inside } from './inside.js';

/** A connection between two sockets of the process: `client`, `child`, `listener`. */
const CONNECTION = `
  const at = (host, port) => ({ family: host.includes(':') ? 'ipv6' : 'ipv4', host, port });
  const PORT = 7000;
  const { openSocket, bindTo, listenWith, connectTo, acceptNow, closeFd, receiveBytes } = kernel;
  const connection = (host) => {
    const address = at(host, PORT);
    const listener = openSocket('tcp', address.family);
    bindTo(listener, address);
    listenWith(listener, 8);
    const client = openSocket('tcp', address.family);
    connectTo(client, address);
    return { address, listener, client, child: acceptNow(listener) };
  };
  const bindAnew = (address) => {
    const fd = openSocket('tcp', address.family);
    const result = bindTo(fd, address);
    closeFd(fd);
    return result;
  };`;
const EADDRINUSE = -98;

testNeeding('netns')('a TIME_WAIT that is destroyed is gone, and its port is free', async () => {
  const told = await inside(
    ['lab-socket', 'sock-diag', 'sock-destroy'],
    `${CONNECTION}
    tell(['127.0.0.1', '::1', '::ffff:127.0.0.1'].map((host) => {
      const { address, listener, client, child } = connection(host);
      for (const fd of [child, client, listener]) closeFd(fd);
      const entries = () => kernel.tcpSockets(['TIME_WAIT'], PORT);
      const [entry] = entries();
      const before = [entries().length, bindAnew(address)];
      kernel.destroyTcpSocket(entry);
      return { before, after: [entries().length, bindAnew(address)] };
    }));`,
  );
  const gone = { before: [1, EADDRINUSE], after: [0, 0] };
  expect(told).toEqual([gone, gone, gone]);
});

testNeeding('netns')('a connection that is destroyed is reset at both ends', async () => {
  const told = await inside(
    ['lab-socket', 'sock-diag', 'sock-destroy'],
    `${CONNECTION}
    const { client, child } = connection('127.0.0.1');
    const [row] = kernel.tcpSockets(['ESTABLISHED'], PORT);
    kernel.destroyTcpSocket(row);
    const states = [child, client].map((fd) => kernel.tcpStateOf(fd).state);
    tell({ states, errors: [child, client].map((fd) => receiveBytes(fd, 1)) });`,
  );
  // ECONNABORTED for its own process, ECONNRESET for the other.
  expect(told).toEqual({ states: ['CLOSE', 'CLOSE'], errors: [-103, -104] });
});

testNeeding('netns')('what is not there any more, or was never, cannot be destroyed', async () => {
  const told = await inside(
    ['lab-socket', 'sock-diag', 'sock-destroy'],
    `${CONNECTION}
    const { client, child } = connection('127.0.0.1');
    for (const fd of [child, client]) closeFd(fd);
    const [entry] = kernel.tcpSockets(['TIME_WAIT'], PORT);
    const destroy = (socket) => codeOf(() => kernel.destroyTcpSocket(socket));
    // The number that a socket has for itself tells it from a later one of the same two ends.
    const other = destroy({ ...entry, cookie: entry.cookie + 1n });
    tell([other, destroy(entry), destroy(entry)]);`,
  );
  expect(told).toEqual([expect.stringMatching(/^(ENOENT|ESTALE)$/), 'ok', 'ENOENT']);
});

testNeeding(['netns', 'root'])('without CAP_NET_ADMIN nothing can be destroyed', async () => {
  const told = await inside(
    ['lab-socket', 'sock-diag', 'sock-destroy', 'netns'],
    `${CONNECTION}
    const { client, child } = connection('127.0.0.1');
    const [row] = kernel.tcpSockets(['ESTABLISHED'], PORT);
    const outcome = kernel.withoutCapabilities(1000, () => codeOf(() => kernel.destroyTcpSocket(row)));
    tell({ outcome, states: [child, client].map((fd) => kernel.tcpStateOf(fd).state) });`,
  );
  expect(told).toEqual({ outcome: 'EPERM', states: ['ESTABLISHED', 'ESTABLISHED'] });
});
