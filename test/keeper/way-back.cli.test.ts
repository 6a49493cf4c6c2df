import { once } from 'node:events';
import { mkdirSync, readFileSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { cpuMs } from '../../bench/support/usage.js';
import type { KeeperState } from '../../src/index.js';
import { bodyOf } from '../support/http.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { freePort } from '../support/ports.js';
import { isAlive, listeners } from '../support/proc.js';
import { start } from '../support/process.js';
import { nodeHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { nodeServer } from './inline.js';
import { diedTwice, expectNothingFailed, reloaded, settled } from './reloads.js';

test('a parked generation is gone back to at once, by the very same process, and no request fails', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { flags: ['--park', '1h'] });
  await keeper.holding();
  const first = keeper.worker();
  const load = startLoad({ port, ratePerSecond: 200 });
  const second = await reloaded(keeper);
  await keeper.process.line(/generation 1 is kept for 60 min/);
  expect(isAlive(first)).toBe(true);
  const { exit, stdout } = await keeper.ask('rollback', 'app');
  expect(exit).toEqual({ code: 0, signal: null });
  expect(stdout).toContain('generation 1 serves again');
  await settled(keeper);
  expect(keeper.worker()).toBe(first);
  expect(isAlive(second)).toBe(false);
  await expectNothingFailed(load.stop());
  // It is kept like any other.
  await keeper.crash();
  await keeper.process.line(/is served again/);
  await reloaded(keeper);
});

test('trap 5.2: what finishes or is parked goes on listening, and does not spin', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { flags: ['--park', '1h'] });
  await keeper.holding();
  const first = keeper.worker();
  await reloaded(keeper);
  await keeper.process.line(/generation 1 is kept/);
  expect(listeners(port)).toHaveLength(2);
  const before = cpuMs([first]);
  for (let asked = 0; asked < 50; asked++) expect(await bodyOf(port)).toContain(`pid ${keeper.worker()}`);
  // Of a socket that was shut down its event loop would be told without end.
  expect(cpuMs([first]) - before).toBeLessThan(50);
});

test('a parked generation ends when its time is over, or when the next reload comes', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { flags: ['--park', '300ms'] });
  await keeper.holding();
  const first = keeper.worker();
  await reloaded(keeper);
  await until('the end of the first', () => !isAlive(first));
  await settled(keeper);
  const other = startKeeper(nodeHttp.command(await freePort()), { flags: ['--park', '1h'], name: 'other' });
  await other.holding();
  const one = other.worker();
  await reloaded(other);
  await other.process.line(/generation 1 is kept/);
  await reloaded(other);
  expect(isAlive(one)).toBe(false);
});

test('a parked generation has all of its time, also after one that ended before its time', async () => {
  const flags = ['--park', '3s'];
  const keeper = startKeeper(nodeServer(await freePort(), 'SIGUSR2', 'process.exit()'), { flags });
  await keeper.holding();
  const first = keeper.worker();
  await reloaded(keeper);
  await keeper.process.line(/generation 1 is kept/);
  process.kill(first, 'SIGUSR2');
  await settled(keeper);
  const second = keeper.worker();
  await sleep(1_000);
  await reloaded(keeper);
  await keeper.process.line(/generation 2 is kept/);
  await sleep(2_500);
  expect(isAlive(second)).toBe(true);
  await until('the end of the second', () => !isAlive(second));
});

