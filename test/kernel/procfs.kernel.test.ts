import { once } from 'node:events';
import { closeSync, copyFileSync, openSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect, onTestFinished, test } from 'vitest';
import { errorCode } from '../../src/errors.js';
import { O_CLOEXEC } from '../../src/kernel/fd.js';
import {
  allProcesses,
  CAP_SYS_ADMIN,
  childrenOf,
  commandLine,
  fdFlags,
  fdsOfSocket,
  hasCapability,
  networkNamespace,
  openFiles,
  processStat,
  readMemory,
  socketInodeOf,
  startEnvironment,
  statusField,
  threadGroup,
} from '../../src/kernel/procfs.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { listeningInode } from '../support/proc.js';
import { type Started, start } from '../support/process.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';

/** A program that never waits for the child that it was given. */
const ZOMBIE = 'sleep 0.2 & echo ready; exec sleep 1000';
const NOBODY = 65_534;
/** Above the highest pid that Linux ever gives (PID_MAX_LIMIT). */
const NO_PID = 4_194_305;

test('a process is told by its stat, whatever its name looks like', async () => {
  const program = join(temporaryFolder(), 'a) Z 1 (b');
  copyFileSync('/bin/sleep', program);
  const named = start([program, '1000']);
  await until('its name', () => processStat(named.pid)?.comm === 'a) Z 1 (b');
  expect(processStat(named.pid)).toMatchObject({
    pid: named.pid,
    ppid: process.pid,
    processGroup: processStat('self')?.processGroup,
    session: processStat('self')?.session,
    state: expect.stringMatching(/^[RSD]$/),
  });
});

test('a process has its start time for itself: later ones start later', async () => {
  const first = start(['sleep', '1000']);
  const before = processStat(first.pid)?.startTime ?? Number.NaN;
  // A clock tick is 10 ms on most kernels.
  await until('a later one', async () => {
    const later = start(['sleep', '1000']);
    return (processStat(later.pid)?.startTime ?? 0) > before;
  });
  expect(processStat(first.pid)?.startTime).toBe(before);
});

test('a session of its own shows', async () => {
  const detached = start(['sleep', '1000'], { detached: true });
  expect(processStat(detached.pid)).toMatchObject({
    processGroup: detached.pid,
    session: detached.pid,
    terminal: 0,
    foregroundGroup: -1,
  });
});

test('children are told, those of other threads and those that are zombies too', async () => {
  const own = await shell('sleep 1000 & echo ready; read x');
  expect(childrenOf(process.pid)).toContain(own.pid);
  const [sleeper = 0] = childrenOf(own.pid) ?? [];
  await until('its program', () => processStat(sleeper)?.comm === 'sleep');
  expect(processStat(sleeper)).toMatchObject({ pid: sleeper, ppid: own.pid });

  const thread = new Worker(
    `const { parentPort } = require('node:worker_threads');
     const child = require('node:child_process').spawn('sleep', ['1000']);
     parentPort.postMessage(child.pid);
     parentPort.once('message', () => child.kill());`,
    { eval: true },
  );
  onTestFinished(async () => {
    thread.postMessage('end');
    await thread.terminate();
  });
  const [ofThread] = (await once(thread, 'message')) as [number];
  expect(childrenOf(process.pid)).toContain(ofThread);
  expect(childrenOf(process.pid, [process.pid])).not.toContain(ofThread);
  process.kill(ofThread, 'SIGKILL');

  const zombies = await shell(ZOMBIE);
  await until('the zombie', () => processStat(childrenOf(zombies.pid)?.[0] ?? NO_PID)?.state === 'Z');
});

test('what was forked and what runs a program of its own are told apart', async () => {
  const own = await shell('(echo ready; read x; :) < /dev/zero & read y');
  const [forked = 0] = childrenOf(own.pid) ?? [];
  expect(processStat(forked)).toMatchObject({ hasBegunProgram: false });
  expect(processStat(own.pid)).toMatchObject({ hasBegunProgram: true });
});

test('what has ended is told by nothing', async () => {
  const gone = start(['true']);
  await gone.end();
  for (const pid of [gone.pid, NO_PID]) {
    expect(processStat(pid)).toBeUndefined();
    expect(childrenOf(pid)).toEqual([]);
    expect(statusField(pid, 'Tgid')).toBeUndefined();
    expect(threadGroup(pid)).toBeUndefined();
    expect(commandLine(pid)).toEqual([]);
    expect(openFiles(pid)).toEqual([]);
    expect(fdFlags(pid, 0)).toBeUndefined();
    expect(networkNamespace(pid)).toBeUndefined();
    expect(startEnvironment(pid, 'PATH')).toBeUndefined();
  }
});

