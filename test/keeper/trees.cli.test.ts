import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { pidOf } from '../support/http.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { descendantsOf, isAlive, listeningInode } from '../support/proc.js';
import { gunicorn, nginx, nodeHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { outcomeOf } from './clients.js';
import { sh } from './inline.js';
import { ANSWER, heldBackCommand, IMPORTS, python } from './programs.js';
import { settled } from './reloads.js';

/** Server and helpers that detach themselves by every means: a session, no environment, a parent that is gone. */
const DETACHED = `
  sleep 1001 &
  setsid sleep 1002 &
  (setsid env -i /bin/sleep 1003 &)
  (env -i /bin/sh -c '/bin/sleep 1004 & exec /bin/sleep 1005' &)`;
const HELPERS = ['1001', '1002', '1003', '1004', '1005'];

test('a server that a shell waits for is kept, and its crash is the crash of the shell', async () => {
  const port = await freePort();
  const keeper = startKeeper(sh('"$@"; exit $?', ...nodeHttp.command(port)));
  await keeper.holding();
  const { server, inode } = await serving(port);
  expect(server).not.toBe(keeper.worker());
  await keeper.restarts(() => process.kill(server, 'SIGKILL'));
  await keeper.process.line(/exited with 137/);
  expect(await pidOf(port)).not.toBe(server);
  expect(listeningInode(port)).toBe(inode);
});

test('a shell that ends with 0 after its server crashed ends the keeper with 0', async () => {
  const port = await freePort();
  const keeper = startKeeper(sh('"$@"; true', ...nodeHttp.command(port)));
  await keeper.holding();
  process.kill(await pidOf(port), 'SIGKILL');
  expect(await keeper.process.end()).toEqual({ code: 0, signal: null });
});

test('a server that a killed shell leaves behind is ended before the next one starts', async () => {
  const port = await freePort();
  const keeper = startKeeper(sh('"$@"; true', ...nodeHttp.command(port)));
  await keeper.holding();
  const { server, inode } = await serving(port);
  await keeper.crash();
  expect(isAlive(server)).toBe(false);
  expect(await pidOf(port)).not.toBe(server);
  expect(listeningInode(port)).toBe(inode);
});

for (const { title, victim } of [
  { title: 'npm itself', victim: (tree: Tree) => tree.root },
  { title: 'the shell between npm and the server', victim: (tree: Tree) => tree.middle },
  { title: 'the server', victim: (tree: Tree) => tree.server },
]) {
  test(`npm run: killing ${title} starts it all again, with no copy left of the old`, async () => {
    const port = await freePort();
    const folder = npmPackage(`${nodeHttp.command(port).join(' ')} && true`);
    const keeper = startKeeper(['npm', 'run', '--silent', 'serve'], { cwd: folder });
    await keeper.holding();
    const inode = listeningInode(port);
    const tree = await treeOf(keeper, port);
    await keeper.restarts(() => process.kill(victim(tree), 'SIGKILL'));
    expect(tree.all.filter(isAlive)).toEqual([]);
    expect(tree.all).not.toContain(await pidOf(port));
    expect(listeningInode(port)).toBe(inode);
    keeper.process.kill('SIGTERM');
    await keeper.process.end();
    await expect(pidOf(port)).rejects.toThrow('ECONNREFUSED');
  });
}

test('npm run: the stop leaves nothing', async () => {
  const port = await freePort();
  const folder = npmPackage(`${nodeHttp.command(port).join(' ')} && true`);
  const keeper = startKeeper(['npm', 'run', 'serve'], { cwd: folder });
  await keeper.holding();
  const tree = await treeOf(keeper, port);
  keeper.process.kill('SIGTERM');
  expect((await keeper.process.end()).code).not.toBe(0);
  expect(tree.all.filter(isAlive)).toEqual([]);
});

test('a great-grandchild that binds is kept', async () => {
  const port = await freePort();
  const nested = sh('"$@"; exit 3', ...sh('"$@"; exit 4', ...sh('"$@"; exit 5', ...nodeHttp.command(port))));
  const keeper = startKeeper(nested);
  await keeper.holding();
  const { server, inode } = await serving(port);
  expect(descendantsOf(keeper.worker())).toContain(server);
  await keeper.restarts(() => process.kill(server, 'SIGKILL'));
  await keeper.process.line(/exited with 3/);
  expect(await pidOf(port)).not.toBe(server);
  expect(listeningInode(port)).toBe(inode);
});

test('a middle process that dies while the first one goes on changes nothing for clients', async () => {
  const port = await freePort();
  const middle = sh('"$@"; true', ...nodeHttp.command(port));
  const keeper = startKeeper(sh('"$@" & sleep 1000', ...middle));
  await keeper.holding();
  const tree = await treeOf(keeper, port);
  const load = startLoad({ port, ratePerSecond: 100 });
  process.kill(tree.middle, 'SIGKILL');
  await until('the orphan at the keeper', () => !descendantsOf(tree.root).includes(tree.server));
  await moreAnswers(load, 50);
  const { failures, pids } = await load.stop();
  expect(failures).toEqual([]);
  expect(pids).toEqual([tree.server]);
  expect(keeper.state().starts).toBe(1);
  keeper.process.kill('SIGTERM');
  expect(await keeper.process.end()).toEqual({ code: 143, signal: null });
  expect(tree.all.filter(isAlive)).toEqual([]);
});

test('a middle process that dies and takes the first one with it is a crash', async () => {
  const port = await freePort();
  const middle = sh('"$@"; true', ...nodeHttp.command(port));
  const keeper = startKeeper(sh('"$@"; exit 9', ...middle));
  await keeper.holding();
  const inode = listeningInode(port);
  const tree = await treeOf(keeper, port);
  await keeper.restarts(() => process.kill(tree.middle, 'SIGKILL'));
  await keeper.process.line(/exited with 9/);
  expect(tree.all.filter(isAlive)).toEqual([]);
  expect(await pidOf(port)).not.toBe(tree.server);
  expect(listeningInode(port)).toBe(inode);
});

test('a crash of the first process leaves nothing of its tree, however it detached itself', async () => {
  const port = await freePort();
  const keeper = startKeeper(sh(`${DETACHED}\n"$@"; true`, ...nodeHttp.command(port)));
  await keeper.holding();
  const before = await helpers(keeper);
  await keeper.crash();
  expect(before.filter(isAlive)).toEqual([]);
  const after = await helpers(keeper);
  expect(after).toHaveLength(HELPERS.length);
});

for (const { title, flags } of [
  { title: 'the stop', flags: (): string[] => [] },
  {
    title: 'the stop without a trap',
    flags: (port: number) => ['--no-trap', '--listen', `127.0.0.1:${port}`],
  },
]) {
  test(`${title} leaves nothing of the tree, however it detached itself`, async () => {
    const port = await freePort();
    const keeper = startKeeper(sh(`${DETACHED}\n"$@"; true`, ...nodeHttp.command(await freePort())), {
      flags: flags(port),
    });
    const before = await helpers(keeper);
    keeper.process.kill('SIGTERM');
    await keeper.process.end();
    expect(before.filter(isAlive)).toEqual([]);
  });
}

test('what ignores the stop signal and outlives its first process gets SIGKILL after the stop timeout', async () => {
  const port = await freePort();
  const stubborn = sh(`trap '' TERM; sleep 1001 & "$@"`, ...nodeHttp.command(port));
  const keeper = startKeeper(stubborn, { flags: ['--stop-timeout', '300ms'] });
  await keeper.holding();
  const all = [keeper.worker(), ...descendantsOf(keeper.worker())];
  expect(all).toHaveLength(3);
  keeper.process.kill('SIGTERM');
  expect(await keeper.process.end()).toEqual({ code: 137, signal: null });
  expect(all.filter(isAlive)).toEqual([]);
});

testNeeding(nginx.needs)('a server of which every process is killed at once is started again', async () => {
  const port = await freePort();
  const keeper = startKeeper(nginx.command(port));
  await keeper.holding();
  const { server, inode } = await serving(port);
  const all = [keeper.worker(), ...descendantsOf(keeper.worker())];
  await keeper.restarts(() => {
    for (const pid of all) process.kill(pid, 'SIGKILL');
  });
  expect(all).toContain(server);
  expect(all).not.toContain(await pidOf(port));
  expect(listeningInode(port)).toBe(inode);
});

test('a server that a loop around it starts again needs no restart of ours', async () => {
  const port = await freePort();
  const keeper = startKeeper(sh('while :; do "$@"; done', ...nodeHttp.command(port)));
  await keeper.holding();
  const inode = listeningInode(port);
  const load = startLoad({ port, ratePerSecond: 100 });
  for (let kills = 0; kills < 5; kills++) {
    const server = await pidOf(port);
    process.kill(server, 'SIGKILL');
    expect(await pidOf(port)).not.toBe(server);
    await moreAnswers(load, 20);
  }
  const { refused, hung, other, pids } = await load.stop();
  expect({ refused, hung, other }).toEqual({ refused: 0, hung: 0, other: 0 });
  expect(pids).toHaveLength(6);
  expect(listeningInode(port)).toBe(inode);
  expect(keeper.state().starts).toBe(1);
});

test('clients of a server that died inside a living tree wait --hold-for, then are refused until it is back', async () => {
  const port = await freePort();
  const folder = temporaryFolder();
  const loop = sh('while :; do test -e paused || "$@"; sleep 0.02; done', ...nodeHttp.command(port));
  const keeper = startKeeper(loop, { flags: ['--hold-for', '1s'], cwd: folder });
  await keeper.holding();
  const inode = listeningInode(port);
  writeFileSync(join(folder, 'paused'), '');
  process.kill(await pidOf(port), 'SIGKILL');
  expect(await outcomeOf(port)).toBe('ECONNRESET');
  expect(await outcomeOf(port)).toBe('ECONNREFUSED');
  rmSync(join(folder, 'paused'));
  const server = await until('an answer', async () => Number(await outcomeOf(port)));
  expect(descendantsOf(keeper.worker())).toContain(server);
  expect(listeningInode(port)).toBe(inode);
  expect(keeper.state().starts).toBe(1);
});

testNeeding('python3')(
  'a server that executes itself anew has its port again, and nobody is refused',
  async () => {
    const port = await freePort();
    const script = `${IMPORTS}${ANSWER}
signal.signal(signal.SIGHUP, lambda *_: os.execv(sys.executable, sys.orig_argv))
listener = socket.socket()
listener.bind(('127.0.0.1', int(sys.argv[1])))
listener.listen()
serve(listener)`;
    const keeper = startKeeper(python(script, port));
    await keeper.holding();
    const inode = listeningInode(port);
    const load = startLoad({ port, ratePerSecond: 100 });
    for (let times = 0; times < 3; times++) {
      process.kill(keeper.worker(), 'SIGHUP');
      await moreAnswers(load, 30);
    }
    const { refused, hung, other, pids } = await load.stop();
    expect({ refused, hung, other, pids }).toEqual({
      refused: 0,
      hung: 0,
      other: 0,
      pids: [keeper.worker()],
    });
    expect(listeningInode(port)).toBe(inode);
    expect(keeper.state().starts).toBe(1);
  },
);

testNeeding(gunicorn.needs)(
  'a prefork worker that is replaced inside the tree needs no restart of ours',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(gunicorn.command(port));
    await keeper.holding();
    const inode = listeningInode(port);
    for (let kills = 0; kills < 3; kills++) {
      const worker = await pidOf(port);
      process.kill(worker, 'SIGKILL');
      await until(
        'a worker in its place',
        () => descendantsOf(keeper.worker()).length === 2 && !isAlive(worker),
      );
      await pidOf(port);
    }
    expect(listeningInode(port)).toBe(inode);
    expect(keeper.state().starts).toBe(1);
  },
);

