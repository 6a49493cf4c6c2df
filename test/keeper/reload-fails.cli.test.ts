import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { expect, test } from 'vitest';
import { startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { freePort } from '../support/ports.js';
import { descendantsOf, isAlive, listeners, openFiles } from '../support/proc.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { outcomeOf } from './clients.js';
import { expectNothingFailed, reloaded, settled } from './reloads.js';

/** For code that is never ready, and for the good code after it. */
const LATE = ['--ready-timeout', '3s'];
const BAD_RELOADS = Number(process.env.HOLDFAST_TEST_BAD_RELOADS ?? 5);

/** What new code may do instead of serving; each is put in the place of the good one before the reload. */
const BAD: Readonly<
  Record<string, { readonly code: string; readonly why: RegExp; readonly flags?: readonly string[] }>
> = {
  'exits at once': { code: 'process.exit(3)', why: /exited with 3 before it was ready/ },
  'exits with 0 at once': { code: '', why: /exited with 0 before it was ready/ },
  'is ended by a signal': {
    code: "process.kill(process.pid, 'SIGKILL')",
    why: /ended by SIGKILL before it was ready/,
  },
  'never listens': {
    code: 'setInterval(() => {}, 1000)',
    flags: LATE,
    why: /was not ready after .*: it listens nowhere, not on 127\.0\.0\.1:\d+/,
  },
  'listens on another port': {
    code: serve('Number(process.env.PORT) + 1'),
    flags: LATE,
    why: /was not ready after .*: it listens on 127\.0\.0\.1:\d+, not on 127\.0\.0\.1:\d+/,
  },
  'listens and dies': {
    code: `${serve('process.env.PORT')}.on('listening', () => setTimeout(() => process.exit(4), 20))`,
    // On a busy machine 20 ms may be so long that it counts as ready by its listen.
    flags: ['--ready', 'delay:2s'],
    why: /exited with 4 before it was ready/,
  },
  'answers its check with 500': {
    code: serve('process.env.PORT', 500),
    flags: [...LATE, '--ready', 'http:/'],
    why: /GET \/: status 500/,
  },
  'does not say that it is ready': {
    code: serve('process.env.PORT'),
    flags: [...LATE, '--ready', 'ipc'],
    why: /was not ready after/,
  },
};

for (const [what, { code, why, flags = [] }] of Object.entries(BAD)) {
  test(
    `${BAD_RELOADS} reloads with new code that ${what}: told, nothing fails, the old server is untouched`,
    async () => {
      const port = await freePort();
      const file = join(temporaryFolder(), 'server.cjs');
      writeFileSync(file, `${serve('process.env.PORT')}; process.send?.('ready')`);
      const keeper = startKeeper([process.execPath, file], {
        flags: ['--drain-quiet', '200ms', ...flags],
        env: { PORT: `${port}` },
      });
      await keeper.holding();
      const worker = keeper.worker();
      const { pid } = keeper.state();
      const before = {
        sockets: listeners(port),
        fds: openFiles(pid).length,
        processes: descendantsOf(pid).sort(),
      };
      const load = startLoad({ port, ratePerSecond: 100 });
      writeFileSync(file, code);
      for (let times = 0; times < BAD_RELOADS; times++) {
        const { exit, stderr, stdout } = await keeper.ask('reload', keeper.name);
        expect({ exit, stdout }).toEqual({ exit: { code: 1, signal: null }, stdout: '' });
        expect(stderr).toMatch(why);
      }
      await settled(keeper);
      expect(keeper.worker()).toBe(worker);
      expect(await outcomeOf(port)).toBe(worker);
      await expectNothingFailed(load.stop());
      expect(listeners(port)).toEqual(before.sockets);
      await until('no fd more than before', () => openFiles(pid).length <= before.fds);
      await until('the processes of before', () =>
        isDeepStrictEqual(descendantsOf(pid).sort(), before.processes),
      );
      // And the way is free for good code.
      writeFileSync(file, `${serve('process.env.PORT')}; process.send?.('ready')`);
      expect(await reloaded(keeper)).not.toBe(worker);
    },
    60_000 + BAD_RELOADS * 20_000,
  );
}

test('a reload is told that there is no such keeper', async () => {
  const keeper = startKeeper([process.execPath, '-e', serve(await freePort())]);
  await keeper.holding();
  const { exit, stderr } = await keeper.ask('reload', 'nobody');
  expect(exit.code).toBe(2);
  expect(stderr).toContain('no keeper named "nobody" runs');
});

test('a reload during a reload waits for it, and those that come meanwhile are one', async () => {
  const port = await freePort();
  const keeper = startKeeper([process.execPath, '-e', serve(port)]);
  await keeper.holding();
  const outcomes = await Promise.all([1, 2, 3, 4].map(() => keeper.ask('reload', keeper.name)));
  expect(outcomes.map(({ exit }) => exit.code)).toEqual([0, 0, 0, 0]);
  await settled(keeper);
  // The first, and one for all the others, unless one of them came late enough to be the next.
  expect(keeper.state().generation).toBeLessThanOrEqual(4);
  expect(keeper.state().generation).toBeGreaterThanOrEqual(3);
  expect(listeners(port)).toHaveLength(1);
});

test('a server that crashes while its successor starts is started again, and then replaced', async () => {
  const port = await freePort();
  const slow = join(temporaryFolder(), 'server.cjs');
  writeFileSync(slow, serve(port));
  const keeper = startKeeper([process.execPath, slow]);
  await keeper.holding();
  writeFileSync(slow, `setTimeout(() => { ${serve(port)} }, 1000)`);
  const reload = keeper.ask('reload', keeper.name);
  await keeper.untilState('the candidate', ({ reload }) => reload === 'starting');
  process.kill(keeper.worker(), 'SIGKILL');
  const client = outcomeOf(port);
  expect((await reload).exit.code).toBe(0);
  expect(typeof (await client)).toBe('number');
  await settled(keeper);
  expect(keeper.state().generation).toBe(2);
  expect(listeners(port)).toHaveLength(1);
});

test('SIGTERM during a reload ends both generations', async () => {
  const port = await freePort();
  const file = join(temporaryFolder(), 'server.cjs');
  writeFileSync(file, serve(port));
  const keeper = startKeeper([process.execPath, file]);
  await keeper.holding();
  writeFileSync(file, 'setInterval(() => {}, 1000)');
  const reload = keeper.ask('reload', keeper.name);
  const { workers } = await keeper.untilState('two generations', ({ workers: all }) => {
    return all.length === 2 && all.every(({ pid }) => pid !== null);
  });
  keeper.process.kill('SIGTERM');
  expect(await keeper.process.end()).toEqual({ code: 143, signal: null });
  const { exit, stderr } = await reload;
  expect(exit.code).not.toBe(0);
  expect(stderr).not.toBe('');
  expect(workers.filter(({ pid }) => pid !== null && isAlive(pid))).toEqual([]);
  expect(listeners(port)).toEqual([]);
});

for (const [how, flags, ask] of [
  ['--no-overlap', ['--no-overlap'], 'reload'],
  ['--overlap none', ['--overlap', 'none'], 'reload'],
  ['holdfast restart', [], 'restart'],
] as const) {
  test(`${how}: the new server starts when the old one has gone, and nobody is refused`, async () => {
    const port = await freePort();
    const keeper = startKeeper([process.execPath, '-e', serve(port)], { flags });
    await keeper.holding();
    const worker = keeper.worker();
    const load = startLoad({ port, ratePerSecond: 100 });
    await until('answers', () => load.counts().ok > 10);
    expect((await keeper.ask(ask, keeper.name)).exit.code).toBe(0);
    expect(isAlive(worker)).toBe(false);
    const state = await keeper.untilState('the new generation', ({ generation }) => generation === 2);
    expect(await outcomeOf(port)).toBe(state.worker?.pid);
    const { refused, hung } = await load.stop();
    expect({ refused, hung }).toEqual({ refused: 0, hung: 0 });
  });
}

/** A server without grace; gives the expression that makes it. */
function serve(port: number | string, status = 200): string {
  const answer = `setTimeout(() => response.writeHead(${status}).end('pid ' + process.pid + '\\n'), 20)`;
  return `require('node:http').createServer((request, response) => ${answer}).listen(${port}, '127.0.0.1')`;
}
