import { once } from 'node:events';
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { KeeperState } from '../../src/index.js';
import { findHolders } from '../../src/keeper/holder.js';
import { bodyOf } from '../support/http.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { descendantsOf, isAlive, isHolder, listeners } from '../support/proc.js';
import { start } from '../support/process.js';
import { goHttp, javaHttp, nginx, nodeHttp, pythonHttp, staticHttp, trap } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { changingCommand, heldBackCommand } from './programs.js';
import { expectNothingFailed, reloaded, settled } from './reloads.js';
import { inodesOf } from './sockets.js';
import { killed, rewriteRecovery, stateFileOf, stateOf, successor, type WrittenState } from './successors.js';

const KILLS = Number(process.env.HOLDFAST_TEST_KEEPER_KILLS ?? 3);

for (const server of [nodeHttp, pythonHttp, staticHttp, goHttp, javaHttp, nginx]) {
  testNeeding(server.needs)(
    `${server.name}: ${KILLS} kills of the keeper with SIGKILL, each followed by a new one, fail no request and end no server`,
    async () => {
      const port = await freePort();
      const command = server.command(port);
      let keeper = startKeeper(command);
      await keeper.holding();
      const load = startLoad({ port, ratePerSecond: 200 });
      await until('answers', () => load.counts().ok > 20);
      // What goes into the background is another process by now.
      const worker = await until('the server', () => isAlive(keeper.worker()) && keeper.worker());
      const inodes = inodesOf(port);
      for (let kill = 0; kill < KILLS; kill++) {
        await killed(keeper);
        keeper = successor(keeper, command);
        await keeper.process.line(/took over the server/);
        expect(keeper.worker()).toBe(worker);
        expect(inodesOf(port)).toEqual(inodes);
      }
      const next = await reloaded(keeper);
      await settled(keeper);
      await expectNothingFailed(load.stop());
      expect(next).not.toBe(worker);
      expect(isAlive(worker)).toBe(false);
    },
    60_000 + KILLS * 10_000,
  );
}

test('a worker that dies while no keeper lives is started again with its socket, and its clients wait', async () => {
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port));
  await first.holding();
  const [worker, inodes] = [first.worker(), inodesOf(port)];
  await killed(first);
  process.kill(worker, 'SIGKILL');
  await until('the end of the server', () => !isAlive(worker));
  const answer = bodyOf(port, { timeoutMs: 10_000 });
  const keeper = successor(first, nodeHttp.command(port));
  expect(await answer).toContain('pid');
  expect(inodesOf(port)).toEqual(inodes);
  expect(keeper.worker()).not.toBe(worker);
  await keeper.crash();
  expect(await bodyOf(port)).not.toBe('');
});

test('a server that waits for its next start waits on with the next keeper, and has not failed once more', async () => {
  const port = await freePort();
  const cwd = temporaryFolder();
  const bad = join(cwd, 'bad');
  const code = `
    if (require('node:fs').existsSync('bad')) process.exit(3);
    require('node:http').createServer((_, response) => response.end('ok')).listen(${port}, '127.0.0.1');`;
  const command = [process.execPath, '-e', code];
  const first = startKeeper(command, { cwd });
  await first.holding();
  writeFileSync(bad, '');
  process.kill(first.worker(), 'SIGKILL');
  // The sixth failure in a row is waited for 1.3 s at least.
  await until('a long wait', () => stateOf(first).phase === 'backing-off' && failuresOf(first) >= 6, {
    timeoutMs: 20_000,
  });
  await killed(first);
  const failures = failuresOf(first);
  const keeper = startKeeper(command, { cwd, beside: first });
  await keeper.process.line(/took over no server, and 127/);
  expect({ phase: stateOf(keeper).phase, failures: failuresOf(keeper) }).toEqual({
    phase: 'backing-off',
    failures,
  });
  rmSync(bad);
  expect(await bodyOf(port, { timeoutMs: 20_000 })).toBe('ok');
});

