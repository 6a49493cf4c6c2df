import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { KeeperState } from '../../src/index.js';
import { runHoldfast } from '../cli/holdfast.js';
import { holdfast } from '../support/keeper.js';
import type { LoadFailure, LoadResult } from '../support/load.js';
import { type LoadProcess, startLoadProcess } from '../support/load-process.js';
import { testNeeding } from '../support/needing.js';
import { listeningInode } from '../support/proc.js';
import { type RealSystemd, startRealSystemd, startUserManager } from '../support/real-systemd.js';
import { nodeHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { expectNothingFailed } from './reloads.js';

const KILLS = Number(process.env.HOLDFAST_TEST_KEEPER_KILLS ?? 3);
const RELOADS = Number(process.env.HOLDFAST_TEST_RELOADS ?? 5);
const TIMEOUT_MS = 120_000 + 15_000 * Math.max(KILLS, RELOADS);
const PORT = 8080;
const RATE_PER_SECOND = 200;
/** A busy machine is slow, and no fault; and nobody waits for long. */
const WATCHDOG_SECONDS = 5;

testSystemd(
  `systemd starts the unit, and ${RELOADS} times systemctl reload fails no request`,
  async (systemd) => {
    await install(systemd, nodeHttp.command(PORT));
    const { pid } = await stateOf(systemd);
    const before = await systemd.show('shop');
    expect(before).toMatchObject({
      ...{ LoadState: 'loaded', ActiveState: 'active', SubState: 'running', UnitFileState: 'enabled' },
      ...{ MainPID: `${pid}`, StatusText: `serving [::]:${PORT}, generation 1`, NFileDescriptorStore: '1' },
    });
    expect(await systemd.systemctl('status', 'shop')).toContain(before.StatusText);

    const load = await loadOf(systemd);
    for (let reload = 1; reload <= RELOADS; reload++) {
      await systemd.systemctl('reload', 'shop');
      await stateOf(systemd, ({ generation }) => generation === reload + 1);
    }
    await settled(systemd);
    await answersMore(load);
    await expectNothingFailed(load.stop());
    await until(
      'one socket in its store',
      async () => (await systemd.show('shop')).NFileDescriptorStore === '1',
    );
    expect(await systemd.show('shop')).toMatchObject({
      ...{ ActiveState: 'active', SubState: 'running', NRestarts: '0', MainPID: `${pid}` },
      StatusText: `serving [::]:${PORT}, generation ${RELOADS + 1}`,
    });
  },
);

testSystemd(
  'systemctl reload fails when the new generation does, the unit goes on, and holdfast stop ends it',
  async (systemd) => {
    const gate = join(temporaryFolder(), 'gate');
    await install(systemd, [
      ...[process.execPath, '-e'],
      `if (fs.existsSync(process.argv[1])) process.exit(3);
     http.createServer((_, response) => response.end('served')).listen(${PORT}, '127.0.0.1');`,
      gate,
    ]);
    writeFileSync(gate, '');
    expect((await systemd.run('systemctl', 'reload', 'shop')).exit.code).toBe(1);
    expect((await stateOf(systemd)).generation).toBe(1);
    expect(await systemd.show('shop')).toMatchObject({ ActiveState: 'active', SubState: 'running' });

    await systemd.run(...holdfast, 'stop', 'shop');
    await until('the end of the unit', async () => (await systemd.show('shop')).ActiveState === 'inactive');
    expect(await systemd.show('shop')).toMatchObject({ Result: 'success', NRestarts: '0' });
  },
);

testSystemd(
  `${KILLS} times all of the unit is killed at once: systemd starts it with its sockets, and nobody is refused`,
  async (systemd) => {
    await install(systemd, nodeHttp.command(PORT));
    const inode = listeningInode(PORT, systemd.pid);
    const load = await loadOf(systemd);
    const kills: Span[] = [];
    for (let kill = 1; kill <= KILLS; kill++) {
      await answersMore(load);
      kills.push(await killed(systemd, 'all', kill));
      expect(await systemd.show('shop')).toMatchObject({
        StatusText: `serving [::]:${PORT}, generation 1`,
        NFileDescriptorStore: '1',
      });
      expect(listeningInode(PORT, systemd.pid)).toBe(inode);
    }
    // What came back is held as before, and can be taken over from.
    await systemd.systemctl('reload', 'shop');
    await settled(systemd);
    await answersMore(load);
    expectOnlyOf(kills, await load.stop());
  },
);

testSystemd(
  `${KILLS} times the keeper alone is killed: systemd lets its server be, and no request fails`,
  async (systemd) => {
    await install(systemd, nodeHttp.command(PORT));
    const { worker } = await stateOf(systemd);
    const load = await loadOf(systemd);
    for (let kill = 1; kill <= KILLS; kill++) {
      await answersMore(load);
      await killed(systemd, 'main', kill);
      expect((await stateOf(systemd)).worker).toEqual(worker);
    }
    await systemd.systemctl('reload', 'shop');
    await settled(systemd);
    await answersMore(load);
    await expectNothingFailed(load.stop());
  },
);

testSystemd(
  'the watchdog lets a keeper be that works, and one that hangs is replaced without a failed request',
  async (systemd) => {
    const dropIn = join(systemd.units, 'shop.service.d');
    mkdirSync(dropIn);
    writeFileSync(join(dropIn, 'watchdog.conf'), `[Service]\nWatchdogSec=${WATCHDOG_SECONDS}\n`);
    await install(systemd, nodeHttp.command(PORT));
    const { pid, worker } = await stateOf(systemd);
    const load = await loadOf(systemd);
    const { WatchdogTimestampMonotonic: first } = await systemd.show('shop');
    await until('a time that is longer than the watchdog’s', async () => {
      const { WatchdogTimestampMonotonic: last } = await systemd.show('shop');
      return Number(last) - Number(first) > WATCHDOG_SECONDS * 1_000_000;
    });
    expect(await systemd.show('shop')).toMatchObject({ MainPID: `${pid}`, NRestarts: '0' });

    await systemd.systemctl('kill', '--signal=SIGSTOP', '--kill-who=main', 'shop');
    await restarted(systemd, 1);
    expect((await stateOf(systemd)).pid).not.toBe(pid);
    expect((await stateOf(systemd)).worker).toEqual(worker);
    await answersMore(load);
    await expectNothingFailed(load.stop());
  },
);

testSystemd('systemctl stop resets nobody, and leaves nothing', async (systemd) => {
  await install(systemd, nodeHttp.command(PORT, '--graceful'));
  const load = await loadOf(systemd);
  await answersMore(load);
  const fromMs = Date.now();
  await systemd.systemctl('stop', 'shop');
  await until('refused clients', async () => (await load.counts()).refused > 0);
  const after = { ActiveState: 'inactive', Result: 'success', NRestarts: '0', NFileDescriptorStore: '0' };
  expect(await systemd.show('shop')).toMatchObject(after);
  await until('the end of its cgroup, with all processes in it', async () => {
    return (await systemd.run('test', '-e', '/sys/fs/cgroup/system.slice/shop.service')).exit.code === 1;
  });
  const { startedAt, sent, ok, refused, failures, ...others } = await load.stop();
  expect(others).toMatchObject({ reset: 0, eof: 0, hung: 0, skipped: 0, other: 0 });
  expect(ok).toBe(sent - refused);
  expect(Math.min(...failures.map(({ endedAtMs }) => startedAt + endedAtMs))).toBeGreaterThanOrEqual(
    fromMs - 1,
  );
});

testSystemd(
  'with a socket unit the first client starts it, and restarts and kills refuse nobody',
  async (systemd) => {
    const server = nodeHttp.command(PORT, '--host', '127.0.0.1', '--graceful');
    await write(systemd, server, ['--socket', `127.0.0.1:${PORT}`]);
    await systemd.systemctl('daemon-reload');
    await systemd.systemctl('enable', '--now', 'shop.socket');
    expect(await systemd.show('shop')).toMatchObject({ ActiveState: 'inactive' });
    const load = await loadOf(systemd);
    await until('a unit that runs', async () => (await systemd.show('shop')).ActiveState === 'active');
    expect(await systemd.show('shop')).toMatchObject({
      ...{ MainPID: `${(await stateOf(systemd)).pid}`, NFileDescriptorStore: '0' },
      StatusText: `serving 127.0.0.1:${PORT}, generation 1`,
    });
    await answersMore(load);
    await systemd.systemctl('restart', 'shop');
    await answersMore(load);
    await systemd.systemctl('reload', 'shop');
    await settled(systemd);
    await answersMore(load);
    const kill = await killed(systemd, 'all', 1);
    await answersMore(load);
    expectOnlyOf([kill], await load.stop());
  },
);

testSystemd(
  'as an ordinary user it has a port below 1024, is reloaded, comes back with it, and stops',
  async (systemd) => {
    const port = 80;
    const flags = ['--user', 'nobody', '--listen', `127.0.0.1:${port}`];
    await install(systemd, nodeHttp.command(port, '--host', '127.0.0.1'), flags);
    const load = await loadOf(systemd, port);
    await systemd.systemctl('reload', 'shop');
    await answersMore(load);
    const kill = await killed(systemd, 'all', 1);
    await answersMore(load);
    expectOnlyOf([kill], await load.stop());
    const { MainPID, NFileDescriptorStore } = await systemd.show('shop');
    expect(NFileDescriptorStore).toBe('1');
    expect((await systemd.run('stat', '--format=%U', `/proc/${MainPID}`)).stdout).toBe('nobody\n');
    await systemd.systemctl('stop', 'shop');
    // It ends as the server does, by SIGTERM.
    const end = { ActiveState: 'inactive', Result: 'success', ExecMainStatus: '143', NRestarts: '1' };
    expect(await systemd.show('shop')).toMatchObject(end);
  },
);

testSystemd(
  'a unit of the user’s own manager is reloaded, killed and stopped in the same way',
  async (systemd) => {
    const own = await startUserManager(systemd);
    await install(own, nodeHttp.command(PORT, '--graceful'), ['--user-unit']);
    const load = await loadOf(own);
    await own.systemctl('reload', 'shop');
    await settled(own);
    await answersMore(load);
    const kill = await killed(own, 'all', 1);
    await answersMore(load);
    expectOnlyOf([kill], await load.stop());
    expect(await own.show('shop')).toMatchObject({
      ...{ NFileDescriptorStore: '1', UnitFileState: 'enabled' },
      StatusText: `serving [::]:${PORT}, generation 1`,
    });
    await own.systemctl('stop', 'shop');
    expect(await own.show('shop')).toMatchObject({ ActiveState: 'inactive', Result: 'success' });
  },
);

/** Each with a systemd of its own. */
function testSystemd(title: string, run: (systemd: RealSystemd) => Promise<void>): void {
  testNeeding('systemd')(title, async () => run(await startRealSystemd()), TIMEOUT_MS);
}

/** In ms since the epoch. */
interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** As a user does: has holdfast write the unit, and runs the line that it says. Then it serves. */
async function install(
  systemd: RealSystemd,
  command: readonly string[],
  flags: readonly string[] = [],
): Promise<void> {
  const next = await write(systemd, command, flags);
  const { exit, stderr } = await systemd.run('/bin/sh', '-c', next);
  expect({ code: exit.code, stderr: stderr.replace(/^Created symlink.*\n/gm, '') }).toEqual({
    code: 0,
    stderr: '',
  });
}

async function write(
  systemd: RealSystemd,
  command: readonly string[],
  flags: readonly string[],
): Promise<string> {
  const args = ['--name', 'shop', '--drain-quiet', '200ms', ...flags, '--write', systemd.units];
  const { code, stdout, stderr } = await runHoldfast(['systemd', ...args, '--', ...command]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return /^next: (.*)$/m.exec(stdout)?.[1] ?? '';
}

function loadOf(systemd: RealSystemd, port = PORT): Promise<LoadProcess> {
  return startLoadProcess({ port, ratePerSecond: RATE_PER_SECOND }, systemd.inNetns);
}

/** Waits until the server has answered all who had to wait, and some more. */
async function answersMore(load: LoadProcess): Promise<void> {
  const from = (await load.counts()).ok;
  await until('a server that keeps up', async () => {
    const { sent, ok, refused, reset, eof, hung, other } = await load.counts();
    return ok >= from + 40 && sent - ok - refused - reset - eof - hung - other <= 10;
  });
}

/** Kills and waits until systemd has started it again, so many times by now. */
async function killed(systemd: RealSystemd, whom: 'all' | 'main', restarts: number): Promise<Span> {
  const fromMs = Date.now();
  await systemd.systemctl('kill', '--signal=SIGKILL', `--kill-who=${whom}`, 'shop');
  await restarted(systemd, restarts);
  return { fromMs, toMs: Date.now() };
}

async function restarted(systemd: RealSystemd, restarts: number): Promise<void> {
  await until(`restart ${restarts}`, async () => {
    const { NRestarts, ActiveState } = await systemd.show('shop');
    return NRestarts === `${restarts}` && ActiveState === 'active';
  });
}

/** Nobody was refused or left waiting, and only those failed whom a killed server was answering. */
function expectOnlyOf(kills: readonly Span[], result: LoadResult): void {
  const { startedAt, sent, ok, refused, hung, skipped, other, failures } = result;
  expect({ refused, hung, skipped, other }).toEqual({ refused: 0, hung: 0, skipped: 0, other: 0 });
  const isOfKill = ({ startedAtMs, endedAtMs }: LoadFailure): boolean =>
    kills.some(({ fromMs, toMs }) => startedAt + startedAtMs <= toMs && startedAt + endedAtMs >= fromMs - 1);
  expect(failures.filter((failure) => !isOfKill(failure))).toEqual([]);
  expect(ok).toBe(sent - failures.length);
}

async function settled(systemd: RealSystemd): Promise<void> {
  await stateOf(systemd, ({ reload, workers }) => {
    return reload === 'steady' && new Set(workers.map(({ generation }) => generation)).size === 1;
  });
}

/** Where a keeper of root's, one of `--user`, and one of a user's own has its state. */
const STATES = ['holdfast', 'holdfast-shop', 'user/holdfast'].map((folder) => `/run/${folder}/shop.json`);

/** What the keeper that runs now has written down, in the /run that is systemd's. It does that a moment after it is ready. */
function stateOf(
  systemd: RealSystemd,
  look: (state: KeeperState) => boolean = () => true,
): Promise<KeeperState> {
  return until(
    'the state of the main process',
    async () => {
      const { MainPID } = await systemd.show('shop');
      const file = STATES.map((path) => `/proc/${systemd.pid}/root${path}`).find((path) => existsSync(path));
      if (file === undefined) return undefined;
      const state = JSON.parse(readFileSync(file, 'utf8')) as KeeperState;
      return state.pid === Number(MainPID) && look(state) ? state : undefined;
    },
    { timeoutMs: 45_000 },
  );
}
