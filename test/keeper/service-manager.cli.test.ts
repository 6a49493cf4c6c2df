import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { bind, listen, streamSocket } from '../../src/kernel/socket.js';
import { Client } from '../closing/client.js';
import { bodyOf, pidOf } from '../support/http.js';
import type { RunningKeeper } from '../support/keeper.js';
import { type LoadFailure, startLoad } from '../support/load.js';
import { freePort } from '../support/ports.js';
import { descendantsOf, isAlive, listeners, listeningInode } from '../support/proc.js';
import { nodeHttp } from '../support/servers.js';
import { startSystemd } from '../support/systemd.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { answersAll } from './answers.js';
import { expectNothingFailed, reloaded, settled } from './reloads.js';

const KILLS = Number(process.env.HOLDFAST_TEST_KEEPER_KILLS ?? 5);
const RATE_PER_SECOND = 200;

test('the service manager is told of the start, a reload and the stop, and keeps one socket throughout', async () => {
  const systemd = startSystemd();
  const port = await freePort();
  const keeper = systemd.startKeeper(nodeHttp.command(port), { flags: ['--drain-quiet', '200ms'] });
  await systemd.told(/^READY=1$/);
  await systemd.told(new RegExp(`^STATUS=serving \\[::\\]:${port}, generation 1$`));
  const first = `holdfast-${listeningInode(port)}`;
  expect(systemd.stored()).toEqual([first]);

  const beforeUsec = process.hrtime.bigint() / 1_000n;
  await reloaded(keeper);
  const afterUsec = process.hrtime.bigint() / 1_000n;
  await settled(keeper);
  await systemd.told(new RegExp(`^STATUS=serving \\[::\\]:${port}, generation 2$`));
  const second = `holdfast-${listeningInode(port)}`;
  expect(second).not.toBe(first);
  expect(systemd.stored()).toEqual([second]);

  keeper.process.kill('SIGTERM');
  await keeper.process.end();
  await until('an empty store', () => systemd.stored().length === 0);

  const steps = systemd.messages.filter(([line]) => !line?.startsWith('STATUS='));
  const ready = ['READY=1', `MAINPID=${keeper.process.pid}`];
  const [usec = ''] = steps[2]?.slice(1) ?? [];
  expect(steps).toEqual([
    ['FDSTORE=1', `FDNAME=${first}`, 'FDPOLL=0'],
    ready,
    // --ready-timeout and --stop-timeout, each with 10 s more.
    ['RELOADING=1', expect.stringMatching(/^MONOTONIC_USEC=\d+$/), 'EXTEND_TIMEOUT_USEC=70000000'],
    ['FDSTORE=1', `FDNAME=${second}`, 'FDPOLL=0'],
    ['FDSTOREREMOVE=1', `FDNAME=${first}`],
    ready,
    ['STOPPING=1', 'EXTEND_TIMEOUT_USEC=20000000'],
    ['FDSTOREREMOVE=1', `FDNAME=${second}`],
  ]);
  const atUsec = BigInt(usec.replace(/\D/g, ''));
  expect(atUsec >= beforeUsec && atUsec <= afterUsec).toBe(true);
});

test('a reload that fails is over too, and the former socket stays in the store', async () => {
  const systemd = startSystemd();
  const [port, gate] = [await freePort(), join(temporaryFolder(), 'gate')];
  const keeper = systemd.startKeeper(
    node(
      `if (fs.existsSync(process.env.GATE)) process.exit(3);
       http.createServer((_, response) => response.end('served')).listen(${port}, '127.0.0.1');`,
    ),
    { env: { GATE: gate } },
  );
  await keeper.holding();
  await systemd.told(/^READY=1$/);
  const stored = systemd.stored();
  writeFileSync(gate, '');
  expect((await keeper.ask('reload', 'app')).exit.code).toBe(1);
  await systemd.told(/^READY=1$/, 1);
  expect(systemd.stored()).toEqual(stored);
  const steps = systemd.messages.map(([line]) => line).filter((line) => !line?.startsWith('STATUS='));
  expect(steps).toEqual(['FDSTORE=1', 'READY=1', 'RELOADING=1', 'READY=1']);
});

test('what the service manager tells the keeper never reaches the server', async () => {
  const systemd = startSystemd();
  const port = await freePort();
  const keeper = systemd.startKeeper(
    node(
      `http.createServer((_, response) => response.end(Object.keys(process.env).join(' '))).listen(${port}, '127.0.0.1');`,
    ),
    { env: { WATCHDOG_USEC: '60000000', WATCHDOG_PID: '1', FDSTORE: '128', KEPT: 'yes' } },
  );
  await keeper.holding();
  const names = (await bodyOf(port)).split(' ');
  expect(names).toContain('KEPT');
  expect(names.filter((name) => /^(NOTIFY_|WATCHDOG_|LISTEN_|FDSTORE)/.test(name))).toEqual([]);
});

test('the watchdog is told again and again that the keeper works, by the process that it watches', async () => {
  const [watched, other] = [startSystemd(), startSystemd()];
  const [one, two] = [await freePort(), await freePort()];
  const env = { WATCHDOG_USEC: '20000' };
  const keepers = [
    watched.startKeeper(nodeHttp.command(one), { env }),
    other.startKeeper(nodeHttp.command(two), { env: { ...env, WATCHDOG_PID: '1' } }),
  ];
  for (const keeper of keepers) await keeper.holding();
  await watched.told(/^WATCHDOG=1$/, 10);
  for (const keeper of keepers) {
    keeper.process.kill('SIGTERM');
    await keeper.process.end();
  }
  await other.told(/^STOPPING=1$/);
  expect(other.messages.flat()).not.toContain('WATCHDOG=1');
});

