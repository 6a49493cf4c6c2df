import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { bodyOf, pidOf } from '../support/http.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { descendantsOf, isAlive, listeners, tcpSockets } from '../support/proc.js';
import { gunicorn, nginx, nodeHttp, type TestServer, trap } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { freeze, outcomeOf, queueClients } from './clients.js';
import { sh } from './inline.js';
import { ANSWER, IMPORTS, python } from './programs.js';

/** How often a restart is stopped, each time at another moment of its first ones. */
const STOPS = Number(process.env.HOLDFAST_TEST_STOPS ?? 6);
const STOPS_OVER_MS = 40;

for (const [signal, code] of [
  ['SIGTERM', 143],
  ['SIGINT', 130],
  ['SIGQUIT', 131],
] as const) {
  test(`${signal} ends the server, the port and the keeper, with 128 and the signal's number`, async () => {
    const { keeper, port } = await serve(nodeHttp);
    const server = keeper.worker();
    keeper.process.kill(signal);
    expect(await keeper.process.end()).toEqual({ code, signal: null });
    expect(isAlive(server)).toBe(false);
    expect(listeners(port)).toEqual([]);
    expect(readdirSync(keeper.env.HOLDFAST_STATE_DIR)).toEqual([]);
  });
}

// A timer of Node takes 24 days at most, and a longer one ends at once.
for (const timeout of ['10s', '1000h']) {
  test(`a server that ends gracefully within ${timeout} answers what it has begun, and its exit code is the keeper’s`, async () => {
    const { keeper, port } = await serve(nodeHttp, ['--stop-timeout', timeout], '--graceful');
    const server = keeper.worker();
    const slow = bodyOf(port, { path: '/?delay=700' });
    const isConnected = (): boolean =>
      tcpSockets().some((socket) => socket.port === port && socket.state === 'ESTABLISHED');
    await until('the request at the server', isConnected);
    keeper.process.kill('SIGTERM');
    expect(await slow).toBe(`pid ${server}\n`);
    expect(await keeper.process.end()).toEqual({ code: 0, signal: null });
  });
}

test('--stop-signal asks the server to end by another signal', async () => {
  const { keeper } = await serve(nodeHttp, ['--stop-signal', 'SIGUSR2']);
  keeper.process.kill('SIGTERM');
  expect(await keeper.process.end()).toEqual({ code: 140, signal: null });
});

const testStubborn = testNeeding(trap('ignore-sigterm').needs);

testStubborn('a server that ignores the stop signal gets SIGKILL after --stop-timeout', async () => {
  const { keeper } = await serve(trap('ignore-sigterm'), ['--stop-timeout', '700ms']);
  const server = keeper.worker();
  const startMs = performance.now();
  keeper.process.kill('SIGTERM');
  expect(await keeper.process.end()).toEqual({ code: 137, signal: null });
  expect(performance.now() - startMs).toBeGreaterThan(690);
  expect(isAlive(server)).toBe(false);
});

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  testStubborn(`a second ${signal} ends at once a server that ignores the first`, async () => {
    const { keeper } = await serve(trap('ignore-sigterm'), ['--stop-timeout', '1h']);
    const server = keeper.worker();
    keeper.process.kill(signal);
    await keeper.process.line(/stopping with/);
    keeper.process.kill(signal);
    expect(await keeper.process.end()).toEqual({ code: 137, signal: null });
    expect(isAlive(server)).toBe(false);
  });
}

test('holdfast stop returns when the keeper has ended, and says so when none runs', async () => {
  const { keeper, port } = await serve(nodeHttp, [], '--graceful');
  const { exit, stderr } = await keeper.ask('stop', keeper.name);
  expect({ exit, stderr }).toEqual({ exit: { code: 0, signal: null }, stderr: '' });
  expect(isAlive(keeper.process.pid)).toBe(false);
  expect(await keeper.process.end()).toEqual({ code: 0, signal: null });
  expect(await outcomeOf(port)).toBe('ECONNREFUSED');
  const status = await keeper.ask('status', keeper.name);
  expect(status).toMatchObject({
    exit: { code: 1 },
    stdout: 'no keeper named "app" runs; holdfast status lists them\n',
  });
  const again = await keeper.ask('stop', keeper.name);
  expect(again.exit.code).toBe(2);
  expect(again.stderr).toContain('no keeper named "app" runs');
});

testStubborn('holdfast stop gives up after --timeout, and a second one ends it all', async () => {
  const { keeper } = await serve(trap('ignore-sigterm'), ['--stop-timeout', '1h']);
  const first = await keeper.ask('stop', keeper.name, '--timeout', '300ms');
  expect(first.exit.code).toBe(2);
  expect(first.stderr).toContain('has not ended within 300 ms');
  const second = await keeper.ask('stop', keeper.name);
  expect(second.exit.code).toBe(0);
  expect(await keeper.process.end()).toEqual({ code: 137, signal: null });
});