test('binds that a server makes while no keeper lives wait for the next one, and are held', async () => {
  const [port, second] = [await freePort(), await freePort()];
  const first = startKeeper(secondPort(port, second));
  await first.holding();
  await killed(first);
  // The server's only thread waits in bind, so that it answers when that is done.
  const answer = bodyOf(port, { path: '/bind', timeoutMs: 10_000 });
  await until('the bind that waits', () => waitsInBind(first.state().worker?.pid ?? 0));
  const keeper = successor(first, secondPort(port, second));
  expect(await answer).toBe('bound');
  await keeper.process.line(new RegExp(`keeps .*:${second} `));
  expect(await bodyOf(second)).not.toBe('');
  const { inode } = listeners(second)[0] ?? {};
  await keeper.crash();
  await until(
    'the second port',
    () => keeper.state().sockets.find((socket) => socket.inode === inode)?.inode,
  );
});

test('trap 7.5: a standby stays parked while no keeper lives, and serves when its time comes', async () => {
  const port = await freePort();
  const { first, standby } = await startStandby(port);
  await killed(first);
  const keeper = successor(first, nodeHttp.command(port), ['--standby']);
  await keeper.process.line(/took over the server/);
  await expectStandIn(keeper, standby);
  expect(await bodyOf(port)).not.toBe('');
});

test('a call that the keeper had received and not written down when it was killed is found and answered', async () => {
  const port = await freePort();
  const { first, standby } = await startStandby(port);
  await killed(first);
  rewriteRecovery(first, ({ notifiers }) => {
    for (const notifier of notifiers) notifier.pending = [];
  });
  const keeper = successor(first, nodeHttp.command(port), ['--standby']);
  await expectStandIn(keeper, standby);
  expect(await bodyOf(port)).toContain(`pid ${standby}`);
});

for (const next of ['has been started', 'has died'])
  test(`a standby that serves and was not written down to is no standby, when the one after it ${next}`, async () => {
    const port = await freePort();
    const { first, standby } = await startStandby(port);
    const file = stateFileOf(first);
    const before = readFileSync(file, 'utf8');
    process.kill(first.worker(), 'SIGKILL');
    await first.process.line(new RegExp(`pid ${standby}, which was standing by, serves now`));
    const parked = await first.untilState('the next standby', ({ workers }) =>
      workers.some(({ phase, pid }) => phase === 'parked' && pid !== standby),
    );
    await killed(first);
    if (next === 'has died') {
      const { pid } = parked.workers.find(({ phase }) => phase === 'parked') ?? {};
      process.kill(pid ?? 0, 'SIGKILL');
      await until('its end', () => !isAlive(pid ?? 0));
    }
    writeFileSync(file, before);
    const keeper = successor(first, nodeHttp.command(port), ['--standby']);
    await keeper.process.line(/took over the server/);
    const { generation } = await keeper.untilState('one that serves and one that waits', ({ workers }) => {
      const [one, other, ...more] = workers.toSorted((a, b) => a.phase.localeCompare(b.phase));
      return (
        more.length === 0 && one?.phase === 'parked' && other?.phase === 'serving' && other.pid === standby
      );
    });
    expect(generation).toBe(1);
    expect(await bodyOf(port)).toContain(`pid ${standby}`);
  });

test('a listen that the keeper had answered and not written down when it was killed counts all the same', async () => {
  const port = await freePort();
  const flags = ['--workers', '2'];
  const first = startKeeper(nodeHttp.command(port), { flags });
  const serve = ({ workers }: KeeperState): boolean =>
    workers.length === 2 && workers.every(({ phase }) => phase === 'serving');
  await first.untilState('two workers', serve);
  await killed(first);
  rewriteRecovery(first, ({ generations }) => {
    generations[0].workers[1].phase = 'starting';
  });
  const keeper = successor(first, nodeHttp.command(port), flags);
  await keeper.process.line(/took over the server/);
  await keeper.untilState('two workers', serve);
});