test('a release folder that a link names is gone back to after three deaths within 30 s', async () => {
  const { folder, deploy } = releases(await freePort());
  deploy('good', "response.end('good')");
  const keeper = startRelease(folder);
  await keeper.holding();
  deploy('bad', "setImmediate(() => process.exit(1)); response.end('bad')");
  await reloaded(keeper);
  const port = Number(new URL(`http://${keeper.state().sockets[0]?.address}`).port);
  for (let deaths = 0; deaths < 3; deaths++) {
    await bodyOf(port).catch(() => undefined);
    if (deaths < 2) await keeper.process.line(/is served again/, { after: deaths });
  }
  await keeper.process.line(/generation 2 died 3 times since it took over/);
  await keeper.untilState('the third generation', ({ generation }) => generation === 3);
  await settled(keeper);
  expect(await bodyOf(port)).toBe('good');
  expect(keeper.state().program).toMatchObject({ directory: join(folder, 'good') });
  // The link still names the bad one, until somebody mends it.
  deploy('better', "response.end('better')");
  await reloaded(keeper);
  expect(await bodyOf(port)).toBe('better');
  const { exit } = await keeper.ask('rollback', 'app');
  expect(exit).toEqual({ code: 0, signal: null });
  await settled(keeper);
  expect(await bodyOf(port)).toBe('good');
  // Only a reload runs what the link names.
  for (const asked of [
    ['restart', 'app'],
    ['scale', 'app', '2'],
    ['scale', 'app', '1'],
    ['release', 'app'],
    ['take', 'app'],
  ]) {
    expect((await keeper.ask(...asked)).exit).toEqual({ code: 0, signal: null });
    if (asked[0] === 'release') continue;
    await settled(keeper);
    expect(await bodyOf(port), asked.join(' ')).toBe('good');
  }
  await reloaded(keeper);
  expect(await bodyOf(port)).toBe('better');
  // From then on it is as before.
  deploy('best', "response.end('best')");
  expect((await keeper.ask('restart', 'app')).exit).toEqual({ code: 0, signal: null });
  expect(await bodyOf(port)).toBe('best');
});

test('a reload that is on its way when the server dies too often is not undone by the way back', async () => {
  const { folder, deploy } = releases(await freePort());
  deploy('good', "response.end('good')");
  const keeper = startRelease(folder);
  await keeper.holding();
  const dies = "setImmediate(() => process.exit(1)); response.end('bad')";
  deploy('bad', dies);
  await reloaded(keeper);
  const port = Number(new URL(`http://${keeper.state().sockets[0]?.address}`).port);
  for (let deaths = 0; deaths < 2; deaths++) {
    await bodyOf(port).catch(() => undefined);
    await keeper.process.line(/is served again/, { after: deaths });
  }
  const gate = join(folder, 'open');
  const waits = `while (!require('node:fs').existsSync(${JSON.stringify(gate)})) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);`;
  deploy('mended', "response.end('mended')", waits);
  const reload = keeper.ask('reload', 'app');
  await keeper.process.line(/starting generation 3/);
  await bodyOf(port).catch(() => undefined);
  await keeper.process.line(/is served again/, { after: 2 });
  writeFileSync(gate, '');
  expect((await reload).exit.code).toBe(0);
  await settled(keeper);
  expect(await bodyOf(port)).toBe('mended');
  expect(keeper.process.lines(/going back/)).toEqual([]);
});

test('a release that waits for a reload waits for the resume too, and ends no paused server', async () => {
  const port = await freePort();
  const letGo = join(temporaryFolder(), 'let-go');
  // The former one ends when it may.
  const act = `process.on('SIGTERM', () => setInterval(() => {
    if (require('node:fs').existsSync(${JSON.stringify(letGo)})) process.exit(); }, 10))`;
  const keeper = startKeeper(nodeServer(port, 'listening', act), {
    flags: ['--drain-quiet', '100ms', '--stop-timeout', '20s'],
  });
  await keeper.holding();
  const first = keeper.worker();
  const second = await reloaded(keeper);
  await keeper.untilState('the stop of the former', ({ reload }) => reload === 'retiring');
  const release = keeper.ask('release', 'app');
  // Asked at one socket, they come one after the other.
  await keeper.process.line(/generation 2 has taken over/);
  await until('the release has been asked', async () => (await keeper.ask('status', 'app')).exit.code === 0);
  expect((await keeper.ask('pause', 'app')).exit.code).toBe(0);
  writeFileSync(letGo, '');
  await until('the end of the former', () => !isAlive(first));
  await keeper.untilState('no reload', ({ reload }) => reload === 'steady');
  expect(isAlive(second)).toBe(true);
  expect((await keeper.ask('resume', 'app')).exit.code).toBe(0);
  expect((await release).exit.code).toBe(0);
  expect(keeper.process.stderr).not.toMatch(/SIGKILL|killed/);
  expect(listeners(port)).toEqual([]);
});