test('a stop while the server fails to start ends the keeper with its last exit code', async () => {
  const folder = temporaryFolder();
  const port = await freePort();
  const command = sh('test -e broken && exit 5; exec "$@"', ...nodeHttp.command(port));
  const keeper = startKeeper(command, { cwd: folder });
  await keeper.holding();
  writeFileSync(join(folder, 'broken'), '');
  await keeper.crash();
  await keeper.process.line(/starting again .*failure 5 in a row/);
  keeper.process.kill('SIGTERM');
  expect(await keeper.process.end()).toEqual({ code: 5, signal: null });
  expect(listeners(port)).toEqual([]);
});

test('a stop before the server listens ends it', async () => {
  const keeper = startKeeper(['sleep', '1000']);
  await keeper.process.line(/started/);
  await keeper.untilState('the server', ({ worker }) => worker !== null);
  const server = keeper.worker();
  keeper.process.kill('SIGTERM');
  expect(await keeper.process.end()).toEqual({ code: 143, signal: null });
  expect(isAlive(server)).toBe(false);
});

for (const flags of [[], ['--no-trap']]) {
  const title = flags.length === 0 ? '' : ` (${flags.join(' ')})`;

  test(`a stop in the first moment of the server leaves nothing${title}`, async () => {
    const keeper = startKeeper(sh('kill -TERM $PPID; exec sleep 1000'), { flags });
    await keeper.process.end();
    expect(startedBy(keeper)).toEqual([]);
  });

  test(`a stop in the first moment of a restart leaves nothing${title}`, async () => {
    const script = 'if test -e again; then kill -TERM $PPID; exec sleep 1000; fi; touch again; exit 1';
    const keeper = startKeeper(sh(script), {
      flags: [...flags, '--restart', 'always'],
      cwd: temporaryFolder(),
    });
    await keeper.process.end();
    expect(startedBy(keeper)).toEqual([]);
  });
}

test(
  `a stop in any of ${STOPS} moments of a restart leaves nothing`,
  async () => {
    for (let round = 0; round < STOPS; round++) {
      const { keeper, port } = await serve(nodeHttp);
      process.kill(keeper.worker(), 'SIGKILL');
      await sleep((round * STOPS_OVER_MS) / STOPS); // where it hits is what this is about
      keeper.process.kill('SIGTERM');
      await keeper.process.end();
      expect(listeners(port)).toEqual([]);
      expect(startedBy(keeper)).toEqual([]);
    }
  },
  60_000 + STOPS * 10_000,
);

test('clients that are queued at the stop are answered, later ones are refused', async () => {
  const { keeper, port } = await serve(nodeHttp, [], '--graceful');
  const server = keeper.worker();
  process.kill(server, 'SIGSTOP');
  const queue = await queueClients(port, 50);
  keeper.process.kill('SIGTERM');
  await keeper.process.line(/stopping with/);
  const late = outcomeOf(port);
  process.kill(server, 'SIGCONT');
  expect(new Set(await queue.outcomes)).toEqual(new Set([server]));
  expect(await late).toBe('ECONNREFUSED');
  expect(await keeper.process.end()).toEqual({ code: 0, signal: null });
});

testNeeding('python3')(
  'a long queue is emptied at the stop, by a server that takes one client at a time',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(python(ONE_AT_A_TIME, port, 0.15), { flags: ['--stop-timeout', '30s'] });
    await keeper.holding();
    const server = keeper.worker();
    await freeze(server);
    const queue = await queueClients(port, 20);
    keeper.process.kill('SIGTERM');
    await keeper.process.line(/stopping with/);
    process.kill(server, 'SIGCONT');
    const outcomes = await queue.outcomes;
    expect(outcomes.filter((outcome) => outcome !== server)).toEqual([]);
    expect(await keeper.process.end()).toEqual({ code: 0, signal: null });
  },
);

testNeeding('python3')('a server that accepts nobody any more holds up the stop for a second', async () => {
  const port = await freePort();
  const keeper = startKeeper(python(ONE_AT_A_TIME, port, 1_000), { flags: ['--stop-timeout', '1h'] });
  await keeper.holding();
  const taken = outcomeOf(port);
  await until('the client at the server', () =>
    tcpSockets().some(({ port: at, state, inode }) => at === port && state === 'ESTABLISHED' && inode !== 0),
  );
  const queue = await queueClients(port, 3);
  const startMs = performance.now();
  keeper.process.kill('SIGTERM');
  await until(
    'the end of the queue',
    () => listeners(port).length === 0 || keeper.process.exit !== undefined,
  );
  const tookMs = performance.now() - startMs;
  expect(tookMs).toBeGreaterThan(900);
  expect(tookMs).toBeLessThan(4_000);
  keeper.process.kill('SIGTERM');
  await keeper.process.end();
  await Promise.all([taken, queue.outcomes]);
});