test(`a server that writes a line every 10 ms does not notice ${KILLS} kills of its keeper`, async () => {
  const port = await freePort();
  const script = `
    let lines = 0;
    setInterval(() => console.log('line ' + ++lines), 10);
    require('node:http').createServer((_, response) => response.end('ok')).listen(${port}, '127.0.0.1');`;
  const command = [process.execPath, '-e', script];
  const first = startKeeper(command);
  await first.holding();
  const worker = first.worker();
  let keeper = first;
  for (let kill = 0; kill < KILLS; kill++) {
    await killed(keeper);
    keeper = successor(keeper, command);
    await keeper.process.line(/took over the server/);
    const seen = first.process.lines(/^line \d+$/).length;
    await until('more lines', () => first.process.lines(/^line \d+$/).length > seen + 10);
  }
  expect(keeper.worker()).toBe(worker);
  const numbers = first.process.lines(/^line (\d+)$/).map(([, number]) => Number(number));
  expect(numbers).toEqual(numbers.map((_, index) => index + 1));
});

test('while no keeper lives, the commands say what becomes of its server', async () => {
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port));
  await first.holding();
  const worker = first.worker();
  await killed(first);
  const told = `its server, pid ${worker}, goes on without one; in ${process.cwd()}, with the options that it had, take it over with: holdfast run --name app`;
  for (const [command, code] of [
    ['status', 1],
    ['reload', 2],
  ] as const) {
    const { exit, stderr } = await first.ask(command, 'app');
    expect(exit.code).toBe(code);
    expect(stderr).toContain(told);
  }
});

test('when the holder was killed as well, the sockets come from the server, which is reloaded', async () => {
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port));
  await first.holding();
  const worker = first.worker();
  const load = startLoad({ port, ratePerSecond: 200 });
  await killed(first);
  // One that is killed while it starts another holder leaves two.
  const holders = findHolders(stateFileOf(first)).map(({ pid }) => pid);
  expect(holders).not.toEqual([]);
  for (const pid of holders) process.kill(pid, 'SIGKILL');
  await until('the end of the holders', () => !holders.some(isAlive));
  const keeper = successor(first, nodeHttp.command(port));
  const told = `took over the server, pid ${worker}, and \\S*:${port}\\b.*cannot bind any more until it is reloaded`;
  await keeper.process.line(new RegExp(told));
  await keeper.untilState(
    'the new generation',
    ({ generation, reload }) => generation === 2 && reload === 'steady',
  );
  await expectNothingFailed(load.stop());
  expect(isAlive(worker)).toBe(false);
});

test('a keeper that has taken over knows how its notifier numbers calls before what it starts has made one', async () => {
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port));
  await first.holding();
  await killed(first);
  const keeper = successor(first, nodeHttp.command(port));
  await keeper.process.line(/took over the server/);
  // Of the former keeper's notifier and of its own. By such a number the one after it finds a call that this one loses.
  const { notifiers } = stateOf(keeper).recovery;
  expect(notifiers.map(({ lastId }) => lastId.bigint)).toEqual(
    [1, 2].map(() => expect.stringMatching(/^[1-9]/)),
  );
});

test('workers and what was scaled stay', async () => {
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port), { flags: ['--workers', '2'] });
  const serving = (keeper: RunningKeeper, count: number): Promise<unknown> =>
    keeper.untilState(`${count} workers`, ({ workers }) => {
      return workers.filter(({ phase }) => phase === 'serving').length === count;
    });
  await serving(first, 2);
  await first.ask('scale', 'app', '3');
  await serving(first, 3);
  const pids = first.state().workers.map(({ pid }) => pid);
  await killed(first);
  const keeper = successor(first, nodeHttp.command(port), ['--workers', '2']);
  await serving(keeper, 3);
  expect(keeper.state().workers.map(({ pid }) => pid)).toEqual(pids);
  const [one] = pids;
  process.kill(one ?? 0, 'SIGKILL');
  await keeper.process.line(/started again/);
  await serving(keeper, 3);
});

test('a reload that a kill interrupted is forgotten: the candidate ends, the old server goes on', async () => {
  const port = await freePort();
  const flags = ['--ready', 'delay:1h', '--ready-timeout', '2h'];
  const first = startKeeper(nodeHttp.command(port), { flags });
  await first.holding();
  const worker = first.worker();
  const load = startLoad({ port, ratePerSecond: 200 });
  void first.ask('reload', 'app');
  await first.untilState(
    'the candidate',
    ({ workers }) => workers.filter(({ phase }) => phase === 'serving').length === 2,
  );
  const candidate = first
    .state()
    .workers.map(({ pid }) => pid)
    .find((pid) => pid !== worker);
  await killed(first);
  const keeper = successor(first, nodeHttp.command(port), flags);
  await settled(keeper);
  expect(keeper.worker()).toBe(worker);
  expect(isAlive(candidate ?? 0)).toBe(false);
  await expectNothingFailed(load.stop());
  await expectOneSocket(keeper);
});

