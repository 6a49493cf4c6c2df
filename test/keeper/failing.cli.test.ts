import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Notice } from '../../src/index.js';
import { STEADY_MS } from '../../src/keeper/lifecycle.js';
import { pidOf } from '../support/http.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { listeningInode } from '../support/proc.js';
import { nodeHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { outcomeOf } from './clients.js';
import { nodeServer, sh } from './inline.js';
import { changingCommand, IMPORTS, python } from './programs.js';

testNeeding('python3')(
  'a server that dies between bind and listen gives its port to the next one',
  async () => {
    const port = await freePort();
    const server = changingCommand(nodeHttp.command(port, '--host', '127.0.0.1'));
    const keeper = startKeeper(server.command);
    await keeper.holding();
    const inode = listeningInode(port);
    server.become(python(`${IMPORTS}\ns = socket.socket(); s.bind(('127.0.0.1', ${port})); os._exit(9)`));
    await keeper.crash();
    const waiting = outcomeOf(port, { timeoutMs: 20_000 });
    await keeper.process.line(/exited with 9/, { after: 1 });
    server.become(nodeHttp.command(port, '--host', '127.0.0.1'));
    expect(await waiting).toBe(keeper.worker());
    expect(listeningInode(port)).toBe(inode);
  },
);

test('clients are refused after --hold-for too when the server listens in each start and dies then', async () => {
  const port = await freePort();
  const server = changingCommand(nodeHttp.command(port, '--host', '127.0.0.1'));
  const keeper = startKeeper(server.command, { flags: ['--hold-for', '1s', '--max-backoff', '100ms'] });
  await keeper.holding();
  server.become(nodeServer(port, 'listening', 'process.exit(1)'));
  await keeper.crash();
  await keeper.process.line(/is served again/);
  expect(await outcomeOf(port, { timeoutMs: 8_000 })).toMatch(/^ECONN(RESET|REFUSED)$/);
});

test('starts that fail in a row come 0, 100, 200, 400 ms ... after each other, give or take a fifth', async () => {
  const { keeper, brokenFrom } = await breakable(['--log', 'json']);
  brokenFrom();
  await keeper.crash();
  const notices = await untilNotices(keeper, 'restarting', 4);
  expect(notices.map(({ failures }) => failures)).toEqual([2, 3, 4, 5]);
  for (const [index, { inMs }] of notices.entries()) {
    expect(inMs).toBeGreaterThanOrEqual(80 * 2 ** index);
    expect(inMs).toBeLessThanOrEqual(120 * 2 ** index);
  }
});

test('--max-backoff limits the time between two starts', async () => {
  const { keeper, brokenFrom } = await breakable(['--log', 'json', '--max-backoff', '150ms']);
  brokenFrom();
  await keeper.crash();
  const notices = await untilNotices(keeper, 'restarting', 5);
  for (const { inMs } of notices.slice(1)) expect(inMs).toBeLessThanOrEqual(180);
});

test('a server that has served for a while starts again at once, however often that happens', async () => {
  const { keeper } = await breakable(['--log', 'json']);
  for (let crashes = 0; crashes < 2; crashes++) {
    const since = performance.now();
    await sleep(STEADY_MS + 300); // the policy is about time
    expect(performance.now() - since).toBeGreaterThan(STEADY_MS);
    await keeper.crash();
    await untilNotices(keeper, 'served-again', crashes + 1);
  }
  expect(noticesOf(keeper, 'restarting')).toEqual([]);
});

test('clients wait for a server that fails to start, are refused after --hold-for, and are served once it is repaired', async () => {
  const { keeper, port, brokenFrom, repaired } = await breakable([
    '--hold-for',
    '2s',
    '--max-backoff',
    '300ms',
  ]);
  const inode = listeningInode(port);
  brokenFrom();
  process.kill(keeper.worker(), 'SIGKILL');
  await keeper.process.line(/starting again/);
  const startMs = performance.now();
  const waiting = outcomeOf(port, { timeoutMs: 20_000 });
  expect(await waiting).toBe('ECONNRESET');
  expect(performance.now() - startMs).toBeGreaterThan(1_000);
  await keeper.process.line(/refuses clients/);
  expect(await outcomeOf(port)).toBe('ECONNREFUSED');
  expect(keeper.process.exit).toBeUndefined();
  repaired();
  const pid = await until('an answer', async () => Number(await outcomeOf(port)));
  expect(pid).toBe(keeper.worker());
  await keeper.process.line(/is served again/);
  expect(listeningInode(port)).toBe(inode);
  await keeper.crash();
  expect(await pidOf(port)).toBe(keeper.worker());
});

test('clients that come while a server fails to start are served when it comes up within --hold-for', async () => {
  const { keeper, port, brokenFrom, repaired } = await breakable(['--max-backoff', '300ms']);
  brokenFrom();
  process.kill(keeper.worker(), 'SIGKILL');
  const waiting = Promise.all(Array.from({ length: 20 }, () => outcomeOf(port, { timeoutMs: 20_000 })));
  await keeper.process.line(/starting again/, { after: 2 });
  repaired();
  expect(new Set(await waiting)).toEqual(new Set([keeper.worker()]));
});

interface Breakable {
  readonly keeper: RunningKeeper;
  readonly port: number;
  /** From now on each start fails. */
  brokenFrom(): void;
  repaired(): void;
}

/** A server that has listened, and whose next starts fail while a file is there. */
async function breakable(flags: readonly string[]): Promise<Breakable> {
  const port = await freePort();
  const file = join(temporaryFolder(), 'broken');
  const command = sh(`test -e ${file} && exit 1; exec "$@"`, ...nodeHttp.command(port));
  const keeper = startKeeper(command, { flags });
  if (flags.includes('json')) await untilNotices(keeper, 'held', 1);
  else await keeper.holding();
  return {
    keeper,
    port,
    brokenFrom: () => writeFileSync(file, ''),
    repaired: () => rmSync(file),
  };
}

function noticesOf<T extends Notice['type']>(keeper: RunningKeeper, type: T): Extract<Notice, { type: T }>[] {
  return keeper.process
    .lines(/^\{.*\}$/)
    .map(([line]) => JSON.parse(line) as Notice)
    .filter((notice): notice is Extract<Notice, { type: T }> => notice.type === type);
}

function untilNotices<T extends Notice['type']>(
  keeper: RunningKeeper,
  type: T,
  count: number,
): Promise<Extract<Notice, { type: T }>[]> {
  return until(`${count} notices of ${type}`, () => {
    const found = noticesOf(keeper, type);
    return found.length >= count && found.slice(0, count);
  });
}
