import { once } from 'node:events';
import { chmodSync, copyFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { bodyOf, pidOf } from './http.js';
import { testNeeding } from './needing.js';
import { freePort, freePorts } from './ports.js';
import { descendantsOf, isAlive, listeners, listeningInode, openFiles } from './proc.js';
import { type Started, start } from './process.js';
import { goHttp, nodeHttpOn, servers, staticHttp, type TestServer, trap, trapPath } from './servers.js';
import { temporaryFolder } from './temporary.js';
import { until } from './wait.js';

for (const server of servers) {
  testNeeding(server.needs)(`${server.name} serves its port and names the process that answers`, async () => {
    const port = await freePort();
    const started = start(server.command(port));
    await started.listening(port);
    if (server.name === 'python') return expect(await bodyOf(port)).toContain('Directory listing');
    const pid = await pidOf(port);
    expect([started.pid, ...descendantsOf(started.pid)]).toContain(pid);
  });
}

for (const version of ['node22', 'node24'] as const) {
  testNeeding(version)(`${version} is what it says`, async () => {
    const [program = ''] = nodeHttpOn(version).command(0);
    const started = start([program, '--version']);
    await started.end();
    expect(started.stdout).toMatch(version === 'node22' ? /^v22\./ : /^v24\./);
  });
}

testNeeding('go')('Go listens on both families', async () => {
  const { port } = await serve(goHttp);
  expect(await pidOf(port)).toBe(await pidOf(port, { host: '::1' }));
});

const testC = testNeeding('cc');

testC('the static server listens as it is told', async () => {
  const { port, started } = await serve(staticHttp, '--host', '::1', '--backlog', '7');
  expect(await pidOf(port, { host: '::1' })).toBe(started.pid);
  await expect(pidOf(port)).rejects.toThrow('ECONNREFUSED');
});

testC('the static server has no grace', async () => {
  const { started } = await serve(staticHttp);
  started.kill('SIGTERM');
  expect(await started.end()).toEqual({ code: null, signal: 'SIGTERM' });
});

for (const name of [
  'blocking-accept',
  'dup-before-bind',
  'epoll-before-bind',
  'exec-after-bind',
  'ignore-sigterm',
  'netlink',
  'options',
  'port-prober',
  'reuseport-many',
  'undumpable',
] as const) {
  testC(`${name} serves twice`, async () => {
    const { port, started } = await serve(trap(name));
    expect([await pidOf(port), await pidOf(port)]).toEqual([started.pid, started.pid]);
  });
}

testC('exec-after-bind starts a sleep that has not its listener', async () => {
  const { port, started } = await serve(trap('exec-after-bind'));
  const sleeper = Number((await started.line(/^sleep pid (\d+)$/))[1]);
  expect(isAlive(sleeper)).toBe(true);
  expect(openFiles(sleeper).map((file) => file.inode)).not.toContain(listeningInode(port));
});

testC('daemonize leaves a server that is not its child', async () => {
  const port = await freePort();
  const started = start(trap('daemonize').command(port));
  expect(await started.end()).toEqual({ code: 0, signal: null });
  await started.listening(port);
  const pid = await pidOf(port);
  expect(pid).not.toBe(started.pid);
  await started.stop();
  expect(isAlive(pid)).toBe(false);
});

testC('connect-from-port closes its connection', async () => {
  const [from = 0, to = 0] = await freePorts(2);
  const server = createServer().listen(to, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  // Looked at in the event itself: the connection ends right after it began.
  const ended = new Promise((resolve) => {
    server.once('connection', (peer) => {
      const { remotePort } = peer;
      peer.resume().once('end', () => resolve(remotePort));
    });
  });
  const started = start([...trap('connect-from-port').command(from), `${to}`], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  await started.line(/^closed$/);
  expect(await ended).toBe(from);
  started.child.stdin?.end();
  expect(await started.end()).toEqual({ code: 0, signal: null });
});

testNeeding(['cc', 'root'])('print-ids has the rights of its set-user-ID bit', async () => {
  const copy = join(temporaryFolder(), 'print-ids');
  copyFileSync(trapPath('print-ids'), copy);
  chmodSync(copy, 0o4755);
  const started = start([copy], { uid: 65_534, gid: 65_534 });
  await started.end();
  expect(started.stdout).toBe('uid 65534 euid 0 gid 65534 egid 65534 no_new_privs 0\n');
});

testC('options tells what was set, of the listener and of a connection', async () => {
  const { port } = await serve(
    trap('options'),
    'SO_RCVBUF=8192',
    'TCP_NODELAY=1',
    'SO_KEEPALIVE=1',
    'TCP_FASTOPEN=5',
  );
  const body = await bodyOf(port);
  expect(body).toContain('listener SO_RCVBUF 16384\n'); // the kernel doubles it
  expect(body).toContain('accepted TCP_NODELAY 1\n');
  expect(body).toContain('accepted SO_KEEPALIVE 1\n');
  expect(body).toContain('listener TCP_FASTOPEN 5\n');
  const { port: other } = await serve(trap('options'), 'TCP_DEFER_ACCEPT=5');
  expect(await bodyOf(other)).toContain('listener TCP_DEFER_ACCEPT 7\n'); // in whole retransmissions
});

testC('port-prober serves only the last of its addresses', async () => {
  const { port } = await serve(trap('port-prober'));
  expect(listeners(port).map((socket) => socket.host)).toEqual(['127.0.0.1']);
  await expect(pidOf(port, { host: '::1' })).rejects.toThrow('ECONNREFUSED');
});

testC('reuseport-many answers on each of its sockets', async () => {
  const { port } = await serve(trap('reuseport-many'), '3');
  expect(listeners(port)).toHaveLength(3);
  const seen = new Set<string | undefined>();
  await until('an answer of each socket', async () => {
    seen.add(/^socket (\d)$/m.exec(await bodyOf(port))?.[1]);
    return seen.size === 3;
  });
});

testC('close-reopen refuses while it is closed', async () => {
  const { port, started } = await serve(trap('close-reopen'));
  await pidOf(port);
  started.kill('SIGUSR1');
  await started.line(/^closed$/);
  await expect(pidOf(port)).rejects.toThrow('ECONNREFUSED');
  started.kill('SIGUSR2');
  await started.line(/^listening/, { after: 1 });
  expect(await pidOf(port)).toBe(started.pid);
});

testC('netlink tells the time of a bind', async () => {
  const { port } = await serve(trap('netlink'), '50');
  expect(await bodyOf(port)).toMatch(/^binds 50\nbind_ns [1-9]\d*$/m);
});

testC('ignore-sigterm ends by SIGKILL only', async () => {
  const { port, started } = await serve(trap('ignore-sigterm'));
  started.kill('SIGTERM');
  expect(await pidOf(port)).toBe(started.pid);
  started.kill('SIGKILL');
  expect(await started.end()).toEqual({ code: null, signal: 'SIGKILL' });
});

testNeeding('go')('signals binds often while signals arrive, and serves', async () => {
  const { port, started } = await serve(trap('signals'), '50');
  const [, failed, received] = (await started.line(/^rounds 50 failed (\d+) signals (\d+)$/)) as string[];
  expect(Number(failed)).toBe(0);
  expect(Number(received)).toBeGreaterThanOrEqual(10);
  expect(await pidOf(port)).toBe(started.pid);
});

testNeeding(['cc', 'python3'])('deny pidfd_getfd refuses that call alone', async () => {
  // 438 is pidfd_getfd and 434 pidfd_open on every architecture.
  const code = `
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
pidfd = libc.syscall(434, os.getpid(), 0)
print(pidfd >= 0, libc.syscall(438, pidfd, 1, 0), ctypes.get_errno())`;
  const started = start([trapPath('deny'), 'pidfd_getfd', '/usr/bin/python3', '-c', code]);
  await started.end();
  expect(started.stdout).toBe('True -1 1\n');
});

async function serve(server: TestServer, ...options: string[]): Promise<{ port: number; started: Started }> {
  const port = await freePort();
  const started = start(server.command(port, ...options));
  await started.line(new RegExp(`^listening on ${port} `));
  return { port, started };
}
