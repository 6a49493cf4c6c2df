import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import type { KeeperState } from '../../src/index.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { freePort } from '../support/ports.js';
import { isAlive, listeners } from '../support/proc.js';
import { until } from '../support/wait.js';
import { outcomeOf } from './clients.js';
import { changingCommand } from './programs.js';
import { expectNothingFailed, settled } from './reloads.js';

/** Long enough for a busy machine to start Node and then for LATE_MS; the gone port is served for so long. */
const FLAGS = ['--ready-timeout', '8s'];
/** Later than a server that has taken no further address counts as ready. */
const LATE_MS = 2_000;

interface Listens {
  readonly port: number;
  readonly afterMs?: number;
}

/** A server in Node that listens on one port at once, and on the other when it gets SIGUSR2. */
function listensWhenTold(first: number, second: number): string[] {
  const code = `
    const server = () => require('node:http').createServer((q, r) => r.end('pid ' + process.pid + '\\n'));
    process.on('SIGUSR2', () => server().listen(${second}, '127.0.0.1'));
    server().listen(${first}, '127.0.0.1');`;
  return [process.execPath, '-e', code];
}

/** A server in Node that listens on each of the ports after its time. */
function listensOn(...ports: readonly Listens[]): string[] {
  const listens = ports.map(
    ({ port, afterMs = 0 }) => `setTimeout(() => server().listen(${port}, '127.0.0.1'), ${afterMs});`,
  );
  const code = `
    const server = () => require('node:http').createServer((q, r) => r.end('pid ' + process.pid + '\\n'));
    ${listens.join('\n')}`;
  return [process.execPath, '-e', code];
}

test('--new-addresses: nobody is refused where both listen, however late the new one comes there', async () => {
  const [kept, gone, fresh] = [await freePort(), await freePort(), await freePort()];
  const { command, become } = changingCommand(listensOn({ port: kept }, { port: gone }));
  const keeper = startKeeper(command, { flags: FLAGS });
  await keeper.holding(2);
  const former = keeper.worker();
  const load = startLoad({ port: kept, ratePerSecond: 50 });
  await until('answers', () => load.counts().ok > 5);
  become(listensOn({ port: fresh }, { port: kept, afterMs: LATE_MS }));
  const { exit, stderr } = await keeper.ask('reload', '--new-addresses', keeper.name);
  expect({ code: exit.code, stderr }).toEqual({ code: 0, stderr: '' });
  expect([await outcomeOf(kept), await outcomeOf(gone)]).toEqual([former, former]);
  const worker = await outcomeOf(fresh);
  expect(worker).not.toBe(former);
  await until('the new one on the kept port', async () => (await outcomeOf(kept)) === worker, {
    timeoutMs: 20_000,
  });
  await settled(keeper);
  expect(isAlive(former)).toBe(false);
  expect(listeners(kept)).toHaveLength(1);
  expect(await outcomeOf(gone)).toBe('ECONNREFUSED');
  await expectNothingFailed(load.stop());
  expect([await outcomeOf(kept), await outcomeOf(fresh)]).toEqual([worker, worker]);
  process.kill(keeper.worker(), 'SIGKILL');
  const [onFresh, onKept] = await Promise.all(
    [fresh, kept].map((port) => outcomeOf(port, { timeoutMs: 20_000 })),
  );
  expect(onFresh).toBe(onKept);
  expect(onFresh).toBe(keeper.worker());
});

test('--new-addresses: an address that the new one has not taken yet survives the death of the old one', async () => {
  const [kept, fresh] = [await freePort(), await freePort()];
  const { command, become } = changingCommand(listensOn({ port: kept }));
  const keeper = startKeeper(command, { flags: FLAGS });
  await keeper.holding();
  const former = keeper.worker();
  become(listensOn({ port: fresh }, { port: kept, afterMs: 3 * LATE_MS }));
  expect((await keeper.ask('reload', '--new-addresses', keeper.name)).exit.code).toBe(0);
  expect(await outcomeOf(kept)).toBe(former);
  process.kill(former, 'SIGKILL');
  const answers = [];
  for (let asked = 0; asked < 10; asked++) answers.push(await outcomeOf(kept, { timeoutMs: 20_000 }));
  await settled(keeper);
  const worker = keeper.worker();
  expect(new Set(answers)).toEqual(new Set([worker]));
  expect([await outcomeOf(kept), await outcomeOf(fresh)]).toEqual([worker, worker]);
});

test('--new-addresses: with the same addresses the new one is ready as soon as it has them all', async () => {
  const [one, two] = [await freePort(), await freePort()];
  const keeper = startKeeper(listensOn({ port: one }, { port: two, afterMs: LATE_MS }), {
    flags: ['--ready-timeout', '1h'],
  });
  await keeper.holding(2);
  const former = keeper.worker();
  expect((await keeper.ask('reload', '--new-addresses', keeper.name)).exit.code).toBe(0);
  await settled(keeper);
  expect(isAlive(former)).toBe(false);
  const worker = keeper.worker();
  expect([await outcomeOf(one), await outcomeOf(two)]).toEqual([worker, worker]);
});