/** It finishes its present client at SIGTERM. */
const ONE_AT_A_TIME = `${IMPORTS}, time
${ANSWER}
s = socket.create_server(('127.0.0.1', int(sys.argv[1])), backlog=64)
isOver = False
def end(*_):
    global isOver
    isOver = True
    s.close()
signal.signal(signal.SIGTERM, end)
while not isOver:
    try: client = s.accept()[0]
    except OSError: break
    time.sleep(float(sys.argv[2]))
    answer(client)
`;

for (const { server, options, flags } of [
  { server: nodeHttp, options: ['--graceful', '--delay', '20'], flags: [] },
  { server: nginx, options: [], flags: ['--stop-signal', 'SIGQUIT'] },
  { server: gunicorn, options: [], flags: [] },
]) {
  testNeeding(server.needs)(
    `${server.name}: a graceful stop under load answers or refuses, and resets nobody`,
    async () => {
      const { keeper, port } = await serve(server, flags, ...options);
      const load = startLoad({ port, ratePerSecond: 200 });
      await until('answers', () => load.counts().ok > 50);
      keeper.process.kill('SIGTERM');
      expect(await keeper.process.end(20_000)).toEqual({ code: 0, signal: null });
      await until('refusals', () => load.counts().refused > 20);
      const { failures, ok } = await load.stop();
      expect(ok).toBeGreaterThan(50);
      expect(failures.filter(({ kind }) => kind !== 'refused')).toEqual([]);
    },
  );
}

testNeeding(nginx.needs)('nginx reloads itself by its own SIGHUP, and nobody is refused', async () => {
  const port = await freePort();
  const keeper = startKeeper(nginx.command(port));
  await keeper.holding();
  const load = startLoad({ port, ratePerSecond: 200 });
  for (let reloads = 0; reloads < 3; reloads++) {
    const before = descendantsOf(keeper.worker());
    process.kill(keeper.worker(), 'SIGHUP');
    await until('new workers of nginx alone', () => {
      const now = descendantsOf(keeper.worker());
      return now.length === 2 && !now.some((pid) => before.includes(pid));
    });
  }
  const { failures } = await load.stop();
  expect(failures).toEqual([]);
  expect(keeper.state().starts).toBe(1);
});

test('a command that is not there ends the keeper with 127 and its name', async () => {
  const keeper = startKeeper(['no-such-program-here', 'x']);
  expect(await keeper.process.end()).toEqual({ code: 127, signal: null });
  expect(keeper.process.stderr).toContain('"no-such-program-here"');
  expect(keeper.process.stderr.trim().split('\n')).toHaveLength(1);
});

test('a command that may not be executed ends the keeper with 126', async () => {
  const file = join(temporaryFolder(), 'server');
  writeFileSync(file, '#!/bin/sh\n');
  chmodSync(file, 0o644);
  const keeper = startKeeper([file]);
  expect(await keeper.process.end()).toEqual({ code: 126, signal: null });
  expect(keeper.process.stderr).toContain(`${file} is not executable`);
});

test('a command whose interpreter is not there ends the keeper with 126 or 127, as in a shell', async () => {
  const file = join(temporaryFolder(), 'server');
  writeFileSync(file, '#!/no/such/interpreter\n');
  chmodSync(file, 0o755);
  const keeper = startKeeper([file]);
  expect((await keeper.process.end()).code).toBe(127);
});

async function serve(
  server: TestServer,
  flags: readonly string[] = [],
  ...options: string[]
): Promise<{ readonly keeper: RunningKeeper; readonly port: number }> {
  const port = await freePort();
  const keeper = startKeeper(server.command(port, ...options), { flags });
  await keeper.holding();
  await pidOf(port);
  return { keeper, port };
}

/** Living processes that came from the keeper, wherever they are now. */
function startedBy(keeper: RunningKeeper): number[] {
  const mark = `HOLDFAST_STATE_DIR=${keeper.env.HOLDFAST_STATE_DIR}`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && environmentOf(name).includes(mark))
    .map(Number)
    .filter(isAlive);
}

function environmentOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  } catch {
    return []; // ESRCH: ended; EACCES: another user's
  }
}
