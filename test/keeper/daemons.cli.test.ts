import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { pidOf } from '../support/http.js';
import { startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { descendantsOf, isAlive, isHolder, listeningInode } from '../support/proc.js';
import { gunicorn, nginx, nodeHttp, trap } from '../support/servers.js';
import { until } from '../support/wait.js';
import { outcomeOf } from './clients.js';
import { sh } from './inline.js';

const FOLLOWED = /went into the background; following pid/;
const daemon = trap('daemonize');
const testDaemon = testNeeding(daemon.needs);

testDaemon('a server that went into the background is followed, and there is one of it', async () => {
  const port = await freePort();
  const keeper = startKeeper(daemon.command(port));
  await keeper.holding();
  await keeper.process.line(FOLLOWED);
  const pid = await pidOf(port);
  await until('the daemon in the state', () => keeper.worker() === pid);
  expect(await pidOf(port)).toBe(pid);
  expect(keeper.state().starts).toBe(1);
  await until('one server', () => {
    const others = descendantsOf(keeper.process.pid).filter((one) => !isHolder(one));
    return others.length === 1 && others[0] === pid;
  });
});

testDaemon('a daemon that is killed is started again, and nobody is refused meanwhile', async () => {
  const port = await freePort();
  const keeper = startKeeper(daemon.command(port));
  await keeper.holding();
  const inode = listeningInode(port);
  for (let kills = 0; kills < 3; kills++) {
    await keeper.process.line(FOLLOWED, { after: kills });
    const pid = await pidOf(port);
    await keeper.restarts(() => process.kill(pid, 'SIGKILL'));
    expect(await pidOf(port)).not.toBe(pid);
    expect(listeningInode(port)).toBe(inode);
  }
});

testDaemon('the stop ends a daemon, and the exit code is the daemon’s', async () => {
  const port = await freePort();
  const keeper = startKeeper(daemon.command(port));
  await keeper.holding();
  await keeper.process.line(FOLLOWED);
  const pid = await pidOf(port);
  keeper.process.kill('SIGTERM');
  expect(await keeper.process.end()).toEqual({ code: 143, signal: null });
  expect(isAlive(pid)).toBe(false);
  expect(await outcomeOf(port)).toBe('ECONNREFUSED');
});

testDaemon('a daemon that is killed under --restart never ends the keeper with 137', async () => {
  const port = await freePort();
  const keeper = startKeeper(daemon.command(port), { flags: ['--restart', 'never'] });
  await keeper.holding();
  await keeper.process.line(FOLLOWED);
  process.kill(await pidOf(port), 'SIGKILL');
  expect(await keeper.process.end()).toEqual({ code: 137, signal: null });
});

test('a daemon that ends by itself with 0 ends the keeper with 0', async () => {
  const port = await freePort();
  const keeper = startKeeper(sh('"$@" --graceful & exit 0', ...nodeHttp.command(port)));
  await keeper.holding();
  await keeper.process.line(FOLLOWED);
  process.kill(await pidOf(port), 'SIGTERM');
  expect(await keeper.process.end()).toEqual({ code: 0, signal: null });
});

test('a daemon that ends by itself with 3 is started again', async () => {
  const port = await freePort();
  const keeper = startKeeper(sh('("$@"; exit 3) & exit 0', ...nodeHttp.command(port)));
  await keeper.holding();
  await keeper.process.line(FOLLOWED);
  const pid = await pidOf(port);
  await keeper.restarts(() => process.kill(pid, 'SIGKILL'));
  expect(await pidOf(port)).not.toBe(pid);
});

test('a first process that exits with 0 after its child serves is followed by that child', async () => {
  const port = await freePort();
  const keeper = startKeeper(
    sh('"$@" & trap "exit 0" USR1; while :; do sleep 0.02; done', ...nodeHttp.command(port)),
  );
  await keeper.holding();
  const pid = await pidOf(port);
  process.kill(keeper.worker(), 'SIGUSR1');
  await keeper.process.line(FOLLOWED);
  expect(await pidOf(port)).toBe(pid);
  expect(keeper.state().starts).toBe(1);
});

test('a first process that exits with another code than 0 crashed, whoever serves: all is started anew', async () => {
  const port = await freePort();
  const keeper = startKeeper(
    sh('"$@" & trap "exit 6" USR1; while :; do sleep 0.02; done', ...nodeHttp.command(port)),
  );
  await keeper.holding();
  const pid = await pidOf(port);
  await keeper.crash('SIGUSR1');
  await keeper.process.line(/exited with 6/);
  expect(isAlive(pid)).toBe(false);
  expect(await pidOf(port)).not.toBe(pid);
});

testNeeding(gunicorn.needs)(
  'a first process that hands over to its child is followed by it: gunicorn by USR2',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(gunicorn.command(port), { detached: true });
    await keeper.holding();
    const inode = listeningInode(port);
    const old = keeper.worker();
    await until('its workers', () => descendantsOf(old).length === 2);
    const load = startLoad({ port, ratePerSecond: 200 });
    keeper.process.kill('SIGUSR2');
    const next = await until('a new master with its workers', () =>
      descendantsOf(old).find((pid) => descendantsOf(pid).length === 2),
    );
    process.kill(old, 'SIGTERM');
    await keeper.process.line(FOLLOWED);
    await until('the new master in the state', () => keeper.worker() === next);
    const { ok } = load.counts();
    await until('answers of the new one', () => load.counts().ok > ok + 50);
    const { failures } = await load.stop();
    expect(failures).toEqual([]);
    expect(keeper.state().starts).toBe(1);
    expect(listeningInode(port)).toBe(inode);
  },
);

