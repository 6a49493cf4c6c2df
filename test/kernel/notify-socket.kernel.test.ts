import { chownSync, existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { errorCode } from '../../src/errors.js';
import { close } from '../../src/kernel/fd.js';
import type { Fd } from '../../src/kernel/libc.js';
import { withoutCapabilities } from '../../src/kernel/netns.js';
import { type Notification, openNotifySocket, receiveNotifications } from '../../src/kernel/notify-socket.js';
import { Poller } from '../../src/kernel/poller.js';
import { testNeeding } from '../support/needing.js';
import { isAlive } from '../support/proc.js';
import { type Started, type StartOptions, start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';

const NOBODY = 65_534;
const OTHER = 1_000;
const ownUid = process.getuid?.();
const systemdNotify = ['/usr/bin/systemd-notify', '/bin/systemd-notify'].find((path) => existsSync(path));

testNeeding('python3')('what a server says arrives with its pid and user, in order', async () => {
  const { fd, path } = opened();
  expect(receiveNotifications(fd)).toEqual([]);
  const sender = send(path, `send(b'STATUS=loading'); send(b'READY=1\\nMAINPID=1'); send(b'')`);
  await sender.end();
  const from = { pid: sender.pid, uid: ownUid };
  expect(receiveNotifications(fd)).toEqual([
    { ...from, text: 'STATUS=loading' },
    { ...from, text: 'READY=1\nMAINPID=1' },
    { ...from, text: '' },
  ]);
  expect(receiveNotifications(fd)).toEqual([]);
});

testNeeding('python3')('a Poller tells when something has arrived', async () => {
  const { fd, path } = opened();
  const poller = new Poller();
  onTestFinished(() => poller.close());
  const told: Notification[] = [];
  poller.add(fd, () => told.push(...receiveNotifications(fd)));
  const sender = send(path, `send(b'READY=1')`);
  await until('the message', () => told.length === 1);
  expect(told[0]).toEqual({ pid: sender.pid, uid: ownUid, text: 'READY=1' });
});

test('the file is for its user alone, whatever the umask', () => {
  const before = process.umask(0);
  onTestFinished(() => void process.umask(before));
  const { path } = opened();
  expect(modeOf(path)).toEqual({ mode: 0o600, uid: ownUid });
});

test('a path that exists is left alone', () => {
  const { path } = opened();
  expect(codeOf(() => openNotifySocket(path))).toBe('EADDRINUSE');
  expect(existsSync(path)).toBe(true);
  expect(codeOf(() => openNotifySocket(join(path, 'below')))).toBe('ENOTDIR');
});

testNeeding(['python3', 'root'])(
  'the file can be given to another user, and no third one may send',
  async () => {
    const { fd, path } = opened(NOBODY);
    expect(modeOf(path)).toEqual({ mode: 0o600, uid: NOBODY });
    const sender = send(path, `send(b'READY=1')`, { uid: NOBODY, gid: NOBODY });
    expect(await sender.end()).toMatchObject({ code: 0 });
    const stranger = send(path, `send(b'READY=1')`, { uid: OTHER, gid: OTHER });
    expect(await stranger.end()).toMatchObject({ code: 1 });
    expect(stranger.stderr).toContain('PermissionError');
    expect(receiveNotifications(fd)).toEqual([{ pid: sender.pid, uid: NOBODY, text: 'READY=1' }]);
  },
);

testNeeding('root')('an ordinary user cannot give the file away, and none is left', () => {
  const folder = temporaryFolder();
  chownSync(folder, NOBODY, NOBODY);
  const path = join(folder, 'notify');
  expect(withoutCapabilities(NOBODY, () => codeOf(() => openNotifySocket(path, OTHER)))).toBe('EPERM');
  expect(existsSync(path)).toBe(false);
});

testNeeding(['python3', 'root'])('the user is the real one', async () => {
  const { fd, path } = opened(NOBODY);
  await send(path, `os.seteuid(${NOBODY}); send(b'READY=1')`).end();
  expect(receiveNotifications(fd)).toMatchObject([{ uid: 0 }]);
});

testNeeding('python3')('a sender that has ended is still named', async () => {
  const { fd, path } = opened();
  const sender = send(
    path,
    `
child = os.fork()
if child == 0:
    send(b'READY=1')
    os._exit(0)
os.waitpid(child, 0)
print('child', child, flush=True)
sys.stdin.read()`,
    { stdio: ['pipe', 'pipe', 'pipe'] },
  );
  const [, child] = await sender.line(/^child (\d+)$/);
  expect(receiveNotifications(fd)).toEqual([{ pid: Number(child), uid: ownUid, text: 'READY=1' }]);
  expect(isAlive(Number(child))).toBe(false);
});

testNeeding(['python3', 'root'])('root may send in the name of another process that exists', async () => {
  const { fd, path } = opened();
  const sender = send(path, `send(b'READY=1', [credentials(os.getppid(), ${OTHER})])`);
  expect(await sender.end()).toMatchObject({ code: 0 });
  expect(receiveNotifications(fd)).toEqual([{ pid: process.pid, uid: OTHER, text: 'READY=1' }]);
});

testNeeding(['python3', 'root'])('nobody else may', async () => {
  const { fd, path } = opened(NOBODY);
  const sender = send(path, `send(b'READY=1', [credentials(os.getppid(), ${NOBODY})])`, {
    uid: NOBODY,
    gid: NOBODY,
  });
  expect(await sender.end()).toMatchObject({ code: 1 });
  expect(sender.stderr).toContain('Operation not permitted');
  expect(receiveNotifications(fd)).toEqual([]);
});

testNeeding(['python3', 'root', 'unshare'])(
  'a sender in another pid namespace has its number in ours',
  async () => {
    const { fd, path } = opened();
    const unshare = [binaryOf('unshare'), '--pid', '--fork'];
    const sender = send(path, `send(b'own pid %d' % os.getpid())`, {}, unshare);
    await sender.end();
    const [notification] = receiveNotifications(fd);
    expect(notification?.text).toBe('own pid 1');
    expect(notification?.pid).toBeGreaterThan(sender.pid);
  },
);

testNeeding('python3')('fds that come along are closed, and none of ours is used up', async () => {
  const { fd, path } = opened();
  const sender = send(
    path,
    `
reading, writing = os.pipe()
for name in (b'FDSTORE=1', b'BARRIER=1'):
    send(name, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [writing] * 20))])
os.close(writing)
print('sent', flush=True)
os.read(reading, 1)
print('released', flush=True)`,
  );
  await sender.line(/^sent$/);
  const before = openFds();
  expect(receiveNotifications(fd).map(({ pid, text }) => ({ pid, text }))).toEqual([
    { pid: sender.pid, text: 'FDSTORE=1' },
    { pid: sender.pid, text: 'BARRIER=1' },
  ]);
  expect(openFds()).toEqual(before);
  await sender.line(/^released$/);
});

testNeeding('python3')('a message that is too long is left out, and what follows is not', async () => {
  const { fd, path } = opened();
  await send(path, `send(b'READY=1\\nSTATUS=' + b'x' * 20000); send(b'x' * 16384); send(b'READY=1')`).end();
  expect(receiveNotifications(fd).map(({ text }) => text)).toEqual(['x'.repeat(16_384), 'READY=1']);
});

testNeeding('python3')('more messages than one read takes leave the fd readable', async () => {
  const { fd, path } = opened();
  const sender = send(path, `for number in range(600): send(b'%d' % number)`);
  const told: string[] = [];
  let most = 0;
  await until('all messages', () => {
    const texts = receiveNotifications(fd).map(({ text }) => text);
    most = Math.max(most, texts.length);
    told.push(...texts);
    return told.length === 600;
  });
  expect(told).toEqual(Array.from({ length: 600 }, (_, number) => `${number}`));
  expect(most).toBeLessThanOrEqual(256);
  await sender.end();
});

/** On systems with systemd. */
const testSystemd = test.skipIf(systemdNotify === undefined || ownUid !== 0);

testSystemd('systemd-notify of root names its parent, and waits until it was heard', async () => {
  const { fd, path } = opened();
  const script = 'systemd-notify --ready --status=up; echo done; exec sleep 60';
  const shell = start(['/bin/sh', '-c', script], { env: { NOTIFY_SOCKET: path } });
  const [ready, ...others] = await received(fd, 2);
  expect(ready).toEqual({ pid: shell.pid, uid: 0, text: 'READY=1\nSTATUS=up' });
  expect(others).toEqual([{ pid: expect.any(Number), uid: 0, text: 'BARRIER=1' }]);
  expect(others[0]?.pid).not.toBe(shell.pid);
  await shell.line(/^done$/);
});

testSystemd('systemd-notify of a user is itself the sender, which may be gone', async () => {
  const { fd, path } = opened(NOBODY);
  const script = 'systemd-notify --ready --no-block; echo done; exec sleep 60';
  const shell = start(['/bin/sh', '-c', script], {
    env: { NOTIFY_SOCKET: path },
    uid: NOBODY,
    gid: NOBODY,
  });
  await shell.line(/^done$/);
  const [ready, ...others] = receiveNotifications(fd);
  expect(ready).toEqual({ pid: expect.any(Number), uid: NOBODY, text: 'READY=1' });
  expect(others).toEqual([]);
  expect(ready?.pid).not.toBe(shell.pid);
  expect(isAlive(ready?.pid ?? 0)).toBe(false);
});

/** A notify socket that the test closes. */
function opened(uid?: number): { readonly fd: Fd; readonly path: string } {
  const path = join(temporaryFolder(), 'notify');
  const fd = openNotifySocket(path, uid);
  onTestFinished(() => close(fd));
  return { fd, path };
}

/** A program that sends to the socket, and ends with 1 when it may not. */
function send(path: string, script: string, options?: StartOptions, before: readonly string[] = []): Started {
  const program = `
import array, os, socket, struct, sys
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
to.connect(sys.argv[1])
def send(text, ancillary=[]):
    to.sendmsg([text], ancillary)
def credentials(pid, uid):
    return (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack('iII', pid, uid, 0))
${script}`;
  return start([...before, binaryOf('python3'), '-c', program, path], options);
}

async function received(fd: Fd, count: number): Promise<readonly Notification[]> {
  const told: Notification[] = [];
  await until(`${count} messages`, () => told.push(...receiveNotifications(fd)) >= count);
  return told;
}

function modeOf(path: string): { readonly mode: number; readonly uid: number } {
  const { mode, uid } = statSync(path);
  return { mode: mode & 0o777, uid };
}

function openFds(): readonly string[] {
  return readdirSync('/proc/self/fd');
}

function codeOf(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return errorCode(error);
  }
}
