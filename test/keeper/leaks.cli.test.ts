import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { expect, test } from 'vitest';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { fdInfo, listeningInode, openFiles } from '../support/proc.js';
import { start } from '../support/process.js';
import { nodeHttp, pythonHttp, staticHttp, trap } from '../support/servers.js';
import { until } from '../support/wait.js';
import { sh } from './inline.js';

for (const server of [nodeHttp, pythonHttp, staticHttp]) {
  testNeeding(server.needs)(`${server.name} has the open files and the flags of a bare run`, async () => {
    const port = await freePort();
    const bare = start(server.command(port));
    await bare.listening(port);
    const expected = await settledFiles(bare.pid);
    await bare.stop();
    const keeper = startKeeper(server.command(port));
    await keeper.holding();
    expect(await settledFiles(keeper.worker())).toEqual(expected);
    await keeper.crash();
    await keeper.process.line(/is served again/);
    expect(await settledFiles(keeper.worker())).toEqual(expected);
    await keeper.crash();
    await keeper.process.line(/is served again/, { after: 1 });
    expect(await settledFiles(keeper.worker())).toEqual(expected);
  });
}

testNeeding('cc')('what a server executes does not inherit its close-on-exec listener', async () => {
  const port = await freePort();
  const { command } = trap('exec-after-bind');
  const bare = start(command(port));
  const expected = await settledFiles(Number((await bare.line(SLEEPER))[1]));
  await bare.stop();
  const keeper = startKeeper(command(port));
  for (let starts = 0; starts < 3; starts++) {
    const sleeper = Number((await keeper.process.line(SLEEPER, { after: starts }))[1]);
    expect(await settledFiles(sleeper)).toEqual(expected);
    await keeper.holding();
    expect(openFiles(sleeper).map((file) => file.inode)).not.toContain(listeningInode(port));
    if (starts < 2) await keeper.crash();
  }
});

test('a kept process has the signal masks, limits and rights of a bare one', async () => {
  const facts = ['cat', '/proc/self/status', '/proc/self/limits'];
  const setting = (command: readonly string[]): string[] =>
    sh('ulimit -Sc 0; umask 027; exec "$@"', ...command);
  const bare = start(setting(facts));
  await bare.end();
  const kept = startKeeper(facts, { around: setting }).process;
  expect(await kept.end()).toEqual({ code: 0, signal: null });
  expect(rightsIn(kept.stdout)).toEqual(rightsIn(bare.stdout));
});

testNeeding('cc')(
  'the keeper has after 200 restarts the open files and the memory that it had after 50',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(staticHttp.command(port), { flags: ['--max-backoff', '0s'] });
    await keeper.holding();
    await restart(keeper, 50);
    const early = { files: await settledFiles(keeper.process.pid), ...sizeOf(keeper.process.pid) };
    await restart(keeper, 150);
    const late = { files: await settledFiles(keeper.process.pid), ...sizeOf(keeper.process.pid) };
    expect(keeper.state().starts).toBe(201);
    expect(late.files).toEqual(early.files);
    expect(late.threads).toBe(early.threads);
    expect(late.rssKiB).toBeLessThanOrEqual(early.rssKiB + 5 * 1024);
  },
  60_000,
);

// Node itself raises the soft limit to the hard one when it starts.
test('a kept process has the limit of open files of the shell that the keeper was started from', async () => {
  const inShell = (command: readonly string[]): string[] => sh('ulimit -Sn 200; "$@"; exit $?', ...command);
  const kept = startKeeper(sh('ulimit -Sn'), { around: inShell }).process;
  expect(await kept.end()).toEqual({ code: 0, signal: null });
  expect(kept.stdout).toBe('200\n');
});

const SLEEPER = /^sleep pid (\d+)$/;

async function restart(keeper: RunningKeeper, times: number): Promise<void> {
  const before = keeper.process.lines(/is served again/).length;
  for (let done = 0; done < times; done++) {
    await keeper.crash();
    await keeper.process.line(/is served again/, { after: before + done });
  }
}

interface File {
  readonly fd: number;
  readonly kind: string;
  readonly flags: string;
}

/** What is open, without the numbers that no two runs share. */
function filesOf(pid: number): File[] {
  return openFiles(pid).map(({ fd, target }) => ({
    fd,
    kind: target.replace(/:\[\d+\]$/, '').replace(/^\/tmp\/.*/, '/tmp'),
    flags: `0${fdInfo(pid, fd).flags.toString(8)}`,
  }));
}

/** The same once two looks in a row agree: a server that has just listened may have more to open. */
function settledFiles(pid: number): Promise<File[]> {
  let last: File[] = [];
  return until(
    'open files that stay as they are',
    () => {
      const before = last;
      last = filesOf(pid);
      return isDeepStrictEqual(before, last) && last;
    },
    { everyMs: 50 },
  );
}

function sizeOf(pid: number): { readonly rssKiB: number; readonly threads: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const number = (field: string): number => Number(new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(status)?.[1]);
  return { rssKiB: number('VmRSS'), threads: number('Threads') };
}

/** The lines of /proc/PID/status and of /proc/PID/limits that a parent decides. */
function rightsIn(text: string): string[] {
  const decided = /^(Umask|Uid|Gid|Groups|Sig(Blk|Ign|Cgt)|Cap\w+|Speculation\w+|Cpus_allowed|Max .*)\b/;
  return text.split('\n').filter((line) => decided.test(line));
}