test('when the program is gone more workers and a restart are told, and the stop ends all the same', async () => {
  const port = await freePort();
  const program = join(temporaryFolder(), 'program');
  const write = (): void => writeFileSync(program, '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
  write();
  const keeper = startKeeper([program, ...nodeHttp.command(port)]);
  await keeper.holding();
  unlinkSync(program);
  expect((await keeper.ask('scale', 'app', '2')).exit.code).toBe(0);
  await keeper.process.line(/there is no program .*; it is tried again/);
  const restart = await keeper.ask('restart', 'app');
  expect(restart.exit.code).toBe(1);
  expect(restart.stderr).toMatch(
    /the restart failed, nothing runs, and holdfast take tries it again: there is no program/,
  );
  write();
  expect((await keeper.ask('take', 'app')).exit.code).toBe(0);
  expect(await bodyOf(port)).toContain('pid ');
  unlinkSync(program);
  await keeper.ask('restart', 'app');
  keeper.process.kill('SIGTERM');
  await keeper.process.end();
  expect(listeners(port)).toEqual([]);
});

test('another environment is gone back from, and by itself from one that dies of it', async () => {
  const port = await freePort();
  const code = `require('node:http').createServer((request, response) => {
    if (process.env.SHOWN === 'bad') setImmediate(() => process.exit(1));
    response.end(process.env.SHOWN);
  }).listen(${port}, '127.0.0.1');`;
  const command = [process.execPath, '-e', code];
  const first = startKeeper(command, { env: { SHOWN: 'one' } });
  await first.holding();
  const second = startKeeper(command, { beside: first, flags: ['--replace'], env: { SHOWN: 'two' } });
  await second.process.line(/took over the server/);
  // Its server has been left as it was.
  expect(await bodyOf(port)).toBe('one');
  await reloaded(second);
  expect(await bodyOf(port)).toBe('two');
  expect((await second.ask('rollback', 'app')).exit).toEqual({ code: 0, signal: null });
  await settled(second);
  expect(await bodyOf(port)).toBe('one');

  const third = startKeeper(command, { beside: second, flags: ['--replace'], env: { SHOWN: 'bad' } });
  await third.process.line(/took over the server/);
  await reloaded(third);
  for (let deaths = 0; deaths < 3; deaths++) {
    await bodyOf(port).catch(() => undefined);
    if (deaths < 2) await third.process.line(/is served again/, { after: deaths });
  }
  await third.process.line(/died 3 times since it took over/);
  await until('the one before', async () => (await bodyOf(port).catch(() => '')) === 'one');
});

test('the way back is known to the next keeper, when one is killed', async () => {
  const { folder, deploy } = releases(await freePort());
  deploy('good', "response.end('good')");
  const first = startRelease(folder);
  await first.holding();
  const port = Number(new URL(`http://${first.state().sockets[0]?.address}`).port);
  deploy('other', "response.end('other')");
  await reloaded(first);
  await settled(first);
  first.process.kill('SIGKILL');
  await first.process.end();
  const second = startRelease(folder, first);
  await second.process.line(/took over the server/);
  expect(await bodyOf(port)).toBe('other');
  expect((await second.ask('rollback', 'app')).exit).toEqual({ code: 0, signal: null });
  await settled(second);
  expect(await bodyOf(port)).toBe('good');
});

test('deaths that one keeper has seen count with the next one, when it is killed', async () => {
  const port = await freePort();
  const command = nodeHttp.command(port);
  const flags = ['--park', '1h'];
  const { keeper: first, parked } = await diedTwice(command, flags);
  await first.untilState('what it was told', ({ restarts }) => restarts === 2);
  first.process.kill('SIGKILL');
  await first.process.end();
  const second = startKeeper(command, { flags, beside: first });
  await second.process.line(/took over the server/);
  process.kill(second.worker(), 'SIGKILL');
  await second.process.line(/generation 2 died 3 times since it took over: going back to the one before it/);
  await second.process.line(/generation 1 serves again/);
  expect(await bodyOf(port)).toContain(`pid ${parked}`);
});

test('without a generation to go back to a rollback says so', async () => {
  const keeper = startKeeper(nodeHttp.command(await freePort()));
  await keeper.holding();
  const { exit, stderr } = await keeper.ask('rollback', 'app');
  expect(exit).toEqual({ code: 1, signal: null });
  expect(stderr).toContain('there is no former generation that ran another command, folder or environment');
});

test('a paused server lets its clients wait, and answers them all when it goes on', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { flags: ['--workers', '2'] });
  await keeper.untilState('two workers', ({ workers }) => {
    return workers.filter(({ phase }) => phase === 'serving').length === 2;
  });
  await keeper.ask('pause', 'app');
  const answers = Array.from({ length: 20 }, () => bodyOf(port, { timeoutMs: 20_000 }));
  await until('waiting clients', () => listeners(port).some(({ receiveQueue }) => receiveQueue >= 20));
  expect((await keeper.ask('status', 'app')).stdout).toContain('paused; holdfast resume app');
  const { exit, stderr } = await keeper.ask('reload', 'app');
  expect(exit).toEqual({ code: 2, signal: null });
  expect(stderr).toContain('holdfast resume app');
  await keeper.ask('resume', 'app');
  for (const answer of await Promise.all(answers)) expect(answer).toContain('pid');
  await keeper.ask('pause', 'app');
  keeper.process.kill('SIGTERM');
  expect(await keeper.process.end()).toEqual({ code: 143, signal: null });
});