for (const flags of [[], ['--replace']])
  testNeeding('python3')(
    `so is one whose candidate was on its way into its program, of which nobody knows anything (run ${flags.join('')})`,
    async () => {
      const port = await freePort();
      const { command, hold } = heldBackCommand(nodeHttp.command(port));
      const first = startKeeper(command);
      await first.holding();
      const worker = first.worker();
      const { isMet, letGo } = await hold();
      void first.ask('reload', 'app');
      await isMet();
      const [candidate = 0, ...others] = descendantsOf(first.process.pid).filter(
        (pid) => pid !== worker && !isHolder(pid),
      );
      expect(others).toEqual([]);
      await killed(first);
      // The lock of the name has been forked with it.
      const keeper = successor(first, command, flags);
      letGo();
      await keeper.process.line(/took over/);
      await until('its end', () => !isAlive(candidate));
      expect(keeper.worker()).toBe(worker);
      expect(await bodyOf(port)).toContain(`pid ${worker}`);
      await expectOneSocket(keeper);
    },
  );

test('so is one whose candidate shares the socket of the old server', async () => {
  const cwd = temporaryFolder();
  const flags = ['--listen', 'unix:shared.sock', '--ready', 'delay:1h', '--ready-timeout', '2h'];
  const listen = `listen({ fd: 3 }, () => console.log('listening'))`;
  const command = [
    process.execPath,
    '-e',
    `require('node:http').createServer((_, r) => r.end('ok')).${listen}`,
  ];
  const first = startKeeper(command, { flags, cwd });
  await first.process.line(/^listening$/);
  const worker = first.worker();
  void first.ask('reload', 'app');
  await first.process.line(/^listening$/, { after: 1 });
  await first.untilState('two that serve', ({ workers }) => workers.length === 2);
  await killed(first);
  const keeper = startKeeper(command, { flags, cwd, beside: first });
  await settled(keeper);
  expect(keeper.worker()).toBe(worker);
  await expectOneSocket(keeper);
});

test('of a candidate that a kill interrupted nobody is to take an address', async () => {
  const [port, fresh] = [await freePort(), await freePort()];
  const { command, become } = changingCommand(nodeHttp.command(port));
  const flags = ['--ready', 'delay:1h', '--ready-timeout', '2h'];
  const first = startKeeper(command, { flags });
  await first.holding();
  const worker = first.worker();
  become(nodeHttp.command(fresh));
  void first.ask('reload', '--new-addresses', 'app');
  await first.untilState(
    'the candidate',
    (state) => socketsIn(state).filter(({ confirmed }) => confirmed).length === 2,
  );
  await killed(first);
  const keeper = successor(first, command, flags);
  await settled(keeper);
  expect(keeper.worker()).toBe(worker);
  expect(keeper.process.stderr).not.toContain('does not listen');
  expect(listeners(fresh)).toEqual([]);
});

testNeeding(pythonHttp.needs)(
  'a server that was handed its socket and does not call listen has taken its address, for the next keeper too',
  async () => {
    const port = await freePort();
    const code = `
import os, socket
server = socket.socket(fileno=3)
kept = []
while True:
    client, _ = server.accept()
    client.sendall(b'pid %d' % os.getpid())
    kept.append(client)
`;
    const command = ['python3', '-c', code];
    const flags = ['--listen', `${port}`, '--drain-wait', 'open', '--drain-timeout', '1h'];
    const first = startKeeper(command, { flags });
    await first.holding();
    const open = connect(port, '127.0.0.1');
    expect(`${(await once(open, 'data'))[0]}`).toBe(`pid ${first.worker()}`);
    await reloaded(first);
    await killed(first);
    const keeper = successor(first, command, flags);
    await keeper.process.line(/took over the server/);
    expect(keeper.process.stderr).not.toContain('does not listen');
    open.destroy();
  },
);

