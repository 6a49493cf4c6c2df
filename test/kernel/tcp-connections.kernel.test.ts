import { expect } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { inside } from './inside.js';

const MODULES = ['socket-calls', 'sock-diag', 'tcp-connections'];

/** `connection` gives both ends of one to a listener; `withoutId` what JSON can say of a row. */
const SOCKETS = `
  const { openSocket, bindTo, listenWith, connectTo, acceptNow, sendBytes, receiveBytes, shutdownFor, closeFd } = kernel;
  const { tcpConnections, sameConnections, halfOpenConnections, setOption } = kernel;
  const addressAt = (port, host = '127.0.0.1') => ({ family: host.includes(':') ? 'ipv6' : 'ipv4', host, port });
  const listenAt = (port, host) => {
    const to = addressAt(port, host);
    const fd = openSocket('tcp', to.family);
    bindTo(fd, to);
    listenWith(fd, 1024);
    return { fd, to };
  };
  const connection = ({ fd, to }) => {
    const client = openSocket('tcp', to.family);
    connectTo(client, to);
    return { client, child: acceptNow(fd) };
  };
  const counts = ({ state, receiveQueue, bytesReceived, bytesWritten }) => ({ state, receiveQueue, bytesReceived, bytesWritten });
  const until = async (look) => {
    for (let tries = 0; tries < 2000 && !look(); tries++) await new Promise((resolve) => setTimeout(resolve, 5));
    return look();
  };`;

testNeeding('netns')('queues and bytes are told, and the FIN of the peer counts as one of them', async () => {
  const told = await inside(
    MODULES,
    `${SOCKETS}
    const { client, child } = connection(listenAt(7000));
    const look = () => counts(tcpConnections([7000])[0]);
    const looks = [look()];
    sendBytes(client, 100);
    looks.push(look());
    receiveBytes(child, 100);
    sendBytes(child, 3000);
    looks.push(look());
    shutdownFor(client, 'write');
    looks.push(look());
    receiveBytes(child, 1);
    looks.push(look());
    tell(looks);`,
  );
  const counts = (receiveQueue: number, bytesReceived: number, bytesWritten: number): object => ({
    ...{ state: 'ESTABLISHED', receiveQueue, bytesReceived, bytesWritten },
  });
  expect(told).toEqual([
    counts(0, 0, 0),
    counts(100, 100, 0),
    counts(0, 100, 3000),
    { ...counts(1, 101, 3000), state: 'CLOSE_WAIT' },
    { ...counts(0, 101, 3000), state: 'CLOSE_WAIT' },
  ]);
});

testNeeding('netns')('what was written and is not sent yet counts as written', async () => {
  const told = (await inside(
    MODULES,
    `${SOCKETS}
    const { child } = connection(listenAt(7000));
    let written = 0;
    for (let sent = 1; sent > 0; written += Math.max(0, sent)) sent = sendBytes(child, 65536);
    const row = tcpConnections([7000])[0];
    tell({ ...row, written });`,
  )) as { written: number; bytesWritten: number; sendQueue: number };
  expect(told.bytesWritten).toBe(told.written);
  expect(told.sendQueue).toBeGreaterThan(0);
});

testNeeding('netns')('several ports are told at once, and none between them', async () => {
  const told = await inside(
    MODULES,
    `${SOCKETS}
    const ports = [7000, 7001, 7002, 7500, 8000, 8001];
    for (const port of ports) connection(listenAt(port));
    const inodes = new Map(ports.map((port) => [kernel.tcpSockets(['ESTABLISHED'], port)[0].inode, port]));
    const portsOf = (asked) => tcpConnections(asked).map(({ inode }) => inodes.get(inode)).sort();
    tell([[], [7001], [7000, 7002], [8000, 7500, 7000], [9000, 7001, 9001]].map(portsOf));`,
  );
  expect(told).toEqual([[], [7001], [7000, 7002], [7000, 7500, 8000], [7001]]);
});

testNeeding('netns')('a family that is not asked for is not told', async () => {
  const told = await inside(
    MODULES,
    `${SOCKETS}
    for (const host of ['127.0.0.1', '::1', '::ffff:127.0.0.2']) connection(listenAt(7000, host));
    tell([undefined, ['ipv4'], ['ipv6'], ['ipv4', 'ipv6']].map((families) => tcpConnections([7000], families).length));`,
  );
  // An IPv6 socket with an IPv4 client is one of IPv6.
  expect(told).toEqual([3, 1, 2, 3]);
});

testNeeding('netns')('the same connections are found again, those that are gone are not', async () => {
  const told = await inside(
    MODULES,
    `${SOCKETS}
    const listeners = [listenAt(7000), listenAt(7000, '::1')];
    const ends = Array.from({ length: 300 }, (_, index) => connection(listeners[index % 2]));
    const before = tcpConnections([7000]);
    for (const [index, { client, child }] of ends.entries()) {
      if (index % 3 === 0) sendBytes(client, index + 1);
      if (index % 3 === 1) closeFd(child);
    }
    const asText = (rows) => rows
      .filter(({ inode }) => inode !== 0)
      .map((row) => ({ ...counts(row), inode: row.inode, id: row.id }))
      .sort((one, other) => one.inode - other.inode);
    const again = asText(sameConnections(before));
    const all = asText(tcpConnections([7000]));
    const unlike = again.filter((row, index) => JSON.stringify(row) !== JSON.stringify(all[index]));
    tell({ before: before.length, again: again.length, all: all.length, unlike, none: sameConnections([]) });`,
  );
  expect(told).toEqual({ before: 300, again: 200, all: 200, unlike: [], none: [] });
});

testNeeding('netns')('TIME_WAIT, what listens and what is half-open are no connections', async () => {
  const told = await inside(
    MODULES,
    `${SOCKETS}
    const listener = listenAt(7000);
    const TCP_DEFER_ACCEPT = 9;
    setOption(listener.fd, 6, TCP_DEFER_ACCEPT, Buffer.from([60, 0, 0, 0]));
    const { client, child } = (() => {
      const client = openSocket('tcp', 'ipv4');
      connectTo(client, listener.to);
      sendBytes(client, 1);
      return { client, child: acceptNow(listener.fd) };
    })();
    receiveBytes(child, 1);
    closeFd(child);
    closeFd(client);
    const late = openSocket('tcp', 'ipv4');
    connectTo(late, listener.to);
    await until(() => kernel.tcpSockets(['TIME_WAIT'], 7000).length === 1);
    const halfOpen = () => halfOpenConnections([7000]).size;
    const seen = [halfOpen(), tcpConnections([7000]).length];
    sendBytes(late, 1);
    tell([...seen, halfOpen(), tcpConnections([7000]).map(({ inode, receiveQueue }) => ({ inode, receiveQueue }))]);`,
  );
  expect(told).toEqual([1, 0, 0, [{ inode: 0, receiveQueue: 1 }]]);
});