/** First process, the one between, and the server, of a tree without branches. */
testNeeding('python3')(
  'what is being started is no process of the worker beside it, and is not ended with that',
  async () => {
    const port = await freePort();
    const { command, hold } = heldBackCommand(nodeHttp.command(port));
    const keeper = startKeeper(command);
    await keeper.holding();
    const { isMet, letGo } = await hold();
    const reload = keeper.ask('reload', keeper.name);
    await isMet();
    // Both look at every process that there is.
    for (const order of ['pause', 'resume']) expect((await keeper.ask(order, keeper.name)).exit.code).toBe(0);
    letGo();
    expect((await reload).exit).toEqual({ code: 0, signal: null });
    await settled(keeper);
    expect(keeper.state()).toMatchObject({ starts: 2, restarts: 0, generation: 2 });
    expect(await outcomeOf(port)).toBe(keeper.worker());
  },
);

interface Tree {
  readonly root: number;
  readonly middle: number;
  readonly server: number;
  readonly all: readonly number[];
}

async function treeOf(keeper: RunningKeeper, port: number): Promise<Tree> {
  const root = keeper.worker();
  const server = await pidOf(port);
  const all = [root, ...descendantsOf(root)];
  const middle = all.find((pid) => pid !== root && descendantsOf(pid).includes(server));
  if (middle === undefined) throw new Error(`nobody between ${root} and ${server}`);
  return { root, middle, server, all };
}