test('a released port is free for another program, and taken back afterwards', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port));
  await keeper.holding();
  const server = keeper.worker();
  const { exit, stdout } = await keeper.ask('release', 'app');
  expect(exit).toEqual({ code: 0, signal: null });
  expect(stdout).toContain('holdfast take app');
  expect(isAlive(server)).toBe(false);
  const debugged = start(nodeHttp.command(port));
  await debugged.listening(port);
  expect(await bodyOf(port)).toContain(`pid ${debugged.pid}`);
  await debugged.stop();
  expect((await keeper.ask('take', 'app')).exit).toEqual({ code: 0, signal: null });
  expect(await bodyOf(port)).toContain(`pid ${keeper.worker()}`);
  await keeper.crash();
  await keeper.process.line(/is served again/);
});

test('a release waits for the end of a reload, and ends what is parked', async () => {
  const port = await freePort();
  const flags = ['--park', '1h'];
  const keeper = startKeeper(nodeHttp.command(port), { flags });
  await keeper.holding();
  const first = keeper.worker();
  await reloaded(keeper);
  const second = keeper.worker();
  // It drains, or is parked.
  expect(isAlive(first)).toBe(true);
  const { exit, stdout } = await keeper.ask('release', 'app');
  expect(exit.code).toBe(0);
  expect(stdout).toContain('the ports are free');
  expect([first, second].filter(isAlive)).toEqual([]);
  expect(listeners(port)).toEqual([]);
  const pause = await keeper.ask('pause', 'app');
  expect(pause.exit.code).not.toBe(0);
  expect(pause.stderr).toContain(
    'there is no server to pause, its port is released: holdfast take app first',
  );
  expect((await keeper.ask('take', 'app')).exit.code).toBe(0);
  expect(await bodyOf(port)).toContain(`pid ${keeper.worker()}`);
});

test('what is asked of a server that is being stopped is refused', async () => {
  const keeper = startKeeper(nodeServer(await freePort(), 'listening', "process.on('SIGTERM', () => 0)"), {
    flags: ['--stop-timeout', '5s'],
  });
  await keeper.holding();
  await keeper.ask('stop', 'app', '--timeout', '0s');
  await keeper.process.line(/stopping with SIGTERM/);
  for (const asked of [['pause'], ['scale', '2'], ['release'], ['take']]) {
    const [what = '', ...more] = asked;
    const { exit, stderr } = await keeper.ask(what, 'app', ...more);
    expect(exit.code, what).not.toBe(0);
    expect(stderr).toMatch(/the keeper is stopping|nothing has been released/);
  }
});

test('an address of --listen is released and bound again', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { flags: ['--listen', `${port}`] });
  await keeper.holding();
  expect((await keeper.ask('release', 'app')).exit).toEqual({ code: 0, signal: null });
  expect(listeners(port)).toEqual([]);
  expect((await keeper.ask('take', 'app')).exit).toEqual({ code: 0, signal: null });
  expect(await bodyOf(port)).toContain(`pid ${keeper.worker()}`);
});

test("a take while the port is somebody else's fails, and can be tried again", async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port));
  await keeper.holding();
  await keeper.ask('release', 'app');
  const debugged = start(nodeHttp.command(port));
  await debugged.listening(port);
  const { exit, stderr } = await keeper.ask('take', 'app');
  expect(exit).toEqual({ code: 1, signal: null });
  expect(stderr).toContain('it exited with 1');
  expect(stderr).toMatch(new RegExp(`:${port} is taken by pid ${debugged.pid} \\(`));
  await debugged.stop();
  await until('the server', async () => (await bodyOf(port).catch(() => '')).includes('pid'), {
    timeoutMs: 20_000,
  });
});

