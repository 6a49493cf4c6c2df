import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bodyOf } from '../support/http.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { freePort } from '../support/ports.js';
import { isAlive } from '../support/proc.js';
import { nodeHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { diedTwice } from './reloads.js';

const PARK = ['--park', '1h'];

test('a generation that dies too often while paused is gone back from at the resume, not before', async () => {
  const port = await freePort();
  const { keeper, parked } = await diedTwice(nodeHttp.command(port), PARK);
  expect((await keeper.ask('pause', 'app')).exit.code).toBe(0);
  process.kill(keeper.worker(), 'SIGKILL');
  await keeper.process.line(/ended by SIGKILL/, { after: 2 });
  const { stdout } = await keeper.ask('status', 'app', '--json');
  expect(JSON.parse(stdout)).toMatchObject([{ generation: 2, reload: 'parked', paused: true }]);
  expect(keeper.process.lines(/going back/)).toEqual([]);
  expect((await keeper.ask('resume', 'app')).exit.code).toBe(0);
  await keeper.process.line(/generation 2 died 3 times since it took over: going back to the one before it/);
  await keeper.process.line(/generation 1 serves again/);
  expect(await bodyOf(port)).toContain(`pid ${parked}`);
});

test('a way back that is due is not taken when the paused server is stopped', async () => {
  const { keeper } = await diedTwice(nodeHttp.command(await freePort()), PARK);
  await keeper.ask('pause', 'app');
  process.kill(keeper.worker(), 'SIGKILL');
  await keeper.process.line(/ended by SIGKILL/, { after: 2 });
  keeper.process.kill('SIGTERM');
  await keeper.process.end();
  expect(keeper.process.lines(/going back/)).toEqual([]);
});

test('a server that is being stopped is not paused, and ends in its time; the next one waits for the resume', async () => {
  const port = await freePort();
  const [asked, letGo] = [join(temporaryFolder(), 'asked'), join(temporaryFolder(), 'let-go')];
  const code = `
    const { existsSync, writeFileSync } = require('node:fs');
    require('node:http').createServer((_, response) => response.end('pid ' + process.pid)).listen(${port}, '127.0.0.1');
    process.on('SIGTERM', () => {
      writeFileSync(${JSON.stringify(asked)}, '');
      setInterval(() => { if (existsSync(${JSON.stringify(letGo)})) process.exit(0); }, 10);
    });`;
  const keeper = startKeeper([process.execPath, '-e', code]);
  await keeper.holding();
  const first = keeper.worker();
  const restart = keeper.ask('restart', 'app');
  await until('the stop signal', () => existsSync(asked));
  expect((await keeper.ask('pause', 'app')).exit.code).toBe(0);
  writeFileSync(letGo, '');
  await until('its end', () => !isAlive(first));
  await keeper.process.line(/starting generation 2/);
  const body = bodyOf(port);
  const { workers } = await keeper.untilState('the next one', ({ starts }) => starts === 2);
  expect(workers).toMatchObject([{ pid: null, generation: 2 }]);
  expect((await keeper.ask('resume', 'app')).exit.code).toBe(0);
  expect((await restart).exit.code).toBe(0);
  expect(keeper.process.stderr).not.toMatch(/SIGKILL|killed/);
  expect(await body).toBe(`pid ${keeper.worker()}`);
});

const READY_TIMEOUT_MS = 8_000;

for (const ready of ['listen', 'http:/'] as const) {
  test(`time in which a reload is paused is none of --ready-timeout (--ready ${ready})`, async () => {
    const flags = ['--ready-timeout', `${READY_TIMEOUT_MS}ms`, '--ready', ready];
    const { keeper, hold, letGo } = await startHeldBack(flags, ready);
    const first = keeper.worker();
    hold();
    const reload = keeper.ask('reload', 'app');
    const candidate = await candidateOf(keeper, ready === 'listen' ? 'starting' : 'serving');
    expect((await keeper.ask('pause', 'app')).exit.code).toBe(0);
    const since = performance.now();
    letGo();
    await until('longer than it may take', () => performance.now() - since > READY_TIMEOUT_MS, {
      timeoutMs: 2 * READY_TIMEOUT_MS,
    });
    const { stdout } = await keeper.ask('status', 'app', '--json');
    expect(JSON.parse(stdout)).toMatchObject([{ generation: 1, reload: 'starting' }]);
    expect(isAlive(candidate)).toBe(true);
    expect((await keeper.ask('resume', 'app')).exit.code).toBe(0);
    expect(await reload).toMatchObject({ exit: { code: 0 }, stderr: '' });
    const { worker } = await keeper.untilState('the second generation', ({ generation }) => generation === 2);
    expect(worker?.pid).toBe(candidate);
    expect(candidate).not.toBe(first);
  });
}

test('what is left of --ready-timeout runs on after the resume', async () => {
  const { keeper, hold } = await startHeldBack(['--ready-timeout', '3s']);
  hold();
  const reload = keeper.ask('reload', 'app');
  await candidateOf(keeper, 'starting');
  expect((await keeper.ask('pause', 'app')).exit.code).toBe(0);
  expect((await keeper.ask('resume', 'app')).exit.code).toBe(0);
  const { exit, stderr } = await reload;
  expect(exit.code).toBe(1);
  expect(stderr).toContain('it was not ready after 3000 ms');
});

/** A server that does not listen, or has no good answer, while it is held back. */
async function startHeldBack(
  flags: readonly string[],
  ready: 'listen' | 'http:/' = 'listen',
): Promise<{
  readonly keeper: RunningKeeper;
  readonly hold: () => void;
  readonly letGo: () => void;
}> {
  const mark = join(temporaryFolder(), 'held-back');
  const code = `
    const isHeld = () => require('node:fs').existsSync(${JSON.stringify(mark)});
    const server = require('node:http').createServer((request, response) => {
      response.writeHead(isHeld() ? 503 : 200).end();
    });
    const look = () => {
      if (isHeld() && ${ready === 'listen'}) setTimeout(look, 20);
      else server.listen(${await freePort()}, '127.0.0.1');
    };
    look();`;
  const keeper = startKeeper([process.execPath, '-e', code], { flags });
  await keeper.holding();
  return { keeper, hold: () => writeFileSync(mark, ''), letGo: () => rmSync(mark) };
}

async function candidateOf(keeper: RunningKeeper, inPhase: 'starting' | 'serving'): Promise<number> {
  const { workers } = await keeper.untilState('a candidate', (state) =>
    state.workers.some(({ generation, pid, phase }) => generation === 2 && pid !== null && phase === inPhase),
  );
  return workers.find(({ generation }) => generation === 2)?.pid ?? 0;
}
