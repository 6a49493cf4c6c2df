import { expect } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { inside } from './inside.js';

const PORT = 7000;

/** `listenAt` gives a listener, `connection` one connection to it from another host with its accepted end. */
const SOCKETS = `
  const PORT = ${PORT};
  const at = (host, port) => ({ family: host.includes(':') ? 'ipv6' : 'ipv4', host, port });
  const { openSocket, bindTo, listenWith, connectTo, acceptNow, closeFd, shutdownFor, tcpPort } = kernel;
  const bound = (host, port) => {
    const fd = openSocket('tcp', at(host, port).family);
    const result = bindTo(fd, at(host, port));
    if (result !== 0) throw new Error('bind ' + host + ' ' + port + ': ' + result);
    return fd;
  };
  const listenAt = (host, port = PORT) => {
    const fd = bound(host, port);
    listenWith(fd, 16);
    return { fd, to: at(host, port) };
  };
  const connection = ({ fd, to }, from = to.host) => {
    const client = bound(from, 0);
    connectTo(client, to);
    return { client, child: acceptNow(fd) };
  };
  const timeWait = (listener, from) => {
    const { client, child } = connection(listener, from);
    closeFd(child);
    closeFd(client);
  };
  const until = async (look) => {
    for (let tries = 0; !look(); tries++) {
      if (tries === 500) throw new Error('not so: ' + look + JSON.stringify(asText(tcpPort(PORT))));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  const asText = (view) => JSON.parse(JSON.stringify(view, (_, value) => typeof value === 'bigint' ? String(value) : value));`;

const local = (host: string, port = PORT): object => ({
  family: host.includes(':') ? 'ipv6' : 'ipv4',
  host,
  port,
});

testNeeding('netns')('what is left over is counted, with its peers and the time that it has', async () => {
  const told = await inside(
    ['socket-calls', 'sock-diag'],
    `${SOCKETS}
    const [four, six] = [listenAt('127.0.0.1'), listenAt('::1')];
    for (const host of ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5', '127.0.0.2']) timeWait(four, host);
    for (let i = 0; i < 2; i++) timeWait(six);
    const dual = listenAt('::ffff:127.0.0.9');
    timeWait(dual);
    const left = connection(four, '127.0.0.6');
    closeFd(left.child);
    for (const { fd } of [four, six, dual]) closeFd(fd);
    // Its FIN may be acknowledged late.
    await until(() => tcpPort(PORT).sockets.length === 0);
    tell(asText(tcpPort(PORT)));`,
  );
  const entry = { state: 'TIME_WAIT', interfaceIndex: 0 };
  const times = { minExpiresMs: expect.any(Number), maxExpiresMs: expect.any(Number) };
  const { sockets, leftovers } = told as { sockets: unknown[]; leftovers: Times[] };
  expect(sockets).toEqual([]);
  expect(leftovers).toHaveLength(4);
  expect(leftovers).toEqual(
    expect.arrayContaining([
      {
        ...{ ...entry, ...times, local: local('127.0.0.1'), count: 5, peerHosts: 4 },
        somePeers: [expect.any(String), expect.any(String), expect.any(String)],
      },
      { ...entry, ...times, local: local('::1'), count: 2, peerHosts: 1, somePeers: ['::1'] },
      {
        ...{ ...entry, ...times, local: local('::ffff:127.0.0.9'), count: 1, peerHosts: 1 },
        somePeers: ['::ffff:127.0.0.9'],
      },
      {
        ...{ ...entry, ...times, state: 'FIN_WAIT2', local: local('127.0.0.1'), count: 1, peerHosts: 1 },
        somePeers: ['127.0.0.6'],
      },
    ]),
  );
  for (const { minExpiresMs, maxExpiresMs } of leftovers) {
    expect(minExpiresMs).toBeGreaterThan(40_000);
    expect(minExpiresMs).toBeLessThanOrEqual(maxExpiresMs);
    expect(maxExpiresMs).toBeLessThanOrEqual(60_000);
  }
});