test('SIGHUP while paused or released is answered with one line, and nothing is started', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port));
  await keeper.holding();
  await keeper.ask('pause', 'app');
  keeper.process.kill('SIGHUP');
  await keeper.process.line(
    /^holdfast: not reloaded: a reload needs a server that runs, .*: holdfast resume app$/,
  );
  await keeper.ask('resume', 'app');
  await keeper.ask('release', 'app');
  keeper.process.kill('SIGHUP');
  await keeper.process.line(/^holdfast: not reloaded: .* released: holdfast take app first$/);
  for (const asked of [
    ['reload', 'app'],
    ['restart', 'app'],
    ['rollback', 'app'],
    ['scale', 'app', '2'],
  ]) {
    const { exit, stderr } = await keeper.ask(...asked);
    expect(exit).toEqual({ code: 2, signal: null });
    expect(stderr).toMatch(/^holdfast: .* released: holdfast take app first \[ERR_HOLDFAST_CONTROL\]$/m);
  }
  expect(keeper.process.stderr).not.toMatch(/fault|HoldfastError/);
  expect(listeners(port)).toEqual([]);
  expect((await keeper.ask('take', 'app')).exit).toEqual({ code: 0, signal: null });
  expect(await bodyOf(port)).toContain(`pid ${keeper.worker()}`);
});

test('a worker that dies while paused is started again at the resume, and its clients wait until then', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { flags: ['--hold-for', '1s'] });
  await keeper.holding();
  const first = keeper.worker();
  await keeper.ask('pause', 'app');
  process.kill(first, 'SIGKILL');
  await keeper.process.line(new RegExp(`pid ${first} ended by SIGKILL`));
  const answers = Array.from({ length: 10 }, () => bodyOf(port, { timeoutMs: 20_000 }));
  await until('waiting clients', () => listeners(port).some(({ receiveQueue }) => receiveQueue >= 10));
  // Longer than a server that is down is waited for.
  await sleep(2_000);
  expect(keeper.state()).toMatchObject({ paused: true, worker: null });
  expect(listeners(port)[0]?.receiveQueue).toBe(10);
  await keeper.ask('resume', 'app');
  for (const answer of await Promise.all(answers)) expect(answer).toContain(`pid ${keeper.worker()}`);
  await keeper.ask('pause', 'app');
  process.kill(keeper.worker(), 'SIGKILL');
  await keeper.process.line(/ended by SIGKILL/, { after: 1 });
  keeper.process.kill('SIGTERM');
  expect((await keeper.process.end()).signal).toBe(null);
});

test('a standby that takes the place of one that dies while paused serves at the resume', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { flags: ['--standby'] });
  const { workers } = await keeper.untilState('a standby', (state) =>
    state.workers.some(({ phase }) => phase === 'parked'),
  );
  const parked = workers.find(({ phase }) => phase === 'parked')?.pid;
  await keeper.ask('pause', 'app');
  process.kill(keeper.worker(), 'SIGKILL');
  await keeper.process.line(/which was standing by, serves now/);
  const answers = Array.from({ length: 10 }, () => bodyOf(port, { timeoutMs: 20_000 }));
  await until('waiting clients', () => listeners(port).some(({ receiveQueue }) => receiveQueue >= 10));
  await keeper.untilState('its place', ({ worker }) => worker?.pid === parked);
  // It has the answer to its listen, and cannot take it.
  await until('it stands still', () => processState(parked ?? 0) === 'T');
  expect(listeners(port)[0]?.receiveQueue).toBe(10);
  await keeper.ask('resume', 'app');
  for (const answer of await Promise.all(answers)) expect(answer).toContain(`pid ${parked}`);
  await keeper.untilState('the next standby', (state) => {
    return state.workers.some(({ pid, phase }) => phase === 'parked' && pid !== parked);
  });
});

test('a keeper that takes over a paused server starts one that has died at the resume', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port));
  await keeper.holding();
  await keeper.ask('pause', 'app');
  process.kill(keeper.worker(), 'SIGKILL');
  await keeper.process.line(/ended by SIGKILL/);
  const next = startKeeper(nodeHttp.command(port), { flags: ['--replace'], beside: keeper });
  await next.process.line(/took over/);
  const answer = bodyOf(port, { timeoutMs: 20_000 });
  await until('a waiting client', () => listeners(port).some(({ receiveQueue }) => receiveQueue === 1));
  await until('a start that waits', async () => {
    const [state] = JSON.parse((await next.ask('status', 'app', '--json')).stdout) as KeeperState[];
    const [worker] = state?.workers ?? [];
    return state?.pid === next.process.pid && worker?.phase === 'starting' && worker.pid === null;
  });
  expect(next.process.lines(/started again, pid/)).toEqual([]);
  expect((await next.ask('status', 'app')).stdout).toContain('paused; holdfast resume app');
  expect(listeners(port)[0]?.receiveQueue).toBe(1);
  expect((await next.ask('resume', 'app')).exit.code).toBe(0);
  expect(await answer).toContain('pid');
  expect(await bodyOf(port)).toContain(`pid ${next.worker()}`);
});