test(
  `of clients that come steadily, ${KILLS} kills of keeper and server at once refuse none and leave none waiting`,
  async () => {
    const systemd = startSystemd();
    const port = await freePort();
    let keeper = systemd.startKeeper(nodeHttp.command(port));
    await keeper.holding();
    const inode = listeningInode(port);
    const beforeMs = performance.now();
    const load = startLoad({ port, ratePerSecond: RATE_PER_SECOND });
    const afterMs = performance.now();
    const kills: { readonly earliestMs: number; readonly latestMs: number }[] = [];
    for (let kill = 0; kill < KILLS; kill++) {
      await answersAll(load);
      const killMs = performance.now();
      await killAll(keeper);
      kills.push({ earliestMs: killMs - afterMs, latestMs: performance.now() - beforeMs });
      keeper = systemd.startKeeper(nodeHttp.command(port), { beside: keeper });
      await keeper.holding();
      expect(listeningInode(port)).toBe(inode);
    }
    await answersAll(load);
    // What came back from the store is held as before, and can be taken over from.
    await reloaded(keeper);
    await settled(keeper);
    const { refused, hung, skipped, other, failures, ok, sent } = await load.stop();
    expect({ refused, hung, skipped, other }).toEqual({ refused: 0, hung: 0, skipped: 0, other: 0 });
    // Only what a killed server was answering.
    const isOfKill = ({ startedAtMs, endedAtMs }: LoadFailure): boolean =>
      kills.some(({ earliestMs, latestMs }) => startedAtMs <= latestMs && endedAtMs >= earliestMs);
    expect(failures.filter((failure) => !isOfKill(failure))).toEqual([]);
    expect(ok).toBe(sent - failures.length);
  },
  60_000 + KILLS * 12_000,
);

test(
  'the keeper alone is killed, and the next one goes on with the server, whatever the store has',
  async () => {
    const systemd = startSystemd();
    const port = await freePort();
    let keeper = systemd.startKeeper(nodeHttp.command(port), { name: 'alone' });
    await keeper.holding();
    await systemd.told(/^READY=1$/);
    const worker = keeper.worker();
    const load = startLoad({ port, ratePerSecond: 200 });
    for (let kill = 1; kill <= KILLS; kill++) {
      await until('answers', () => load.counts().ok > 20 * kill);
      keeper.process.kill('SIGKILL');
      await keeper.process.end();
      keeper = systemd.startKeeper(nodeHttp.command(port), { beside: keeper, name: 'alone' });
      await systemd.told(/^READY=1$/, kill);
      expect(keeper.worker()).toBe(worker);
      expect(systemd.stored()).toHaveLength(1);
    }
    await reloaded(keeper);
    await settled(keeper);
    expect(systemd.stored()).toHaveLength(1);
    await expectNothingFailed(load.stop());
  },
  30_000 + KILLS * 6_000,
);

test('killed while a former generation drains, the keeper comes back with the socket of the new one alone', async () => {
  const systemd = startSystemd();
  const port = await freePort();
  const keeper = systemd.startKeeper(nodeHttp.command(port));
  await keeper.holding();
  const slow = await Client.connect(port);
  onTestFinished(() => slow.close());
  slow.send({ path: '/?delay=60000' });
  await reloaded(keeper);
  await keeper.untilState('a generation that drains', ({ reload }) => reload === 'draining');
  await until('one socket in the store', () => systemd.stored().length === 1);
  await killAll(keeper);
  const next = systemd.startKeeper(nodeHttp.command(port), { beside: keeper });
  await next.holding();
  expect(listeners(port)).toHaveLength(1);
  for (let request = 0; request < 20; request++) expect(await pidOf(port)).toBe(next.worker());
});

test('a socket that both generations share stays in the store when the former one ends', async () => {
  const systemd = startSystemd();
  const path = join(temporaryFolder(), 'server.sock');
  const keeper = systemd.startKeeper(
    node(`http.createServer((_, response) => response.end()).listen({ fd: 3 });`),
    { flags: ['--listen', `unix:${path}`] },
  );
  await systemd.told(/^READY=1$/);
  const stored = systemd.stored();
  expect(stored).toHaveLength(1);
  await reloaded(keeper);
  await settled(keeper);
  await systemd.told(/, generation 2$/);
  expect(systemd.stored()).toEqual(stored);
  expect(systemd.messages.flat()).not.toContain('FDSTOREREMOVE=1');
});

test('a socket of the service manager itself is not put into its store', async () => {
  const systemd = startSystemd();
  const port = await freePort();
  const fd = streamSocket('ipv4');
  bind(fd, { family: 'ipv4', host: '127.0.0.1', port });
  listen(fd, 128);
  systemd.hands('web', fd);
  const keeper = systemd.startKeeper(nodeHttp.command(port, '--host', '127.0.0.1'));
  await keeper.holding();
  await systemd.told(/^READY=1$/);
  expect(await pidOf(port)).toBe(keeper.worker());
  keeper.process.kill('SIGTERM');
  await keeper.process.end();
  await systemd.told(/^STOPPING=1$/);
  expect(systemd.messages.flat().filter((line) => line.startsWith('FD'))).toEqual([]);
});

/** The keeper first, so that it starts nothing more. */
async function killAll(keeper: RunningKeeper): Promise<void> {
  const { pid } = keeper.process;
  const all = [pid, ...descendantsOf(pid)];
  for (const one of all) process.kill(one, 'SIGKILL');
  await keeper.process.end();
  await until('the end of all', () => !all.some(isAlive));
}

/** Node with a program that has its modules as variables. */
function node(script: string): readonly string[] {
  return [process.execPath, '-e', script];
}
