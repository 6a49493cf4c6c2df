import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { expect, onTestFinished } from 'vitest';
import { inNetworkNamespace, networkNamespaces } from '../../src/kernel/netns.js';
import { tcpListeners } from '../../src/kernel/sock-diag.js';
import { testNeeding } from '../support/needing.js';
import { inside } from './inside.js';

const RANGE = 'net/ipv4/ip_local_port_range';
/** setsockopt's and bind's failures come as -errno. */
const EACCES = -13;
const EADDRINUSE = -98;

testNeeding('netns')('a new network namespace is empty, and sockets from before stay in theirs', async () => {
  const told = await inside(
    ['netns', 'socket-calls', 'procfs'],
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
      ['netns', 'socket-calls', 'sock-diag'],
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
      ['netns', 'socket-calls'],
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

const ELSEWHERE = `
  import { spawn } from 'node:child_process';
  import { once } from 'node:events';
  const { openSocket, bindTo, listenWith, inNetworkNamespace, networkNamespaces, tcpListeners } = kernel;
  const listenAt = (port) => {
    const fd = openSocket('tcp', 'ipv4');
    bindTo(fd, { family: 'ipv4', host: '0.0.0.0', port });
    listenWith(fd, 8);
  };
  const ports = () => tcpListeners().map(({ local }) => local.port);
  // Stays where we are, while we go on to a new one.
  const stay = async () => {
    const child = spawn('sh', ['-c', 'echo up; exec sleep 100']);
    await once(child.stdout, 'data');
    return child;
  };
  const self = () => kernel.networkNamespace('self');`;

testNeeding('netns')(
  'work in another network namespace sees its sockets, and the thread is home again after it',
  async () => {
    const told = await inside(
      ['netns', 'socket-calls', 'procfs', 'sock-diag'],
      `${ELSEWHERE}
      listenAt(7000);
      const child = await stay();
      const there = self();
      kernel.enterNewNetworkNamespace();
      const home = self();
      const path = '/proc/' + child.pid + '/ns/net';
      const seen = inNetworkNamespace(path, () => ({ ports: ports(), there: self() === there }));
      inNetworkNamespace(path, () => listenAt(7001));
      const thrown = codeOf(() => inNetworkNamespace(path, () => { throw { code: 'thrown' }; }));
      const after = { ports: ports(), home: self() === home };
      const both = inNetworkNamespace(path, ports).sort();
      child.kill('SIGKILL');
      await once(child, 'exit');
      const ended = codeOf(() => inNetworkNamespace(path, ports));
      const other = codeOf(() => inNetworkNamespace('/proc/self/ns/pid', ports));
      tell({ seen, thrown, after, both, ended, other, home: self() === home });`,
    );
    expect(told).toEqual({
      seen: { ports: [7000], there: true },
      thrown: 'thrown',
      after: { ports: [], home: true },
      both: [7000, 7001],
      ended: 'ENOENT',
      other: 'EINVAL',
      home: true,
    });
  },
);

testNeeding('netns')('the network namespaces of processes are told, our own one as such', async () => {
  const told = await inside(
    ['netns', 'socket-calls', 'procfs', 'sock-diag'],
    `${ELSEWHERE}
    const children = [];
    for (let i = 0; i < 5; i++) children.push(await stay());
    kernel.enterNewNetworkNamespace();
    const { namespaces } = networkNamespaces();
    const theirs = namespaces.filter(({ pids }) => pids.includes(children[0].pid));
    const own = namespaces.filter(({ isOwn }) => isOwn);
    const inode = kernel.networkNamespace(children[0].pid);
    for (const child of children) child.kill('SIGKILL');
    tell({
      theirs: theirs.map(({ inode, pids, isOwn, name }) => ({ inode: 'net:[' + inode + ']', pids: pids.length, isOwn, name })),
      own: own.map(({ inode, pids, path }) => ({ inode: 'net:[' + inode + ']', pids, path })),
      expected: { theirs: inode, own: self(), pid: process.pid },
    });`,
  );
  const { theirs, own, expected } = told as {
    theirs: unknown;
    own: unknown;
    expected: { theirs: string; own: string; pid: number };
  };
  expect(theirs).toEqual([{ inode: expected.theirs, pids: 3, isOwn: false }]);
  const path = `/proc/${expected.pid}/ns/net`;
  expect(own).toEqual([{ inode: expected.own, pids: [expected.pid], path }]);
});

testNeeding(['netns', 'root'])('a network namespace that only a mount keeps has its name', async () => {
  const name = `holdfast-test-${process.pid}`;
  onTestFinished(() => void spawnSync('ip', ['netns', 'del', name]));
  expect(spawnSync('ip', ['netns', 'add', name]).status).toBe(0);
  writeFileSync(`/run/netns/${name}-file`, '');
  onTestFinished(() => rmSync(`/run/netns/${name}-file`));
  const found = networkNamespaces().namespaces.filter((namespace) => namespace.name?.startsWith(name));
  expect(found).toEqual([
    { inode: expect.any(Number), pids: [], path: `/run/netns/${name}`, name, isOwn: false },
  ]);
  expect(inNetworkNamespace(`/run/netns/${name}`, tcpListeners)).toEqual([]);
});

testNeeding(['netns', 'root'])(
  'an ordinary user is told whose namespace is hidden, and enters none',
  async () => {
    const told = await inside(
      ['netns', 'socket-calls', 'procfs', 'sock-diag'],
      `${ELSEWHERE}
    const child = await stay();
    const home = self();
    tell(kernel.withoutCapabilities(1000, () => ({
      hidden: networkNamespaces().hiddenPids.includes(child.pid),
      own: codeOf(() => inNetworkNamespace('/proc/thread-self/ns/net', ports)),
      theirs: codeOf(() => inNetworkNamespace('/proc/' + child.pid + '/ns/net', ports)),
    })));
    child.kill('SIGKILL');`,
    );
    expect(told).toEqual({ hidden: true, own: 'EPERM', theirs: 'EACCES' });
  },
);