test('run --replace takes over from the keeper that runs, which ends with 0; the server serves on', async () => {
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port));
  await first.holding();
  const worker = first.worker();
  const load = startLoad({ port, ratePerSecond: 200 });
  const keeper = successor(first, nodeHttp.command(port), ['--replace']);
  await keeper.process.line(/took over the server/);
  expect(await first.process.end()).toEqual({ code: 0, signal: null });
  expect(first.process.lines(/another keeper goes on/)).toHaveLength(1);
  expect(keeper.worker()).toBe(worker);
  await expectNothingFailed(load.stop());
  await keeper.ask('stop', 'app');
  expect(await keeper.process.end()).toEqual({ code: 143, signal: null });
  expect(listeners(port)).toEqual([]);
});

test('run --replace with another command reloads the server', async () => {
  const port = await freePort();
  const first = startKeeper(secondPort(port, 1));
  await first.holding();
  const load = startLoad({ port, ratePerSecond: 200 });
  const keeper = successor(first, secondPort(port, 2), ['--replace']);
  await keeper.process.line(/generation 2 has taken over/);
  await settled(keeper);
  await expectNothingFailed(load.stop());
});

test('run --replace with a further address of --listen reloads the server, which gets it', async () => {
  const [port, further] = [await freePort(), await freePort()];
  const code = `
    const server = () => require('node:http').createServer((_, response) => response.end('pid ' + process.pid));
    server().listen(${port}, '127.0.0.1');
    if (process.env.LISTEN_FDS) server().listen({ fd: 3 });`;
  const command = [process.execPath, '-e', code];
  const first = startKeeper(command);
  await first.holding();
  const keeper = successor(first, command, ['--replace', '--listen', `127.0.0.1:${further}`]);
  await keeper.process.line(/generation 2 has taken over/);
  await settled(keeper);
  for (const one of [port, further]) expect(await bodyOf(one)).toBe(`pid ${keeper.worker()}`);
});

test('run --replace with an address of --listen that somebody else has leaves everything as it was', async () => {
  const [port, taken] = [await freePort(), await freePort()];
  const other = start(nodeHttp.command(taken));
  await other.listening(taken);
  const first = startKeeper(nodeHttp.command(port));
  await first.holding();
  const keeper = successor(first, nodeHttp.command(port), ['--replace', '--listen', `${taken}`]);
  expect(await keeper.process.end()).toEqual({ code: 2, signal: null });
  expect(keeper.process.stderr).toContain('is taken by pid');
  expect((await first.ask('reload', 'app')).exit.code).toBe(0);
});

testNeeding('cc')('run --replace is refused by a keeper that is stopping, which stops on', async () => {
  const port = await freePort();
  const { command } = trap('ignore-sigterm');
  const first = startKeeper(command(port), { flags: ['--stop-timeout', '1h'] });
  await first.holding();
  first.process.kill('SIGTERM');
  await first.process.line(/stopping with SIGTERM/);
  const keeper = successor(first, command(port), ['--replace']);
  expect(await keeper.process.end()).toEqual({ code: 2, signal: null });
  expect(keeper.process.stderr).toContain('the keeper is stopping');
  first.process.kill('SIGTERM'); // at once
  expect(await first.process.end()).toEqual({ code: 137, signal: null });
  expect(first.process.stderr).not.toContain('a fault of holdfast');
});

test('run --replace without a keeper that runs starts the server', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { flags: ['--replace'] });
  await keeper.holding();
});

test('what a keeper that was killed had begun to write is not left behind', async () => {
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port));
  await first.holding();
  await killed(first);
  const { HOLDFAST_STATE_DIR: folder } = first.env;
  writeFileSync(join(folder, 'app.json.new'), '{"version":');
  const keeper = successor(first, nodeHttp.command(port));
  await keeper.process.line(/took over the server/);
  expect(readdirSync(folder).toSorted()).toEqual(['app.json', 'app.lock', 'app.sock']);
});

test('a state file that others may write is not believed', async () => {
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port));
  await first.holding();
  const file = stateFileOf(first);
  await killed(first);
  chmodSync(file, 0o666);
  const next = successor(first, nodeHttp.command(port));
  expect(await next.process.end()).toEqual({ code: 2, signal: null });
  expect(next.process.stderr).toContain(`${file} is not a file that only user`);
});

