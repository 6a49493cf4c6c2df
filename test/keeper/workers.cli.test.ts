import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bodyOf } from '../support/http.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { isAlive, listeners } from '../support/proc.js';
import { goHttp, javaHttp, nodeHttp, pythonHttp, staticHttp, type TestServer } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { expectNothingFailed, reloaded, settled } from './reloads.js';

for (const server of [nodeHttp, pythonHttp, goHttp, javaHttp, staticHttp]) {
  testNeeding(server.needs)(
    `${server.name}: two workers share one socket, and a reload replaces both`,
    async () => {
      const port = await freePort();
      const keeper = await startWorkers(server, port, 2);
      const [first] = listeners(port);
      expect(listeners(port)).toEqual([first]);
      const pids = serving(keeper);
      // Each has the very same socket.
      expect(new Set(pids).size).toBe(2);
      const load = startLoad({ port, ratePerSecond: 100 });
      await reloaded(keeper);
      await settled(keeper);
      await expectNothingFailed(load.stop());
      expect(serving(keeper).filter((pid) => pids.includes(pid))).toEqual([]);
      expect(pids.filter(isAlive)).toEqual([]);
      expect(listeners(port)).toHaveLength(1);
    },
  );
}

test('both of two workers answer, and the death of one affects nobody but its own clients', async () => {
  const port = await freePort();
  const keeper = await startWorkers(nodeHttp, port, 2, ['--delay', '20']);
  const [victim = 0, other = 0] = serving(keeper);
  const load = startLoad({ port, ratePerSecond: 200 });
  await until('answers of both', () => load.counts().ok > 100);
  const killedAtMs = Date.now();
  process.kill(victim, 'SIGKILL');
  await keeper.untilState('two workers again', ({ workers }) => {
    return workers.length === 2 && workers.every(({ pid, phase }) => pid !== victim && phase === 'serving');
  });
  const { refused, hung, failures, processes, startedAt } = await load.stop();
  expect({ refused, hung }).toEqual({ refused: 0, hung: 0 });
  // What the victim was answering, and nothing later.
  expect(failures.filter(({ endedAtMs }) => startedAt + endedAtMs > killedAtMs + 1_000)).toEqual([]);
  expect(processes.map(({ pid }) => pid)).toEqual(expect.arrayContaining([victim, other]));
  expect(isAlive(other)).toBe(true);
});

test('scale adds workers at once, and takes some away without a failed request', async () => {
  const port = await freePort();
  const keeper = await startWorkers(nodeHttp, port, 1, ['--delay', '20']);
  const [first = 0] = serving(keeper);
  const load = startLoad({ port, ratePerSecond: 100 });
  expect(await keeper.ask('scale', keeper.name, '3')).toMatchObject({
    exit: { code: 0 },
    stdout: 'scaled to 3\n',
  });
  await keeper.untilState('three workers', ({ workers }) => {
    return workers.length === 3 && workers.every(({ phase }) => phase === 'serving');
  });
  expect(serving(keeper)).toContain(first);
  expect((await keeper.ask('scale', keeper.name, '2')).exit.code).toBe(0);
  await settled(keeper);
  expect(serving(keeper)).toHaveLength(2);
  await expectNothingFailed(load.stop());
});

test('a scale to fewer that fails leaves the workers and their number as they were', async () => {
  const port = await freePort();
  const folder = temporaryFolder();
  const serves = `require('node:http').createServer((_, response) => response.end('ok')).listen(${port}, '127.0.0.1')`;
  const write = (code: string): void => writeFileSync(join(folder, 'server.js'), code);
  write(serves);
  const keeper = startKeeper([process.execPath, 'server.js'], { cwd: folder, flags: ['--workers', '3'] });
  const three = (): Promise<unknown> =>
    keeper.untilState(
      'three workers',
      ({ workers, reload }) =>
        reload === 'steady' && workers.filter(({ phase }) => phase === 'serving').length === 3,
    );
  await three();
  const pids = serving(keeper);
  write('process.exit(3)');
  for (const count of ['2', '1']) {
    const { exit, stderr } = await keeper.ask('scale', keeper.name, count);
    expect(exit.code).toBe(1);
    expect(stderr).toContain('the scaling failed, the former server goes on: it exited with 3');
  }
  expect(serving(keeper)).toEqual(pids);
  write(serves);
  await reloaded(keeper);
  await settled(keeper);
  await three();
});

test('a wrong number of workers is told', async () => {
  const keeper = startKeeper(nodeHttp.command(await freePort()));
  await keeper.holding();
  for (const count of ['0', '-1', 'many', '1000', '2.5']) {
    const { exit, stderr } = await keeper.ask('scale', keeper.name, '--', count);
    expect({ code: exit.code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining(count) });
  }
  const wrong = startKeeper(nodeHttp.command(1), { flags: ['--workers', 'none'] });
  expect((await wrong.process.end()).code).toBe(2);
  expect(wrong.process.stderr).toContain('--workers: "none"');
});

test('--workers auto is one for each CPU', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), {
    flags: ['--workers', 'auto'],
    around: (line) => ['taskset', '-c', '0', ...line],
  });
  await keeper.holding();
  expect(await bodyOf(port)).toBe(`pid ${keeper.worker()}\n`);
  expect(keeper.state().workers).toHaveLength(1);
});

async function startWorkers(
  server: TestServer,
  port: number,
  count: number,
  options: readonly string[] = [],
): Promise<RunningKeeper> {
  const keeper = startKeeper(server.command(port, ...options), { flags: ['--workers', `${count}`] });
  await keeper.holding();
  await keeper.untilState(`${count} workers`, ({ workers }) => {
    return workers.length === count && workers.every(({ phase }) => phase === 'serving');
  });
  return keeper;
}

/** First processes of the workers that serve. */
function serving(keeper: RunningKeeper): readonly number[] {
  return keeper
    .state()
    .workers.filter(({ phase }) => phase === 'serving')
    .map(({ pid }) => pid ?? 0);
}