async function serving(
  port: number,
): Promise<{ readonly server: number; readonly inode: number | undefined }> {
  return { server: await pidOf(port), inode: listeningInode(port) };
}

async function moreAnswers(load: ReturnType<typeof startLoad>, count: number): Promise<void> {
  const { ok } = load.counts();
  await until(`${count} more answers`, () => load.counts().ok >= ok + count);
}

/** The sleeping helpers of DETACHED below the keeper, once all of them run. */
async function helpers(keeper: RunningKeeper): Promise<number[]> {
  const all = await until('every helper', () => {
    const found = descendantsOf(keeper.process.pid).filter((pid) => HELPERS.includes(argumentOf(pid)));
    return found.length === HELPERS.length && found;
  });
  onTestFinished(() => {
    // Without an environment nobody else finds those that a keeper has left behind.
    for (const pid of all) if (HELPERS.includes(argumentOf(pid))) process.kill(pid, 'SIGKILL');
  });
  return all;
}

/** What a program was told on its command line first. */
function argumentOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[1] ?? '';
  } catch {
    return ''; // ESRCH: it has ended
  }
}

function npmPackage(script: string): string {
  const folder = temporaryFolder();
  const json = { name: 'served', private: true, scripts: { serve: script } };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(json));
  return folder;
}