test('the stop of a server that was taken over ends everything', async () => {
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port));
  await first.holding();
  const worker = first.worker();
  await killed(first);
  const keeper = successor(first, nodeHttp.command(port));
  await keeper.process.line(/took over the server/);
  const holder = await until('a holder', () => stateOf(keeper).recovery.holder?.pid);
  keeper.process.kill('SIGTERM');
  expect(await keeper.process.end()).toEqual({ code: 143, signal: null });
  expect(isAlive(worker)).toBe(false);
  expect(isAlive(holder)).toBe(false);
  expect(listeners(port)).toEqual([]);
});

test('a candidate of a keeper that was killed is no generation to go back to: a rollback leaves the server alone', async () => {
  const port = await freePort();
  const flags = ['--ready', 'delay:60s', '--park', '60s'];
  const first = startKeeper(nodeHttp.command(port), { flags });
  await first.holding();
  const worker = first.worker();
  const reload = first.ask('reload', 'app');
  await until('the socket of the candidate', () => listeners(port).length === 2);
  await first.untilState('that it is written down', (state) => socketsIn(state).length === 2);
  await killed(first);
  await reload;
  const keeper = successor(first, nodeHttp.command(port), flags);
  await keeper.process.line(/took over the server/);
  const back = await keeper.ask('rollback', 'app');
  expect(back).toMatchObject({ exit: { code: 1 }, stderr: expect.stringContaining('none is parked') });
  expect(keeper.worker()).toBe(worker);
  await settled(keeper);
  expect(await bodyOf(port)).toBe(`pid ${worker}\n`);
});

/** Of what the candidate had, nothing is left, and the keeper still has what it goes on with. */
async function expectOneSocket(keeper: RunningKeeper): Promise<void> {
  expect((await keeper.ask('pause', 'app')).exit.code).toBe(0);
  expect((await keeper.ask('resume', 'app')).exit.code).toBe(0);
  expect(keeper.state().sockets).toHaveLength(1);
  expect(keeper.process.stderr).not.toMatch(/cannot write|a fault of holdfast/);
}

/** A keeper with a server and a standby that waits. */
async function startStandby(port: number): Promise<{ first: RunningKeeper; standby: number }> {
  const first = startKeeper(nodeHttp.command(port), { flags: ['--standby'] });
  const { workers } = await first.untilState('a parked standby', (state) =>
    state.workers.some(({ phase }) => phase === 'parked'),
  );
  return { first, standby: workers.find(({ phase }) => phase === 'parked')?.pid ?? 0 };
}

/** The very standby waits still, and serves when the server is killed. */
async function expectStandIn(keeper: RunningKeeper, standby: number): Promise<void> {
  await keeper.untilState('the same standby', ({ workers }) =>
    workers.some(({ phase, pid }) => phase === 'parked' && pid === standby),
  );
  process.kill(keeper.worker(), 'SIGKILL');
  await keeper.process.line(new RegExp(`pid ${standby}, which was standing by, serves now`));
}

/** Answers 200; at /bind it listens on a second port first. */
function secondPort(port: number, second: number): readonly string[] {
  const script = `
    const http = require('node:http');
    http.createServer((request, response) => {
      if (request.url !== '/bind') return response.end('ok');
      http.createServer((_, other) => other.end('second')).listen(${second}, '127.0.0.1', () => response.end('bound'));
    }).listen(${port}, '127.0.0.1');`;
  return [process.execPath, '-e', script];
}

function waitsInBind(pid: number): boolean {
  return readFileSync(`/proc/${pid}/syscall`, 'utf8').startsWith(process.arch === 'x64' ? '49 ' : '200 ');
}

function socketsIn(state: KeeperState): WrittenState['recovery']['generations'][number]['sockets'] {
  const { recovery } = state as WrittenState;
  return recovery.generations.flatMap(({ sockets }) => sockets);
}

function failuresOf(keeper: RunningKeeper): number {
  return stateOf(keeper).recovery.generations[0]?.workers[0]?.failures ?? 0;
}
