import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { inside } from './inside.js';

const RANGE = 'net/ipv4/ip_local_port_range';
/** setsockopt's and bind's failures come as -errno. */
const EACCES = -13;
const EADDRINUSE = -98;

testNeeding('netns')('a new network namespace is empty, and sockets from before stay in theirs', async () => {
  const told = await inside(
    ['netns', 'lab-socket', 'procfs'],
    `
    import { readFileSync } from 'node:fs';
    const { openSocket, bindTo, listenWith, connectTo } = kernel;
    const at = { family: 'ipv4', host: '127.0.0.1', port: 7000 };
    const devices = () => readFileSync('/proc/net/dev', 'utf8').match(/^ *\\w+(?=:)/gm).map((name) => name.trim());
    const listener = openSocket('tcp', 'ipv4');
    const earlier = openSocket('tcp', 'ipv4');
    bindTo(listener, at);
    listenWith(listener, 8);
    const before = kernel.networkNamespace('self');
    kernel.enterNewNetworkNamespace();
    const fd = openSocket('tcp', 'ipv4');
    tell({
      isNew: kernel.networkNamespace('self') !== before,
      devices: devices(),
      bound: bindTo(fd, at),
      reached: connectTo(earlier, at),
    });`,
  );
  expect(told).toEqual({ isNew: true, devices: ['lo'], bound: 0, reached: 0 });
});

testNeeding('netns')('a setting is that of the namespace alone', async () => {
  const ours = readFileSync(`/proc/sys/${RANGE}`, 'utf8');
  const told = await inside(
    ['netns'],
    `
    import { readFileSync } from 'node:fs';
    const { enterNewNetworkNamespace, setSysctl } = kernel;
    const range = () => readFileSync('/proc/sys/${RANGE}', 'utf8').trim().split(/\\s+/).map(Number);
    enterNewNetworkNamespace();
    setSysctl('${RANGE}', '7000 7003');
    const first = range();
    enterNewNetworkNamespace();
    tell({
      first,
      isOther: range()[0] !== 7000,
      backwards: codeOf(() => setSysctl('${RANGE}', '7003 7000')),
      unknown: codeOf(() => setSysctl('net/ipv4/tcp_nonsense', '1')),
    });`,
  );
  expect(told).toEqual({ first: [7000, 7003], isOther: true, backwards: 'EINVAL', unknown: 'ENOENT' });
  expect(readFileSync(`/proc/sys/${RANGE}`, 'utf8')).toBe(ours);
});

testNeeding(['netns', 'root'])(
  'a socket belongs to the user that made it, and the next one to us',
  async () => {
    const told = await inside(
      ['netns', 'lab-socket', 'sock-diag'],
      `
    const open = () => {
      const fd = kernel.openSocket('tcp', 'ipv4');
      kernel.bindTo(fd, { family: 'ipv4', host: '127.0.0.1', port: 0 });
      kernel.listenWith(fd, 1);
      return kernel.tcpListeners(kernel.nameOf(fd).port)[0].uid;
    };
    const theirs = kernel.withSocketOwner(1000, open);
    const after = open();
    const thrown = codeOf(() => kernel.withSocketOwner(1000, () => { throw { code: 'thrown' }; }));
    tell({ theirs, after, thrown, afterThrown: open() });`,
    );
    expect(told).toEqual({ theirs: 1000, after: 0, thrown: 'thrown', afterThrown: 0 });
  },
);

testNeeding(['netns', 'root'])(
  'without capabilities a low port is refused, and with them it is taken again',
  async () => {
    const told = await inside(
      ['netns', 'lab-socket'],
      `
    const at = { family: 'ipv4', host: '127.0.0.1', port: 80 };
    const fd = kernel.openSocket('tcp', 'ipv4');
    const weak = kernel.withoutCapabilities(1000, () => kernel.bindTo(fd, at));
    const thrown = codeOf(() => kernel.withoutCapabilities(1000, () => { throw { code: 'thrown' }; }));
    const strong = kernel.bindTo(fd, at);
    tell({ weak, thrown, strong, second: kernel.bindTo(kernel.openSocket('tcp', 'ipv4'), at) });`,
      { sysctls: { 'net.ipv4.ip_unprivileged_port_start': '1024' } },
    );
    expect(told).toEqual({ weak: EACCES, thrown: 'thrown', strong: 0, second: EADDRINUSE });
  },
);