testNeeding(nginx.needs)(
  'a daemon that upgrades its program is followed: nginx by USR2 and QUIT',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(inBackground(nginx.command(port)), { detached: true });
    await keeper.holding();
    await keeper.process.line(FOLLOWED);
    const inode = listeningInode(port);
    const old = await until('the master in the state', () => isMaster(keeper.worker()) && keeper.worker());
    const load = startLoad({ port, ratePerSecond: 200 });
    keeper.process.kill('SIGUSR2');
    const isComplete = (pid: number): boolean => isMaster(pid) && descendantsOf(pid).length === 2;
    const next = await until('a new master with its workers', () => descendantsOf(old).find(isComplete));
    process.kill(old, 'SIGQUIT');
    await until('the new master in the state', () => keeper.worker() === next);
    expect(isAlive(old)).toBe(false);
    const { failures } = await load.stop();
    expect(failures).toEqual([]);
    expect(keeper.state().starts).toBe(1);
    await keeper.crash();
    await pidOf(port);
    expect(listeningInode(port)).toBe(inode);
  },
);

testNeeding(nginx.needs)(
  'what a killed daemon leaves behind is ended before the next one starts',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(inBackground(nginx.command(port)));
    await keeper.holding();
    await keeper.process.line(FOLLOWED);
    const master = await until('the master in the state', () => isMaster(keeper.worker()) && keeper.worker());
    const workers = await until(
      'its workers',
      () => descendantsOf(master).length === 2 && descendantsOf(master),
    );
    await keeper.restarts(() => process.kill(master, 'SIGKILL'));
    expect(workers.filter(isAlive)).toEqual([]);
    expect(workers).not.toContain(await pidOf(port));
  },
);

test('a helper that outlives its server is no daemon: it is ended, and the keeper with it', async () => {
  const port = await freePort();
  const keeper = startKeeper(sh('sleep 1000 & "$@" --graceful; exit 0', ...nodeHttp.command(port)));
  await keeper.holding();
  const [helper = 0] = descendantsOf(keeper.worker());
  process.kill(await pidOf(port), 'SIGTERM');
  expect(await keeper.process.end()).toEqual({ code: 0, signal: null });
  expect(isAlive(helper)).toBe(false);
});

/** nginx as Debian's service runs it. */
function inBackground(command: readonly string[]): readonly string[] {
  const file = command.at(-1) ?? '';
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replace('daemon off;', 'daemon on;'));
  return command;
}

function isMaster(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('nginx: master');
  } catch {
    return false; // ESRCH: it has ended
  }
}
