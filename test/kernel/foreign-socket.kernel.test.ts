import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ptraceScope } from '../../src/kernel/foreign-socket.js';
import { testNeeding } from '../support/needing.js';
import { inside } from './inside.js';
import { SURVIVOR } from './survivor.js';

const MODULES = ['socket-calls', 'sock-diag', 'fd-walk', 'foreign-socket', 'netns', 'libc', 'fd', 'socket'];
const NO_PID = 4_194_305;

/** `heldBy` starts a process that has the socket, and no other has it then; it gives the row of the dump and the holder. */
const FOREIGN = `
  import { spawn } from 'node:child_process';
  const PORT = 7000;
  const IPPROTO_MPTCP = 262;
  const { openSocket, bindTo, listenWith, closeFd, setOption, walkSockets, socketOptionsOf } = kernel;
  const at = (host) => ({ family: host.includes(':') ? 'ipv6' : 'ipv4', host, port: PORT });
  const heldBy = async (fd) => {
    const child = spawn('sleep', ['100'], { stdio: ['ignore', 'ignore', 'ignore', fd] });
    closeFd(fd);
    const row = kernel.tcpSockets(['LISTEN', 'CLOSE'], PORT)[0];
    const holder = { pid: child.pid, fd: 3 };
    return { child, row, holder, read: () => socketOptionsOf(holder, row.inode) };
  };
  const openWith = (host, protocol = 0) => {
    const socket = kernel.declare('int socket(int family, int type, int protocol)');
    return socket(host.includes(':') ? 10 : 2, 1 | 0o2000000, protocol);
  };
  const asText = (value) => JSON.parse(JSON.stringify(value, (_, item) => typeof item === 'bigint' ? String(item) : item));`;

testNeeding('netns')(
  "the options of another process's socket are read, and its cookie is that of the dump",
  async () => {
    const told = await inside(
      MODULES,
      `${FOREIGN}
    const results = [];
    for (const { host, reuse, reusePort, v6only, device, listens } of [
      { host: '127.0.0.1', reuse: true, listens: true },
      { host: '127.0.0.1', reusePort: true, listens: true },
      { host: '127.0.0.1', device: 'lo', listens: true },
      { host: '::', v6only: true, listens: true },
      { host: '::', listens: false },
    ]) {
      const fd = openWith(host);
      kernel.setReuseAddress(fd, reuse === true);
      kernel.setReusePort(fd, reusePort === true);
      if (v6only) kernel.setV6Only(fd, true);
      if (device) setOption(fd, 1, 25, Buffer.from('lo\\0'));
      bindTo(fd, at(host));
      if (listens) listenWith(fd, 8);
      const { child, row, read } = await heldBy(fd);
      const { cookie, ...options } = read();
      results.push({ ...options, same: cookie === row.cookie });
      child.kill('SIGKILL');
      for (let tries = 0; tries < 500 && kernel.tcpSockets(['LISTEN', 'CLOSE'], PORT).length > 0; tries++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
    tell(asText(results));`,
    );
    const plain = { reuse: false, reusePort: false, listening: true, protocol: 6, v6only: false, device: '' };
    const read = { ...plain, ok: true, same: true };
    expect(told).toEqual([
      { ...read, reuse: true },
      { ...read, reusePort: true },
      { ...read, device: 'lo' },
      { ...read, v6only: true },
      { ...read, listening: false },
    ]);
  },
);

testNeeding(['netns', 'mptcp'])(
  'an MPTCP listener tells its protocol, and another cookie than the dump',
  async () => {
    const told = await inside(
      MODULES,
      `${FOREIGN}
      const fd = openWith('127.0.0.1', IPPROTO_MPTCP);
      bindTo(fd, at('127.0.0.1'));
      listenWith(fd, 8);
      const { child, row, read } = await heldBy(fd);
      const { ok, protocol, cookie } = read();
      child.kill('SIGKILL');
      tell({ ok, protocol, same: cookie === row.cookie });`,
    );
    expect(told).toEqual({ ok: true, protocol: 262, same: false });
  },
);

testNeeding(['netns', 'root'])('why a socket may not be read is told', async () => {
  const told = await inside(
    MODULES,
    `${FOREIGN}
    const fd = openSocket('tcp', 'ipv4');
    bindTo(fd, at('127.0.0.1'));
    listenWith(fd, 8);
    const { row, holder, read } = await heldBy(fd);
    const before = kernel.isOpen(fd);
    const outcomes = {
      other: socketOptionsOf(holder, row.inode + 1),
      closed: socketOptionsOf({ ...holder, fd: 99 }, row.inode),
      gone: socketOptionsOf({ pid: ${NO_PID}, fd: 3 }, row.inode),
      noSocket: socketOptionsOf({ ...holder, fd: 0 }, row.inode),
      read: read().ok,
    };
    // For good: the kernel asks for the real user. The child is root's from now on, and the test's end kills it.
    process.setgid(1000);
    process.setuid(1000);
    tell(asText({ ...outcomes, forbidden: read(), before, after: kernel.isOpen(fd) }));`,
  );
  const no = (why: string): object => ({ ok: false, why });
  expect(told).toEqual({
    other: no('EBADF'),
    closed: no('EBADF'),
    gone: no('ESRCH'),
    forbidden: no('EPERM'),
    noSocket: no('EBADF'),
    read: true,
    before: false,
    after: false,
  });
});

testNeeding('netns')('the copy of a socket does not outlive the look at it', async () => {
  const told = await inside(
    MODULES,
    `${FOREIGN}
    const fd = openSocket('tcp', 'ipv4');
    bindTo(fd, at('127.0.0.1'));
    listenWith(fd, 8);
    const { child, read } = await heldBy(fd);
    const { ok } = read();
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    tell({ ok, left: kernel.tcpListeners(PORT).length });`,
  );
  expect(told).toEqual({ ok: true, left: 0 });
});

testNeeding('netns')('a socket of a process without its first thread is read through another', async () => {
  const told = await inside(
    MODULES,
    `${FOREIGN}
    ${SURVIVOR}
    const { child } = await survivor(PORT);
    const row = kernel.tcpListeners(PORT)[0];
    const [holder] = walkSockets(new Set([row.inode])).holders.get(row.inode);
    const through = socketOptionsOf(holder, row.inode);
    const direct = socketOptionsOf({ pid: holder.pid, fd: holder.fd }, row.inode);
    child.kill('SIGKILL');
    tell({ why: through.why ?? 'read', same: through.ok ? through.cookie === row.cookie : true, direct: direct.ok });`,
  );
  // PIDFD_THREAD came with Linux 6.9.
  expect(told).toEqual({ why: expect.stringMatching(/^(read|EINVAL)$/), same: true, direct: false });
});

test('the scope of Yama is a number where there is a Yama', () => {
  const path = '/proc/sys/kernel/yama/ptrace_scope';
  expect(ptraceScope()).toEqual(existsSync(path) ? expect.any(Number) : undefined);
});
