import { expect, test } from 'vitest';
import { walkSockets } from '../../src/kernel/fd-walk.js';
import { testNeeding } from '../support/needing.js';
import { inside } from './inside.js';
import { SURVIVOR } from './survivor.js';

const MODULES = ['socket-calls', 'sock-diag', 'fd-walk', 'netns', 'libc', 'fd'];

const LISTENER = `
  import { spawn } from 'node:child_process';
  import { once } from 'node:events';
  const { openSocket, bindTo, listenWith, closeFd, walkSockets } = kernel;
  const PORT = 7000;
  const listenAt = (port) => {
    const fd = openSocket('tcp', 'ipv4');
    bindTo(fd, { family: 'ipv4', host: '127.0.0.1', port });
    listenWith(fd, 8);
    return fd;
  };
  const inodeOf = (port) => kernel.tcpListeners(port)[0].inode;
  const holdersOf = (port) => walkSockets(new Set([inodeOf(port)])).holders.get(inodeOf(port)) ?? [];`;

testNeeding('netns')('every process and number by which a socket is open is found', async () => {
  const told = await inside(
    MODULES,
    `${LISTENER}
    const fd = listenAt(PORT);
    const copy = kernel.duplicate(fd, 100);
    const child = spawn('cat', [], { stdio: ['pipe', 'pipe', fd, fd] });
    child.stdin.write('up\\n');
    await once(child.stdout, 'data');
    const others = [listenAt(PORT + 1), listenAt(PORT + 2)];
    const byPid = (one, other) => one.pid - other.pid || one.fd - other.fd;
    const found = holdersOf(PORT).toSorted(byPid);
    const expected = [[process.pid, fd], [process.pid, copy], [child.pid, 2], [child.pid, 3]].map(([pid, fd]) => ({ pid, fd })).sort(byPid);
    const inodes = new Set([inodeOf(PORT), inodeOf(PORT + 2), 1]);
    const { holders } = walkSockets(inodes);
    child.kill('SIGKILL');
    tell({ found, expected, keys: [...holders.keys()].length, second: holders.get(inodeOf(PORT + 2)), fd: others[1], self: process.pid });`,
  );
  const { found, expected, keys, second, fd, self } = told as Record<string, unknown>;
  expect(found).toEqual(expected);
  expect(keys).toBe(2);
  expect(second).toEqual([{ pid: self, fd }]);
});

testNeeding('netns')('a socket is found among more fds than one read of their names gives', async () => {
  const told = await inside(
    MODULES,
    `${LISTENER}
    const fd = listenAt(PORT);
    const copies = Array.from({ length: 1500 }, () => kernel.duplicate(fd));
    const found = holdersOf(PORT);
    tell({ count: found.length, same: found.map(({ fd }) => fd).sort().join() === [fd, ...copies].sort().join() });`,
  );
  expect(told).toEqual({ count: 1501, same: true });
});

testNeeding('netns')('a process that lives on without its first thread still has its sockets', async () => {
  const told = await inside(
    MODULES,
    `${LISTENER}
    ${SURVIVOR}
    const { child, fd } = await survivor(PORT);
    const found = holdersOf(PORT);
    child.kill('SIGKILL');
    tell({ found, pid: child.pid, fd, isFirst: found[0]?.thread === child.pid });`,
  );
  const { found, pid, fd, isFirst } = told as Record<string, unknown>;
  expect(found).toEqual([{ pid, fd, thread: expect.any(Number) }]);
  expect(isFirst).toBe(false);
});

testNeeding(['netns', 'root'])('processes of others are hidden, and kernel threads are not', async () => {
  const told = await inside(
    [...MODULES, 'procfs'],
    `${LISTENER}
    const fd = listenAt(PORT);
    const child = spawn('sleep', ['100'], { stdio: ['ignore', 'ignore', 'ignore', fd] });
    const inodes = new Set([inodeOf(PORT)]);
    const { holders, hiddenPids } = kernel.withoutCapabilities(1000, () => walkSockets(inodes));
    child.kill('SIGKILL');
    const stats = hiddenPids.map((pid) => kernel.processStat(pid)).filter((stat) => stat !== undefined);
    tell({
      sees: [...(holders.get(inodeOf(PORT)) ?? [])].some(({ pid }) => pid === child.pid),
      hidesChild: hiddenPids.includes(child.pid),
      kernelThreads: stats.filter(({ isKernelThread }) => isKernelThread).length,
    });`,
  );
  expect(told).toEqual({ sees: false, hidesChild: true, kernelThreads: 0 });
});

test('without an inode nothing is looked for', () => {
  for (const inodes of [new Set<number>(), new Set([0])]) {
    expect(walkSockets(inodes)).toEqual({ holders: new Map(), hiddenPids: [], skipped: 0 });
  }
});

testNeeding('netns')(
  'a walk ends when its time is over, and tells how many it did not look into',
  async () => {
    const told = await inside(
      MODULES,
      `${LISTENER}
    const fd = listenAt(PORT);
    const others = Array.from({ length: 1500 }, () => kernel.duplicate(fd));
    // Its fds do not come in one read, and the time is over by the second.
    const { holders, skipped } = walkSockets(new Set([inodeOf(PORT)]), 0.000_001);
    const whole = walkSockets(new Set([inodeOf(PORT)]));
    tell({ seen: [...holders.values()].flat().length, skipped: skipped > 0, whole: whole.skipped });`,
    );
    expect(told).toEqual({ seen: 0, skipped: true, whole: 0 });
  },
);
