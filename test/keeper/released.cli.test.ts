import { join } from 'node:path';
import { expect, test } from 'vitest';
import { askKeeper } from '../../src/keeper/control.js';
import { bodyOf } from '../support/http.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { isAlive, listeners } from '../support/proc.js';
import { type Started, start } from '../support/process.js';
import { nodeHttp, staticHttp } from '../support/servers.js';
import { until } from '../support/wait.js';

const STAYS = /the port stays released, as it was under the former keeper: holdfast take starts the server/;

for (const isListened of [false, true]) {
  const how = isListened ? ' at an address of --listen' : '';

  test(`what has been released stays so under a keeper that takes over${how}`, async () => {
    const port = await freePort();
    const given = isListened ? ['--listen', `${port}`] : [];
    const keeper = startKeeper(nodeHttp.command(port), { flags: given });
    await keeper.holding();
    expect((await keeper.ask('release', 'app')).exit.code).toBe(0);
    const other = await otherServer(port);
    const next = startKeeper(nodeHttp.command(port), { flags: [...given, '--replace'], beside: keeper });
    await next.process.line(STAYS);
    expect((await keeper.process.end()).code).toBe(0);
    await expectReleased(next, port, other);
    await other.stop();
    expect((await next.ask('take', 'app')).exit.code).toBe(0);
    expect(await bodyOf(port, { timeoutMs: 30_000 })).toContain(`pid ${next.worker()}`);
    await next.crash();
    await next.process.line(/is served again/);
  });

  test(`what has been released stays so when its keeper is killed and started again${how}`, async () => {
    const port = await freePort();
    const given = isListened ? ['--listen', `${port}`] : [];
    const keeper = startKeeper(nodeHttp.command(port), { flags: given });
    await keeper.holding();
    // What the release has answered is so at once.
    expect((await keeper.ask('release', 'app')).exit.code).toBe(0);
    keeper.process.kill('SIGKILL');
    await keeper.process.end();
    const other = await otherServer(port);
    let next = startKeeper(nodeHttp.command(port), { flags: given, beside: keeper });
    await next.process.line(STAYS);
    await expectReleased(next, port, other);
    // However often.
    next.process.kill('SIGKILL');
    await next.process.end();
    next = startKeeper(nodeHttp.command(port), { flags: given, beside: keeper });
    await next.process.line(STAYS);
    await expectReleased(next, port, other);
    await other.stop();
    expect((await next.ask('take', 'app')).exit.code).toBe(0);
    expect(await bodyOf(port, { timeoutMs: 30_000 })).toContain(`pid ${next.worker()}`);
  });
}

testNeeding(staticHttp.needs)(
  'what a take has answered is so for the next keeper, when one is killed at once',
  async () => {
    const command = staticHttp.command(await freePort());
    const keeper = startKeeper(command);
    await keeper.holding();
    expect((await keeper.ask('release', 'app')).exit.code).toBe(0);
    // Sooner than a command would end.
    const answer = await askKeeper(join(keeper.env.HOLDFAST_STATE_DIR, 'app.sock'), 'POST', '/take', 0);
    keeper.process.kill('SIGKILL');
    expect(answer).toMatchObject({ ok: true });
    await keeper.process.end();
    const next = startKeeper(command, { beside: keeper });
    await next.process.line(/took over the server/);
    expect(next.process.stderr).not.toMatch(STAYS);
  },
);

test('a release that a kill interrupted goes on under the next keeper', async () => {
  const port = await freePort();
  const code = `process.on('SIGTERM', () => console.log('asked to end'));
    require('node:http').createServer((request, response) => response.end()).listen(${port}, '127.0.0.1');`;
  const command = [process.execPath, '-e', code];
  const keeper = startKeeper(command, { flags: ['--stop-timeout', '1h'] });
  await keeper.holding();
  const server = keeper.worker();
  const release = keeper.ask('release', 'app');
  await keeper.process.line(/asked to end/);
  await keeper.untilState('the release', ({ reload }) => reload === 'releasing');
  keeper.process.kill('SIGKILL');
  expect((await release).exit.code).toBe(2);
  expect(isAlive(server)).toBe(true);
  const next = startKeeper(command, { flags: ['--stop-timeout', '100ms'], beside: keeper });
  await next.process.line(STAYS);
  await next.untilState('the end of the release', ({ reload }) => reload === 'released');
  expect(isAlive(server)).toBe(false);
  await expectReleased(next, port, await otherServer(port));
});

test('a keeper whose port stays released ends when it is asked to, and the next one starts the server', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port));
  await keeper.holding();
  await keeper.ask('release', 'app');
  const next = startKeeper(nodeHttp.command(port), { flags: ['--replace'], beside: keeper });
  await next.process.line(STAYS);
  expect((await next.ask('stop', 'app')).exit.code).toBe(0);
  expect(await next.process.end()).toEqual({ code: 0, signal: null });
  const third = startKeeper(nodeHttp.command(port), { beside: keeper });
  await third.holding();
  expect(await bodyOf(port)).toContain(`pid ${third.worker()}`);
});

async function otherServer(port: number): Promise<Started> {
  const other = start(nodeHttp.command(port));
  await other.listening(port);
  return other;
}

/** The port is the other's, and the keeper says so. */
async function expectReleased(keeper: RunningKeeper, port: number, other: Started): Promise<void> {
  const { stdout } = await keeper.ask('status', 'app', '--json');
  const released = { pid: keeper.process.pid, reload: 'released', phase: 'ended', worker: null, sockets: [] };
  expect(JSON.parse(stdout)).toMatchObject([released]);
  const { exit, stderr } = await keeper.ask('reload', 'app');
  expect(exit.code).toBe(2);
  expect(stderr).toContain('released: holdfast take app first');
  expect(keeper.process.lines(/started, pid/)).toEqual([]);
  expect(await bodyOf(port)).toContain(`pid ${other.pid}`);
  await until('the other alone', () => listeners(port).length === 1);
}