interface Times {
  readonly minExpiresMs: number;
  readonly maxExpiresMs: number;
}

testNeeding('netns')(
  'a FIN_WAIT2 that a process has is a socket, and so is what waits in a queue',
  async () => {
    const told = await inside(
      ['socket-calls', 'sock-diag'],
      `${SOCKETS}
    const listener = listenAt('127.0.0.1');
    const owned = connection(listener);
    shutdownFor(owned.child, 'write');
    const client = openSocket('tcp', 'ipv4');
    connectTo(client, listener.to);
    await until(() => tcpPort(PORT).sockets.some(({ state }) => state === 'FIN_WAIT2'));
    tell(asText(tcpPort(PORT)));`,
    );
    const { sockets, leftovers } = told as {
      sockets: { state: string; inode: number }[];
      leftovers: unknown;
    };
    expect(leftovers).toEqual([]);
    const states = sockets.map(({ state, inode }) => [state, inode === 0 ? 'no inode' : 'inode']);
    expect(states.sort()).toEqual([
      ['ESTABLISHED', 'no inode'],
      ['FIN_WAIT2', 'inode'],
      ['LISTEN', 'inode'],
    ]);
  },
);

testNeeding('netns')('the counts are those of the sockets one by one, however the hosts mix', async () => {
  const told = await inside(
    ['socket-calls', 'sock-diag'],
    `${SOCKETS}
    const hosts = ['127.0.0.1', '127.0.0.2', '127.0.0.3', '::1'];
    const listeners = hosts.map((host) => listenAt(host));
    for (let i = 0; i < 1200; i++) {
      const listener = listeners[i % hosts.length];
      timeWait(listener, listener.to.family === 'ipv6' ? '::1' : '127.0.1.' + (i % 7));
    }
    const counts = { one: {}, all: {} };
    for (const { local } of kernel.tcpSockets(['TIME_WAIT'], PORT)) counts.one[local.host] = (counts.one[local.host] ?? 0) + 1;
    const { leftovers } = tcpPort(PORT);
    for (const { local, count } of leftovers) counts.all[local.host] = (counts.all[local.host] ?? 0) + count;
    tell({ ...counts, groups: leftovers.length });`,
  );
  const { one, all, groups } = told as Record<'one' | 'all', Record<string, number>> & { groups: number };
  expect(all).toEqual(one);
  expect(Object.values(one).reduce((sum, count) => sum + count)).toBeGreaterThan(1000);
  expect(groups).toBe(4);
});

testNeeding(['netns', 'bound sockets'])(
  'bound sockets of the port are told, those of its neighbours are not',
  async () => {
    const told = await inside(
      ['socket-calls', 'sock-diag'],
      `${SOCKETS}
    bound('127.0.0.2', PORT);
    for (const port of [PORT - 1, PORT + 1, PORT + 2]) {
      bound('127.0.0.1', port);
      timeWait(listenAt('127.0.0.3', port));
    }
    const ports = (view) => [view.sockets, view.leftovers].map((rows) => rows.map(({ state, local }) => state + ' ' + local.port).sort());
    tell([tcpPort(PORT), tcpPort({ from: PORT, to: PORT + 1 }), tcpPort()].map(ports));`,
    );
    const all = (...ports: number[]): string[][] => [
      [...ports, PORT].sort().map((port) => `CLOSE ${port}`),
      ports.map((port) => `TIME_WAIT ${port}`),
    ];
    const listening = (ports: number[]): string[] => ports.map((port) => `LISTEN ${port}`);
    const [one, two, every] = told as [string[][], string[][], string[][]];
    expect(one).toEqual([[`CLOSE ${PORT}`], []]);
    expect(two).toEqual([[...(all(PORT + 1)[0] ?? []), ...listening([PORT + 1])], all(PORT + 1)[1]]);
    const neighbours = [PORT - 1, PORT + 1, PORT + 2];
    expect(every).toEqual([
      [...(all(...neighbours)[0] ?? []), ...listening(neighbours)],
      all(...neighbours)[1],
    ]);
  },
);