test('what pause and resume have answered is so for the next keeper, when one is killed at once', async () => {
  const port = await freePort();
  let keeper = startKeeper(nodeHttp.command(port));
  await keeper.holding();
  for (const [command, paused] of [
    ['pause', true],
    ['resume', false],
  ] as const) {
    expect((await keeper.ask(command, 'app')).exit.code).toBe(0);
    keeper.process.kill('SIGKILL');
    await keeper.process.end();
    expect(keeper.state().paused).toBe(paused);
    keeper = startKeeper(nodeHttp.command(port), { beside: keeper });
    await keeper.process.line(/took over/);
    expect(keeper.state().paused).toBe(paused);
  }
  await keeper.crash();
  await keeper.process.line(/is served again/);
});

test('what a reload and a rollback have answered is so for the next keeper, when one is killed at once', async () => {
  const port = await freePort();
  const flags = ['--park', '1h'];
  let keeper = startKeeper(nodeHttp.command(port), { flags });
  await keeper.holding();
  const pids = [keeper.worker()];
  for (const [command, generation] of [
    ['reload', 2],
    ['rollback', 1],
  ] as const) {
    // At its socket: a command of ours would take its time to end.
    const socketPath = join(keeper.env.HOLDFAST_STATE_DIR, 'app.sock');
    const asked = request({ socketPath, method: 'POST', path: `/${command}` }).end();
    const [{ statusCode }] = await once(asked, 'response');
    keeper.process.kill('SIGKILL');
    expect(statusCode).toBe(200);
    await keeper.process.end();
    expect(keeper.state().generation).toBe(generation);
    pids.push(keeper.worker());
    keeper = startKeeper(nodeHttp.command(port), { flags, beside: keeper });
    await keeper.process.line(/took over/);
    expect(keeper.state().generation).toBe(generation);
    expect(await bodyOf(port)).toContain(`pid ${pids.at(-1)}`);
  }
  expect(pids[2]).toBe(pids[0]);
  expect(pids[1]).not.toBe(pids[0]);
});

test('each command names itself when it is refused', async () => {
  const keeper = startKeeper(nodeHttp.command(await freePort()));
  await keeper.holding();
  expect((await keeper.ask('take', 'app')).stderr).toMatch(
    /^holdfast: the take failed: nothing has been released$/m,
  );
  expect((await keeper.ask('rollback', 'app')).stderr).toMatch(
    /^holdfast: the rollback failed, the server goes on as before: there is no former generation/m,
  );
  await keeper.ask('release', 'app');
  expect((await keeper.ask('release', 'app')).stderr).toMatch(
    /^holdfast: the release failed: the port is released already$/m,
  );
});

/** A letter: R, S, T ... @see proc_pid_stat(5) */
function processState(pid: number): string | undefined {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[0];
}

/** `current` in the folder, a link to the release that was deployed last. */
function releases(port: number): {
  readonly folder: string;
  /** `act`: what is done for each request. `first`: what comes before anything else. */
  readonly deploy: (name: string, act: string, first?: string) => void;
} {
  const folder = temporaryFolder();
  return {
    folder,
    deploy: (name, act, first = '') => {
      mkdirSync(join(folder, name));
      const code = `${first} require('node:http').createServer((request, response) => { ${act}; }).listen(${port}, '127.0.0.1');`;
      writeFileSync(join(folder, name, 'server.js'), code);
      symlinkSync(name, join(folder, 'next'));
      renameSync(join(folder, 'next'), join(folder, 'current'));
    },
  };
}

function startRelease(folder: string, beside?: RunningKeeper): RunningKeeper {
  const current = join(folder, 'current');
  return startKeeper([process.execPath, 'server.js'], {
    ...{ cwd: current, env: { PWD: current } },
    ...(beside === undefined ? {} : { beside }),
  });
}
