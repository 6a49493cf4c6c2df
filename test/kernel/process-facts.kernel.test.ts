import { copyFileSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import {
  ancestors,
  cgroupPath,
  cgroupPathIn,
  effectiveUid,
  environmentVariable,
  executable,
  livingThreads,
  startDate,
  terminalName,
  workingDirectory,
} from '../../src/kernel/process-facts.js';
import { childrenOf, commandLine, type ProcessStat, processStat } from '../../src/kernel/procfs.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { onTerminal } from '../support/shell.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';

const NOBODY = 65_534;
/** Above the highest pid that Linux ever gives (PID_MAX_LIMIT). */
const NO_PID = 4_194_305;
const ZOMBIE_LEADER = fileURLToPath(new URL('../servers/traps/zombie-leader.py', import.meta.url));

test('a process has its folder and its program, a replaced program says so', async () => {
  const folder = temporaryFolder();
  const program = join(folder, 'server');
  copyFileSync('/bin/sleep', program);
  const server = start([program, '1000'], { cwd: folder });
  await until('its program', () => executable(server.pid) === program);
  expect(workingDirectory(server.pid)).toBe(folder);
  rmSync(program);
  expect(executable(server.pid)).toBe(`${program} (deleted)`);
});

test('a process started when it did', () => {
  const before = Date.now();
  const started = start(['sleep', '1000']);
  const after = Date.now();
  const toldMs = startDate(statOf(started.pid)).getTime();
  // `btime` has whole seconds, and a tick is 10 ms.
  expect(toldMs).toBeGreaterThan(before - 1_100);
  expect(toldMs).toBeLessThan(after + 1_100);
});

test('the ancestors go up to the first process', async () => {
  const shell = start(['sh', '-c', 'sleep 1000 & echo $!; wait']);
  const [line] = await shell.line(/^\d+$/);
  const above = ancestors(statOf(Number(line))).map(({ pid }) => pid);
  expect(above.slice(0, 2)).toEqual([shell.pid, process.pid]);
  expect(above.at(-1)).toBe(1);
  expect(ancestors({ ...statOf(process.pid), ppid: 0 })).toEqual([]);
});

test('a parent that is younger than its child has the number of another one', () => {
  const young = start(['sleep', '1000']);
  const child: ProcessStat = { ...statOf(process.pid), ppid: young.pid };
  expect(ancestors({ ...child, startTime: statOf(young.pid).startTime - 1 })).toEqual([]);
  expect(ancestors({ ...child, startTime: statOf(young.pid).startTime })[0]?.pid).toBe(young.pid);
});

testNeeding('script')('the controlling terminal is the path below /dev', async () => {
  const line = 'tty; exec sleep 1000';
  const terminal = start(onTerminal(line));
  const [told = ''] = await terminal.line(/\/dev\/pts\/\d+/);
  const sleeper = await until('the sleeper', () =>
    childrenOf(terminal.pid)?.find((pid) => processStat(pid)?.comm === 'sleep'),
  );
  expect(`/dev/${terminalName(statOf(sleeper))}`).toBe(told);
});

test('terminals are told by their numbers', () => {
  const named = (major: number, minor: number): string | undefined =>
    terminalName({
      ...statOf(process.pid),
      terminal: (major << 8) | (minor & 0xff) | ((minor & ~0xff) << 12),
    });
  expect(named(0, 0)).toBeUndefined();
  expect(named(136, 3)).toBe('pts/3');
  expect(named(136, 300)).toBe('pts/300');
  expect(named(137, 1)).toBe('pts/257');
  expect(named(5, 1)).toBe('console');
  expect(named(250, 77)).toBe('250:77');
});

test('a process belongs to its effective user', () => {
  expect(effectiveUid(process.pid)).toBe(process.geteuid?.());
});

testNeeding('root')('what another user may not see is undefined, field by field', async () => {
  const other = start(['sleep', '1000'], { env: { SECRET: 'x' } });
  await until('its program', () => executable(other.pid) !== readlinkSync('/proc/self/exe'));
  expect(environmentVariable(other.pid, 'SECRET')).toBe('x');
  const seen = asNobody(() => ({
    cwd: workingDirectory(other.pid),
    exe: executable(other.pid),
    secret: environmentVariable(other.pid, 'SECRET'),
    uid: effectiveUid(other.pid),
    threads: livingThreads(other.pid),
    parent: ancestors(statOf(other.pid))[0]?.pid,
  }));
  expect(seen).toEqual({
    cwd: undefined,
    exe: undefined,
    secret: undefined,
    uid: 0,
    threads: [other.pid],
    parent: process.pid,
  });
});

test('what has ended is told by nothing', async () => {
  const gone = start(['true']);
  await gone.end();
  for (const pid of [gone.pid, NO_PID]) {
    expect(workingDirectory(pid)).toBeUndefined();
    expect(executable(pid)).toBeUndefined();
    expect(effectiveUid(pid)).toBeUndefined();
    expect(cgroupPath(pid)).toBeUndefined();
    expect(environmentVariable(pid, 'PATH')).toBeUndefined();
    expect(livingThreads(pid)).toEqual([]);
  }
});

testNeeding('python3')('a zombie leader has nothing, its living thread has all', async () => {
  const python = binaryOf('python3');
  const server = start([python, ZOMBIE_LEADER, `${await freePort()}`], { cwd: '/' });
  // Of a tree, what looks like a zombie is not killed.
  onTestFinished(() => void server.kill('SIGKILL'));
  await server.line(/^ready$/);
  expect(statOf(server.pid).state).toBe('Z');
  expect(executable(server.pid)).toBeUndefined();
  const [thread = 0, ...others] = livingThreads(server.pid);
  expect(others).toEqual([]);
  expect(thread).not.toBe(server.pid);
  expect(executable(thread)).toBe(realpathSync(python));
  expect(workingDirectory(thread)).toBe('/');
  expect(commandLine(thread)[1]).toBe(ZOMBIE_LEADER);
});

test('a kernel thread is told from a process', () => {
  expect(statOf(process.pid).isKernelThread).toBe(false);
});

const CGROUPS: readonly (readonly [fact: string, text: string, path: string | undefined])[] = [
  ['version 2', '0::/system.slice/nginx.service\n', '/system.slice/nginx.service'],
  [
    'both, the units in version 1',
    '5:memory:/x\n1:name=systemd:/system.slice/nginx.service\n0::/\n',
    '/system.slice/nginx.service',
  ],
  ['version 1 without systemd', '4:cpu,cpuacct:/docker/abc\n3:cpuset:/\n', '/docker/abc'],
  ['a path with colons', '0::/a.slice:cri-containerd:abc\n', '/a.slice:cri-containerd:abc'],
  ['one that was removed', '0::/user.slice/session-3.scope (deleted)\n', '/user.slice/session-3.scope'],
  ['the root', '2:cpu:/\n0::/\n', '/'],
  ['a kernel without cgroups', '', undefined],
];

for (const [fact, text, path] of CGROUPS) {
  test(`the cgroup of a process: ${fact}`, () => {
    expect(cgroupPathIn(text)).toBe(path);
  });
}

function statOf(pid: number): ProcessStat {
  const stat = processStat(pid);
  if (stat === undefined) throw new Error(`no process ${pid}`);
  return stat;
}

function asNobody<T>(look: () => T): T {
  process.seteuid?.(NOBODY);
  try {
    return look();
  } finally {
    process.seteuid?.(0);
  }
}
