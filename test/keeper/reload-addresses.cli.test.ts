import { expect, test } from 'vitest';
import { startKeeper } from '../support/keeper.js';
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
