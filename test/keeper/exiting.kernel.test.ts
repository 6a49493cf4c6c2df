import { expect } from 'vitest';
import { isAtWork } from '../../src/keeper/tree.js';
import { childrenOf, openFiles, processStat } from '../../src/kernel/procfs.js';
import { testNeeding } from '../support/needing.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { until } from '../support/wait.js';

/** The first process of a pid namespace ends when all others in it have been reaped, but closes its files before. */
testNeeding(['root', 'unshare', 'nsenter'])(
  'a process that is ending has no files any more, is no zombie yet, and is not at work',
  async () => {
    const outside = start([binaryOf('unshare'), '--pid', '--fork', 'sleep', '1000']);
    const first = await childOf(outside.pid, 'sleep');
    const startTime = processStat(first)?.startTime ?? 0;
    expect(isAtWork({ pid: first, startTime })).toBe(true);
    const enter = [binaryOf('nsenter'), '--no-fork', '--target', `${first}`, '--pid'];
    const unreaping = start([...enter, 'sh', '-c', 'sleep 0 & exec sleep 1000']);
    await until('a zombie in it', () => processStat(childrenOf(unreaping.pid)?.[0] ?? 0)?.state === 'Z');
    process.kill(first, 'SIGKILL');
    await until('its end has begun', () => openFiles(first).length === 0);
    expect(processStat(first)).toMatchObject({ startTime, isExiting: true });
    expect(processStat(first)?.state).not.toBe('Z');
    expect(isAtWork({ pid: first, startTime })).toBe(false);
    await unreaping.stop();
    await until('it has ended', () => processStat(first) === undefined);
  },
);

function childOf(pid: number, comm: string): Promise<number> {
  return until(`a child ${comm}`, () => childrenOf(pid)?.find((child) => processStat(child)?.comm === comm));
}