test('--new-addresses: a rollback has the old one serve all its addresses again', async () => {
  const [kept, gone, fresh] = [await freePort(), await freePort(), await freePort()];
  const { command, become } = changingCommand(listensOn({ port: kept }, { port: gone }));
  const keeper = startKeeper(command, { flags: FLAGS });
  await keeper.holding(2);
  const former = keeper.worker();
  const load = startLoad({ port: gone, ratePerSecond: 50 });
  become(listensOn({ port: fresh }, { port: kept, afterMs: LATE_MS }));
  expect((await keeper.ask('reload', '--new-addresses', keeper.name)).exit.code).toBe(0);
  await until('the new one on the kept port', async () => (await outcomeOf(kept)) !== former, {
    timeoutMs: 20_000,
  });
  expect((await keeper.ask('rollback', keeper.name)).exit.code).toBe(0);
  expect([await outcomeOf(kept), await outcomeOf(gone)]).toEqual([former, former]);
  await settled(keeper);
  expect(await outcomeOf(fresh)).toBe('ECONNREFUSED');
  expect([await outcomeOf(kept), await outcomeOf(gone)]).toEqual([former, former]);
  await expectNothingFailed(load.stop());
});

/** What happens to a server that has still to take an address, by the time when the next keeper lives. */
const MEANWHILE: Readonly<Record<string, (next: number, former: number) => Promise<void>>> = {
  'the next keeper sees it take the address': async () => undefined,
  'it takes the address while no keeper lives': async (next) => {
    process.kill(next, 'SIGUSR2');
    await until('a bind that waits', () => /^(49|200) /.test(readFileSync(`/proc/${next}/syscall`, 'utf8')));
  },
  'the old one dies while no keeper lives': async (_, former) => {
    process.kill(former, 'SIGKILL');
    await until('its end', () => !isAlive(former));
  },
};

for (const [what, happens] of Object.entries(MEANWHILE)) {
  test(`--new-addresses: the keeper is killed while an address is still to be taken: ${what}, and nobody is refused`, async () => {
    const [kept, gone, fresh] = [await freePort(), await freePort(), await freePort()];
    const { command, become } = changingCommand(listensOn({ port: kept }, { port: gone }));
    const first = startKeeper(command, { flags: FLAGS });
    await first.holding(2);
    const former = first.worker();
    const load = startLoad({ port: kept, ratePerSecond: 50 });
    await until('answers', () => load.counts().ok > 5);
    become(listensWhenTold(fresh, kept));
    expect((await first.ask('reload', '--new-addresses', first.name)).exit.code).toBe(0);
    const next = first.worker();
    expect(await outcomeOf(kept)).toBe(former);
    const keeper = await restarted(first, command, () => happens(next, former));
    expect(keeper.worker()).toBe(next);
    const { ok } = load.counts();
    if (isAlive(former)) await until('more answers', () => load.counts().ok > ok + 5);
    if (!what.startsWith('it takes')) process.kill(next, 'SIGUSR2');
    await until('the new one on the kept port', async () => (await outcomeOf(kept)) === next);
    await settled(keeper);
    expect(isAlive(former)).toBe(false);
    // The clients of one that has died wait for a while.
    if (!what.startsWith('the old one dies')) expect(await outcomeOf(gone)).toBe('ECONNREFUSED');
    const { refused, hung, skipped, ...result } = await load.stop();
    expect({ refused, hung, skipped }).toEqual({ refused: 0, hung: 0, skipped: 0 });
    // Only a server that is killed may lose what it was answering.
    if (!what.startsWith('the old one dies')) expect(result.ok).toBe(result.sent);
    expect([await outcomeOf(kept), await outcomeOf(fresh)]).toEqual([next, next]);
    expect([listeners(kept), listeners(fresh)].map(({ length }) => length)).toEqual([1, 1]);
    // Both are held by the next keeper.
    await keeper.crash();
    const [onFresh, onKept] = await Promise.all(
      [fresh, kept].map((port) => outcomeOf(port, { timeoutMs: 500 })),
    );
    expect([onFresh, onKept]).not.toContain('ECONNREFUSED');
  });
}

test('--new-addresses: whoever was turned away from an address that nobody took is served there after a rollback, by the next keeper too', async () => {
  const [kept, gone] = [await freePort(), await freePort()];
  const { command, become } = changingCommand(listensOn({ port: kept }, { port: gone }));
  const flags = ['--ready-timeout', '4s', '--drain-wait', 'open', '--drain-timeout', '1h'];
  const first = startKeeper(command, { flags });
  await first.holding(2);
  const former = first.worker();
  const open = connect(kept, '127.0.0.1');
  await once(open, 'connect');
  become(listensOn({ port: kept }));
  expect((await first.ask('reload', '--new-addresses', first.name)).exit.code).toBe(0);
  const late = async () => {
    const [state] = JSON.parse((await first.ask('status', first.name, '--json')).stdout) as KeeperState[];
    return state?.drain?.late;
  };
  expect(await late()).toEqual([`127.0.0.1:${gone}`]);
  await until('the end of its time', async () => (await late())?.length === 0, { timeoutMs: 20_000 });
  const keeper = await restarted(first, command, async () => undefined, flags);
  expect((await keeper.ask('rollback', keeper.name)).exit.code).toBe(0);
  expect([await outcomeOf(kept), await outcomeOf(gone)]).toEqual([former, former]);
  open.destroy();
  await settled(keeper);
});

/** Kills the keeper, and starts another one when what is to happen meanwhile has happened. */
async function restarted(
  first: RunningKeeper,
  command: readonly string[],
  meanwhile: () => Promise<void>,
  flags = FLAGS,
): Promise<RunningKeeper> {
  first.process.kill('SIGKILL');
  await first.process.end();
  await meanwhile();
  const keeper = startKeeper(command, { flags, beside: first });
  await keeper.process.line(/took over/);
  return keeper;
}
