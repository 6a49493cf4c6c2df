import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { childrenOf, processStat } from '../../src/kernel/procfs.js';
import { pidOf } from '../support/http.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { freePort } from '../support/ports.js';
import { listeningInode } from '../support/proc.js';
import { until } from '../support/wait.js';
import { nodeServer, sh } from './inline.js';
import { changingCommand } from './programs.js';

/** How a program of Node comes to its end, and what a shell makes of it. */
const ends = [
  { end: 'exits with 0', act: 'process.exit(0)', code: 0 },
  { end: 'exits with 7', act: 'process.exit(7)', code: 7 },
  { end: 'is ended by SIGKILL', act: 'process.kill(process.pid, "SIGKILL")', code: 137 },
  { end: 'is ended by SIGSEGV', act: 'process.kill(process.pid, "SIGSEGV")', code: 139 },
] as const;

for (const { end, act, code } of ends) {
  test(`--restart never: a server that ${end} ends the keeper with ${code}`, async () => {
    const { keeper, finish } = await servedUntil(act, 'never');
    finish();
    expect(await keeper.process.end()).toEqual({ code, signal: null });
    expect(keeper.process.lines(/started/)).toHaveLength(1);
  });

  test(`--restart always: a server that ${end} is started again`, async () => {
    const { keeper, port, finish } = await servedUntil(act, 'always');
    const inode = listeningInode(port);
    await keeper.restarts(finish);
    await keeper.process.line(/is served again/);
    expect(listeningInode(port)).toBe(inode);
  });

  test(`--restart on-failure: a server that ${end} ${code === 0 ? 'ends the keeper' : 'is started again'}`, async () => {
    const { keeper, finish } = await servedUntil(act, 'on-failure');
    if (code === 0) {
      finish();
      expect(await keeper.process.end()).toEqual({ code: 0, signal: null });
    } else {
      await keeper.restarts(finish);
      await keeper.process.line(/is served again/);
    }
  });

  test(`a command that ${end} before it ever listened ends the keeper with ${code}`, async () => {
    const keeper = startKeeper([process.execPath, '-e', act]);
    expect(await keeper.process.end()).toEqual({ code, signal: null });
    expect(keeper.process.lines(/started/)).toHaveLength(1);
  });
}

test('--restart always starts a command again that has never listened', async () => {
  const keeper = startKeeper(sh('exit 0'), { flags: ['--restart', 'always'] });
  await keeper.process.line(/started again/, { after: 2 });
});

test('a server that crashes in the moment after it listened has listened', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeServer(port, 'listening', 'process.exit(1)'));
  await keeper.process.line(/started again/);
});

test('a keeper whose server does not listen says so after 5 s', async () => {
  const keeper = startKeeper(['sleep', '1000']);
  const startMs = performance.now();
  await keeper.process.line(/^holdfast: nothing listens yet after 5 s/);
  expect(performance.now() - startMs).toBeGreaterThan(4_900);
});

test('a server that crashes in that moment has listened, also when the keeper gets to see it late', async () => {
  const port = await freePort();
  const act = '(process.kill(process.ppid, "SIGSTOP"), process.exit(1))';
  const server = changingCommand(nodeServer(port, 'listening', act));
  const keeper = startKeeper(server.command);
  const ended = await until('the dead server of a keeper that stands still', () => {
    const stopped = processStat(keeper.process.pid)?.state === 'T';
    return stopped && childrenOf(keeper.process.pid)?.find((child) => processStat(child)?.state === 'Z');
  });
  await sleep(300); // longer than it takes a socket to be confirmed
  server.become(nodeServer(port, 'SIGUSR2', '0'));
  keeper.process.kill('SIGCONT');
  await keeper.process.line(/started again/);
  expect(await pidOf(port)).not.toBe(ended);
});

/** A server that ends by that code when it is told to. */
async function servedUntil(
  act: string,
  restart: string,
): Promise<{ readonly keeper: RunningKeeper; readonly port: number; readonly finish: () => void }> {
  const port = await freePort();
  const keeper = startKeeper(nodeServer(port, 'SIGUSR2', act), {
    flags: ['--restart', restart],
  });
  await keeper.holding();
  return { keeper, port, finish: () => process.kill(keeper.worker(), 'SIGUSR2') };
}
