import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { lockName, type StateFiles } from '../../src/keeper/state.js';
import { tryLock } from '../../src/kernel/lock.js';
import { processStat } from '../../src/kernel/procfs.js';
import { type Started, start } from '../support/process.js';
import { temporaryFolder } from '../support/temporary.js';

const NAME = 'app';
/** Longer than the wait for a lock looks again. */
const A_WHILE_MS = 100;

/** The files of a keeper with that process, whose lock something that it has forked still has. */
async function left(keeper: { readonly pid: number; readonly startTime: number }): Promise<{
  readonly files: StateFiles;
  readonly forked: Started;
}> {
  const folder = temporaryFolder();
  const path = (ending: string): string => join(folder, `${NAME}.${ending}`);
  const files = { lock: path('lock'), state: path('json'), control: path('sock'), log: path('log') };
  writeFileSync(
    files.state,
    JSON.stringify({ version: 1, name: NAME, command: ['server'], workers: [], ...keeper }),
  );
  const lock = tryLock(files.lock);
  if (lock === undefined) throw new Error('it is new');
  const forked = start(['sh', '-c', 'echo ready; read x'], { stdio: ['pipe', 'pipe', 'pipe', lock] });
  await forked.line(/^ready$/);
  closeSync(lock);
  return { files, forked };
}

/** One that has ended. */
async function dead(): Promise<{ readonly pid: number; readonly startTime: number }> {
  const one = start(['true']);
  await one.end();
  return { pid: one.pid, startTime: 1 };
}

test('what a killed keeper had forked and has its lock is waited for', async () => {
  const { files, forked } = await left(await dead());
  let lock: number | undefined;
  const locking = lockName(NAME, files).then((fd) => {
    lock = fd;
    return fd;
  });
  await sleep(A_WHILE_MS);
  expect(lock).toBe(undefined);
  forked.kill('SIGKILL');
  await locking;
  onTestFinished(() => closeSync(lock ?? -1));
  expect(tryLock(files.lock)).toBe(undefined);
});

test('but not for ever, and the message says what it is', async () => {
  const keeper = await dead();
  const { files } = await left(keeper);
  await expect(lockName(NAME, files)).rejects.toMatchObject({
    code: 'ERR_HOLDFAST_NAME_TAKEN',
    message: expect.stringContaining(`"app" (pid ${keeper.pid}) was killed while it started a process`),
  });
});

test('a keeper that lives is not waited for', async () => {
  const { startTime = 0 } = processStat('self') ?? {};
  const { files } = await left({ pid: process.pid, startTime });
  await expect(lockName(NAME, files)).rejects.toMatchObject({
    code: 'ERR_HOLDFAST_NAME_TAKEN',
    message: expect.stringContaining(`runs already (pid ${process.pid}: server)`),
  });
});

test('nor is one that has written nothing yet', async () => {
  const { files } = await left(await dead());
  closeSync(openSync(files.state, 'w'));
  await expect(lockName(NAME, files)).rejects.toMatchObject({ code: 'ERR_HOLDFAST_NAME_TAKEN' });
});
