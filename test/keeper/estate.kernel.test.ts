import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { errorCode } from '../../src/errors.js';
import { closedByYama } from '../../src/keeper/closed-process.js';
import {
  checkHolder,
  type EstateMeans,
  openEstate,
  seenSocket,
  seenWorker,
} from '../../src/keeper/estate.js';
import { Holder } from '../../src/keeper/holder.js';
import { newRecovery, type Recovery } from '../../src/keeper/recovery.js';
import { close } from '../../src/kernel/fd.js';
import { type Fd, SyscallError } from '../../src/kernel/libc.js';
import { copyFdFrom } from '../../src/kernel/pidfd.js';
import { processStat } from '../../src/kernel/procfs.js';
import { bind, listen, socketInode, streamSocket } from '../../src/kernel/socket.js';
import { isAlive } from '../support/proc.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';

const EPERM = 1;
const REFUSED = 'ERR_HOLDFAST_TAKE_OVER';
const refuse: Required<Pick<EstateMeans, 'copy'>> = {
  copy: () => {
    throw new SyscallError('pidfd_getfd', EPERM);
  },
};

test('sockets that may not be copied out of the holder are left there, with the server and who it is', async () => {
  const { recovery, stateFile, server, holder } = await left();
  const error = thrownBy(() => openEstate(recovery, stateFile, refuse));
  expect(errorCode(error)).toBe(REFUSED);
  expect(String(error)).toMatch(
    new RegExp(`who has its sockets may not be looked into, pid ${holder}, ${server.pid}\\.`),
  );
  expect(String(error)).toMatch(new RegExp(`Nothing was changed.*kill ${server.pid}$`));
  expect([holder, server.pid].map((pid) => isAlive(pid ?? 0))).toEqual([true, true]);
});

test('a holder that is open suffices, whoever else is closed', async () => {
  const { recovery, stateFile, holder, inode } = await left();
  const copy = (pid: number, fd: Fd): Fd => (pid === holder ? copyFdFrom(pid, fd) : refuse.copy(pid, fd));
  const estate = openEstate(recovery, stateFile, { copy });
  expect(estate?.holders.map(({ pid }) => pid)).toEqual([holder]);
  expect([...(estate?.sockets.keys() ?? [])]).toEqual([inode]);
  for (const fd of estate?.sockets.values() ?? []) close(fd);
});

test('what a service manager has kept need not be copied, nor what the server has only just opened', async () => {
  const { recovery, stateFile, inode } = await left();
  const offered = new Set([inode]);
  expect(openEstate(recovery, stateFile, { ...refuse, offered })?.sockets.size).toBe(0);
  const generations = recovery.generations.map((one) => ({
    ...one,
    sockets: one.sockets.map((socket) => ({ ...socket, confirmed: false })),
  }));
  expect(openEstate({ ...recovery, generations }, stateFile, refuse)?.sockets.size).toBe(0);
});

test('where no server lives any more, a closed holder ends and all begins anew', async () => {
  const { recovery, stateFile, server, holder } = await left();
  server.kill('SIGKILL');
  await until('its end', () => server.signalCode !== null);
  expect(openEstate(recovery, stateFile, refuse)).toBeUndefined();
  await until('the end of the holder', () => !isAlive(holder));
});

test('whether a holder is open shows before its keeper leaves', async () => {
  const { recovery, stateFile, holder } = await left();
  expect(() => checkHolder(recovery, stateFile)).not.toThrow();
  expect(errorCode(thrownBy(() => checkHolder(recovery, stateFile, refuse)))).toBe(REFUSED);
  expect(isAlive(holder)).toBe(true);
});

test('Yama is named where it is what closes a process of the same user', () => {
  const { pid } = process;
  const yama = (scope: number | undefined, mayTraceAll = false): string | undefined =>
    closedByYama(pid, { scope, mayTraceAll })?.why;
  expect([yama(undefined), yama(0), yama(1, true), yama(2, true)]).toEqual(Array(4).fill(undefined));
  expect(yama(1)).toBe('kernel.yama.ptrace_scope is 1: a process may look only into what it has started');
  expect(yama(2)).toMatch(/only root/);
  expect(yama(3, true)).toMatch(/nobody/);
  expect(closedByYama(pid, { scope: 1, mayTraceAll: false })?.remedy).toContain('ptrace_scope=0');
  expect(closedByYama(pid, { scope: 3, mayTraceAll: true })?.remedy).toBeUndefined();
});

/** What a keeper leaves: a server, and a holder with its only socket. */
async function left(): Promise<{
  readonly recovery: Recovery;
  readonly stateFile: string;
  readonly server: ChildProcess;
  readonly holder: number;
  readonly inode: number;
}> {
  const fd = streamSocket('ipv4');
  bind(fd, { family: 'ipv4', host: '127.0.0.1', port: 0 });
  listen(fd, 1);
  const server = spawn('sleep', ['1000'], { stdio: ['ignore', 'ignore', 'ignore', fd] });
  const stateFile = join(temporaryFolder(), 'app.json');
  const holder = new Holder('app', stateFile, () => undefined, false);
  holder.hold([{ fd, key: 'socket' }]);
  onTestFinished(async () => {
    server.kill('SIGKILL');
    await holder.end();
    close(fd);
  });
  const seen = seenSocket(fd, { claims: [1], programReusesPort: false });
  const [pid, at] = [server.pid ?? 0, await until('the holder', () => holder.process)];
  await until('the server', () => processStat(pid)?.comm === 'sleep');
  if (seen === undefined) throw new Error('it listens');
  const root = { pid, startTime: processStat(pid)?.startTime ?? 0 };
  const worker = seenWorker({ id: 1, mark: `app:${process.pid}:1`, root, phase: 'serving' });
  const recovery = newRecovery({
    keeper: `app:${process.pid}`,
    command: ['sleep', '1000'],
    directory: '/',
    starts: 1,
    stage: 'steady',
    workers: { asked: 1, now: 1 },
    holder: at,
    notifiers: [],
    generations: [{ number: 1, active: true, workers: [worker], sockets: [seen] }],
    groups: [],
  });
  return { recovery, stateFile, server, holder: at.pid, inode: socketInode(fd) };
}

function thrownBy(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}
