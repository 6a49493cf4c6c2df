import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { watch } from '../../src/index.js';
import { run, runHoldfast } from '../cli/holdfast.js';
import { asNobody, holdfast } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { openNetns } from '../support/netns.js';
import { freePort } from '../support/ports.js';
import { type Started, start } from '../support/process.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { type Actor, startActor, startWatch } from './stage.js';

const state = { env: { HOLDFAST_STATE_DIR: temporaryFolder() } };

testNeeding(['netns', 'bound sockets'])(
  'without a terminal each look is a line, with what has changed',
  async () => {
    const netns = await openNetns();
    const actor = await startActor(netns);
    const watching = start(netns.command([...holdfast, 'watch', '--interval', '500ms']), state);
    await watching.line(/^\d{4}-\d\d-\d\dT[\d:.]+Z no sockets$/);
    await actor.act(`fds.listener = listenAt('127.0.0.1', 7000), fds.client = connect('127.0.0.1', 7000)`);
    await watching.line(/Z LISTEN 1( \(\+1\))?, ESTABLISHED 2( \(\+2\))?; 1 to accept/);
    await watching.line(/; 2 new -> ESTABLISHED/);
    await actor.act('fds.child = accept(fds.listener), close(fds.child), close(fds.client)');
    await watching.line(
      /TIME_WAIT 1 \(\+1\); TIME_WAIT ends within (59|60) s; .*1 ESTABLISHED -> TIME_WAIT \(active\)/,
    );
    await netns.close();
  },
);

testNeeding('netns')('--json is a snapshot and then deltas; --count ends it', async () => {
  const netns = await openNetns();
  const command = netns.command([...holdfast, 'watch', '--json', '--interval', '100ms', '--count', '3']);
  const { code, stdout, stderr } = await run(command, state);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const updates = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(updates.map(({ type, sequence }) => [type, sequence])).toEqual([
    ['snapshot', 1],
    ['delta', 2],
    ['delta', 3],
  ]);
  expect(updates[0]).toMatchObject({ intervalMs: 100, sockets: [], keepers: [], acceptQueue: 0 });
  await netns.close();
});

test('a reader that has seen enough is no failure', async () => {
  for (const flags of ['--json', '']) {
    const line = `{ ${holdfast.map((word) => `'${word}'`).join(' ')} watch --interval 100ms ${flags}; echo "exit $?" >&2; } | head -n 2`;
    const { stdout, stderr } = await run(['sh', '-c', line], state);
    expect(stdout.trimEnd().split('\n')).toHaveLength(2);
    expect(stderr).toBe('exit 0\n');
  }
});

const WRONG: readonly (readonly [line: string, says: RegExp])[] = [
  ['--port 99999', /port is a whole number from 1 to 65535, not 99999 \[ERR_HOLDFAST_OPTION\]/],
  ['--port http', /--port <port>: "http" is no whole number from 1 \[ERR_HOLDFAST_OPTION\]/],
  ['--pid 2147483647', /no process has the pid 2147483647 \[ERR_HOLDFAST_OPTION\]/],
  ['--interval 10ms', /intervalMs is a whole number from 100 to 3600000, not 10 \[ERR_HOLDFAST_OPTION\]/],
  ['--interval often', /"often" is no time/],
  ['--count 0', /"0" is no whole number from 1/],
  ['--keeper nobody', /no keeper named "nobody" runs/],
  ['8080', /too many arguments for 'watch'/],
];

for (const [line, says] of WRONG) {
  test(`"holdfast watch ${line}" exits 2 and says what is wrong`, async () => {
    const { code, stdout, stderr } = await runHoldfast(['watch', ...line.split(' ')], state);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(says);
  });
}

testNeeding(['netns', 'root'])(
  'an ordinary user sees all sockets, and is told how many owners are not shown',
  async () => {
    const netns = await openNetns();
    const actor = await startActor(netns);
    await actor.act(`fds.listener = listenAt('127.0.0.1', 7000), fds.client = connect('127.0.0.1', 7000)`);
    const around = (command: readonly string[]): readonly string[] => asNobody(command);
    const watching = startWatch([], { around: (command) => netns.command(around(command)) });
    const { snapshot } = await watching.until(
      'no owner is looked for any more',
      ({ snapshot: { unseen } }) => unseen.sockets === 2,
    );
    expect(snapshot.counts).toMatchObject({ LISTEN: 1, ESTABLISHED: 2 });
    expect(snapshot.unseen.processes).toBeGreaterThan(0);
    const listener = snapshot.sockets.find(({ state }) => state === 'LISTEN');
    expect(listener).toMatchObject({ ownership: 'hidden', pid: null, user: 'root' });
    expect(snapshot.ports).toMatchObject([{ port: 7000, listening: 1, pid: null }]);
    await netns.close();
  },
);

testNeeding('netns')(
  'a reader that does not read costs no memory, and then gets what it has missed at once',
  async () => {
    const netns = await openNetns();
    const actor = await startActor(netns);
    const watching = start(netns.command([...holdfast, 'watch', '--json', '--interval', '100ms']), {
      ...state,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    await watching.line(/"type":"delta"/);
    watching.child.stdout?.pause();
    await untilBlocked(watching);
    await churn(actor, 100);
    const before = memoryOf(watching.pid);
    for (let round = 0; round < 5; round++) await churn(actor, 400);
    // Everything that was made in 2,000 connections would be some megabytes.
    expect(memoryOf(watching.pid) - before).toBeLessThan(30_000_000);
    const deltas = watching.lines(/"type":"delta"/).length;
    watching.child.stdout?.resume();
    await watching.line(/"type":"delta"/, { after: deltas });
    await until('what it has missed', () => watching.lines(/"TIME_WAIT":21\d\d,/).length > 0);
    await netns.close();
  },
);

/** Its stdout takes no more: the pipe is full. */
async function untilBlocked(watching: Started): Promise<void> {
  let [last, still] = [-1, 0];
  await until(
    'it is blocked',
    () => {
      const { writableLength } = { writableLength: watching.stdout.length };
      still = writableLength === last ? still + 1 : 0;
      last = writableLength;
      return still > 5;
    },
    { everyMs: 100 },
  );
}

function churn(actor: Actor, count: number): Promise<unknown> {
  return actor.act(`fds.port = (fds.port ?? 7000) + 1, timeWaits('127.0.0.1', fds.port, ${count})`);
}

function memoryOf(pid: number): number {
  return 1_024 * Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

test('watch() is an iterable of the same, which ends with its loop or by a signal', async () => {
  const port = await freePort();
  const types: string[] = [];
  for await (const update of watch({ port, intervalMs: 100 })) {
    types.push(update.type);
    expect(update.counts.LISTEN).toBe(0);
    if (types.length === 3) break;
  }
  expect(types).toEqual(['snapshot', 'delta', 'delta']);
  const stopped = new AbortController();
  const updates = watch({ intervalMs: 60_000, signal: stopped.signal });
  await updates.next();
  const next = updates.next();
  stopped.abort();
  await expect(next).rejects.toMatchObject({ name: 'AbortError' });
  await expect(watch({ intervalMs: 5 }).next()).rejects.toMatchObject({ code: 'ERR_HOLDFAST_OPTION' });
  await expect(watch({ keeper: 'nobody-there' }).next()).rejects.toMatchObject({
    code: 'ERR_HOLDFAST_NOT_RUNNING',
  });
});
