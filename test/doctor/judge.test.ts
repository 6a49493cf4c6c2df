import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Copying, judgeCopying, judgeMemory, judgeYama } from '../../src/doctor/copying.js';
import { judgeKernel } from '../../src/doctor/linux.js';
import { judgeDirectory } from '../../src/doctor/processes.js';
import { judgeTrap, judgeWaitKillable } from '../../src/doctor/trap.js';
import { temporaryFolder } from '../support/temporary.js';

test('Linux 5.9 is the first that does', () => {
  const works = (release: string): string => judgeKernel(release).works;
  expect(['5.9.0', '5.10.0-28-amd64', '6.1.0', '10.0'].map(works)).toEqual(['yes', 'yes', 'yes', 'yes']);
  expect(['4.4.0', '5.8.18', '3.10.0-1160.el7'].map(works)).toEqual(['no', 'no', 'no']);
});

test('Yama lets a keeper look into its own alone at scope 1, and with CAP_SYS_PTRACE into all up to 2', () => {
  const works = (scope: number | undefined, mayTraceAll: boolean): string =>
    judgeYama(scope, mayTraceAll).works;
  expect([undefined, 0, 1, 2, 3].map((scope) => works(scope, false))).toEqual([
    'yes',
    'yes',
    'limited',
    'no',
    'no',
  ]);
  expect([undefined, 0, 1, 2, 3].map((scope) => works(scope, true))).toEqual([
    'yes',
    'yes',
    'yes',
    'yes',
    'no',
  ]);
  expect(judgeYama(1, false).found).toMatch(/sockets from the holder.*cannot hold.*nor adopt/);
});

test('a profile that refuses pidfd_getfd leaves another way, Yama does not', () => {
  const copying: Copying = {
    ownFd: undefined,
    childFd: undefined,
    childMemory: undefined,
    mayTraceAll: false,
  };
  expect(judgeCopying(copying).works).toBe('yes');
  expect(judgeCopying({ ...copying, ownFd: 'EPERM', childFd: 'EPERM' })).toMatchObject({
    works: 'limited',
    remedy: expect.stringContaining('--cap-add SYS_PTRACE'),
  });
  expect(judgeCopying({ ...copying, childFd: 'EPERM' }).works).toBe('no');
  expect(judgeMemory(copying).works).toBe('yes');
  expect(judgeMemory({ ...copying, childMemory: 'EACCES' }).works).toBe('no');
});

test('a trap that cannot be installed is told with what to do', () => {
  const failed = (code: string, underKeeper = false) => judgeTrap({ installed: false, code }, underKeeper);
  expect(judgeTrap({ installed: true, waitKillable: true }, false).works).toBe('yes');
  expect(failed('EBUSY', true).works).toBe('limited');
  for (const code of ['EBUSY', 'EPERM', 'EINVAL', 'ENOSYS']) {
    expect(failed(code)).toMatchObject({ works: 'no', found: expect.stringContaining(code) });
    expect(failed(code).remedy).toContain('--listen');
  }
});

test('before Linux 5.19 signals disturb a server that waits', () => {
  expect(judgeWaitKillable({ installed: true, waitKillable: true }).works).toBe('yes');
  expect(judgeWaitKillable({ installed: true, waitKillable: false }).remedy).toContain('5.19');
});

test('a state folder has room for the path of a socket', () => {
  const folder = temporaryFolder();
  const deep = (length: number): string => {
    const path = join(folder, 'x'.repeat(length - folder.length - 1));
    mkdirSync(path);
    return path;
  };
  expect(judgeDirectory(folder).works).toBe('yes');
  // /NAME.sock with 64, 63, 1 and no characters of a name, in 107 bytes.
  expect(judgeDirectory(deep(37)).works).toBe('yes');
  expect(judgeDirectory(deep(38))).toMatchObject({ works: 'limited', found: expect.stringContaining('63') });
  expect(judgeDirectory(deep(100)).works).toBe('limited');
  expect(judgeDirectory(deep(101)).works).toBe('no');
});