test('a zombie has no files, no command line and no environment', async () => {
  const zombies = await shell(ZOMBIE);
  const pid = await until('the zombie', () =>
    childrenOf(zombies.pid)?.find((child) => processStat(child)?.state === 'Z'),
  );
  expect(openFiles(pid)).toEqual([]);
  expect(commandLine(pid)).toEqual([]);
  expect(startEnvironment(pid, 'PATH')).toBeUndefined();
});

test('every thread names its process', async () => {
  const node = start([process.execPath, '-e', 'console.log("ready"); setInterval(() => 0, 1000)']);
  await node.line(/^ready$/);
  const tid = await until('another thread', () => {
    return [...Array(64).keys()]
      .map((i) => node.pid + 1 + i)
      .find((thread) => threadGroup(thread) === node.pid);
  });
  expect(tid).not.toBe(node.pid);
  expect(threadGroup(node.pid)).toBe(node.pid);
});

test('arguments are told apart, empty ones and line breaks included', async () => {
  const told = await shell('echo ready; read x', {}, '', 'two words', 'a\nb', '');
  expect(commandLine(told.pid)).toEqual(['sh', '-c', 'echo ready; read x', '', 'two words', 'a\nb', '']);
});

test('the environment is the one at the start, a value may have any character', async () => {
  const told = await shell('export LATER=1; echo ready; read x', { ODD: 'a=b\nODD=c' });
  expect(startEnvironment(told.pid, 'ODD')).toBe('a=b\nODD=c');
  expect(startEnvironment(told.pid, 'LATER')).toBeUndefined();
  expect(startEnvironment(told.pid, 'OD')).toBeUndefined();
});

test('open files tell their flags, sockets their inode', async () => {
  const port = await freePort();
  const server = createServer().listen(port, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const inode = listeningInode(port) ?? 0;
  const [fd = -1, ...others] = fdsOfSocket(process.pid, inode);
  expect(others).toEqual([]);
  expect(openFiles('self')).toContainEqual({ fd, target: `socket:[${inode}]` });
  expect((fdFlags(process.pid, fd) ?? 0) & O_CLOEXEC).toBe(O_CLOEXEC);
  const file = openSync('/dev/null', 'r');
  onTestFinished(() => closeSync(file));
  expect(openFiles(process.pid)).toContainEqual({ fd: file, target: '/dev/null' });
  expect(socketInodeOf('/dev/null')).toBeUndefined();
  expect(socketInodeOf('pipe:[1]')).toBeUndefined();
});

test('memory is read where something is mapped', async () => {
  const read = await shell('echo ready; read x');
  const map = readFileSync(`/proc/${read.pid}/maps`, 'utf8');
  const address = BigInt(`0x${map.slice(0, map.indexOf('-'))}`);
  expect(readMemory(read.pid, address, 4).toString('latin1')).toBe('\x7fELF');
  expect(() => readMemory(read.pid, 1n, 4)).toThrow(expect.objectContaining({ code: 'EIO' }));
});

test('/proc lists this process once, and no process without a stat', () => {
  const all = allProcesses();
  expect(all.filter(({ pid }) => pid === process.pid)).toHaveLength(1);
  expect(all.every(({ startTime }) => Number.isInteger(startTime))).toBe(true);
});

test('the network namespace is that of /proc/PID/ns/net', () => {
  expect(networkNamespace('self')).toBe(readlinkSync('/proc/self/ns/net'));
  expect(networkNamespace(process.pid)).toBe(networkNamespace('self'));
});

testNeeding(['root', 'setpriv'])('a program without capabilities has none', async () => {
  expect(hasCapability('self', CAP_SYS_ADMIN)).toBe(true);
  const weak = start(['setpriv', '--reuid=65534', '--clear-groups', 'sh', '-c', 'echo ready; read x'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  await weak.line(/^ready$/);
  expect(hasCapability(weak.pid, CAP_SYS_ADMIN)).toBe(false);
});

testNeeding('root')(
  'what another user may not see is an error, but for its namespace, which is unknown',
  () => {
    const others = asNobody(() => ({
      files: outcome(() => openFiles(1)),
      memory: outcome(() => readMemory(1, 0n, 1)),
      netns: outcome(() => networkNamespace(1)),
      stat: outcome(() => processStat(1)?.pid),
    }));
    expect(others).toEqual({ files: 'EACCES', memory: 'EACCES', netns: undefined, stat: 1 });
  },
);

function asNobody<T>(look: () => T): T {
  process.seteuid?.(NOBODY);
  try {
    return look();
  } finally {
    process.seteuid?.(0);
  }
}

function outcome(look: () => unknown): unknown {
  try {
    return look();
  } catch (error) {
    return errorCode(error);
  }
}

/** A shell that has said `ready`. */
async function shell(
  script: string,
  env: Readonly<Record<string, string>> = {},
  ...args: string[]
): Promise<Started> {
  const started = start(['sh', '-c', script, ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] });
  await started.line(/^ready$/);
  return started;
}
