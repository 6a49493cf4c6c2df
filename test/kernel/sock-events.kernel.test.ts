import { expect } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { inside } from './inside.js';

const MODULES = ['socket-calls', 'sock-diag', 'sock-events', 'poller', 'netns'];

/** `connection` gives the fds of a listener, a client and the accepted end; `until` reads events until it has enough. */
const EVENTS = `
  const PORT = 7000;
  const { openSocket, bindTo, listenWith, connectTo, acceptNow, closeFd, readDestroyed } = kernel;
  const listenAt = (host) => {
    const address = { family: host.includes(':') ? 'ipv6' : 'ipv4', host, port: PORT };
    const listener = openSocket('tcp', address.family);
    bindTo(listener, address);
    listenWith(listener, 8);
    return { listener, address };
  };
  const connect = ({ listener, address }) => {
    const client = openSocket('tcp', address.family);
    connectTo(client, address);
    return [client, acceptNow(listener)];
  };
  const sleep = () => new Promise((resolve) => setTimeout(resolve, 10));
  const read = async (fd, enough) => {
    const all = { sockets: [], overrun: false };
    for (let tries = 0; tries < 300 && !enough(all); tries++) {
      const { sockets, overrun } = readDestroyed(fd);
      all.sockets.push(...sockets);
      all.overrun ||= overrun;
      await sleep();
    }
    return all;
  };
  const named = (sockets) => sockets.map(({ local, peer, cookie }) => [local.host, local.port, peer.host, peer.port, String(cookie)].join(' ')).sort();
  const rows = (host) => kernel.tcpSockets(['ESTABLISHED', 'LISTEN']).filter(({ local }) => local.host === host);`;

testNeeding('netns')(
  'every TCP socket that ends is told, with the cookie that it had in a dump',
  async () => {
    const told = await inside(
      MODULES,
      `${EVENTS}
    const fd = kernel.subscribeToDestroyed();
    const results = [];
    for (const host of ['127.0.0.1', '::1']) {
      const at = listenAt(host);
      const fds = [...connect(at), at.listener];
      const before = rows(host);
      const early = readDestroyed(fd).sockets.length;
      fds.forEach(closeFd);
      const { sockets, overrun } = await read(fd, ({ sockets }) => sockets.length >= before.length);
      const states = [...new Set(sockets.map(({ state, inode }) => state + ' ' + inode))];
      results.push({ count: before.length, early, overrun, states, same: named(sockets).join() === named(before).join() });
    }
    tell(results);`,
    );
    const each = { count: 3, early: 0, overrun: false, states: ['CLOSE 0'], same: true };
    expect(told).toEqual([each, each]);
  },
);

testNeeding('netns')('a poller calls back when a socket has ended', async () => {
  const told = await inside(
    MODULES,
    `${EVENTS}
    const fd = kernel.subscribeToDestroyed();
    const poller = new kernel.Poller();
    const { listener } = listenAt('127.0.0.1');
    const ended = new Promise((resolve) => poller.add(fd, () => resolve(readDestroyed(fd).sockets)));
    closeFd(listener);
    const sockets = await ended;
    poller.close();
    tell(sockets.map(({ local }) => local.port));`,
  );
  expect(told).toEqual([7000]);
});

testNeeding(['netns', 'root'])('without capabilities the ends of sockets are told too', async () => {
  const told = await inside(
    MODULES,
    `${EVENTS}
    const { listener } = listenAt('127.0.0.1');
    const fd = kernel.withoutCapabilities(1000, kernel.subscribeToDestroyed);
    closeFd(listener);
    tell((await read(fd, ({ sockets }) => sockets.length > 0)).sockets.length);`,
  );
  expect(told).toBe(1);
});

testNeeding('netns')(
  'when more ends than is read, that is told, and what ends later is told again',
  async () => {
    const told = await inside(
      MODULES,
      `${EVENTS}
    const fd = kernel.subscribeToDestroyed();
    const at = listenAt('127.0.0.1');
    for (let i = 0; i < 2000; i++) connect(at).forEach(closeFd);
    const first = await read(fd, ({ overrun }) => overrun);
    // The kernel's own queue of them may not be empty yet.
    for (let quiet = 0; quiet < 20; quiet = readDestroyed(fd).sockets.length === 0 ? quiet + 1 : 0) await sleep();
    closeFd(at.listener);
    const later = await read(fd, ({ sockets }) => sockets.length > 0);
    tell({ some: first.sockets.length < 4000, overrun: first.overrun, later: later.sockets.length, again: later.overrun });`,
    );
    expect(told).toEqual({ some: true, overrun: true, later: 1, again: false });
  },
);
