import { expect, test } from 'vitest';
import { runHoldfast } from '../cli/holdfast.js';
import { startKeeper } from '../support/keeper.js';
import { freePort } from '../support/ports.js';
import { nodeHttp } from '../support/servers.js';
import { startWatch } from './stage.js';

test('a keeper is told with its workers, and its restart and reload are marks', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), {
    name: 'shop',
    flags: ['--workers', '2', '--standby'],
  });
  await keeper.holding();
  const watching = startWatch(['--keeper', 'shop'], { env: keeper.env });
  const { snapshot } = await watching.until('two workers and a standby', ({ snapshot: { keepers } }) => {
    const phases = keepers[0]?.workers.map(({ phase }) => phase).sort();
    return `${phases}` === 'parked,serving,serving';
  });
  const { pid, workers } = keeper.state();
  expect(snapshot.keepers).toMatchObject([
    { name: 'shop', pid, phase: 'serving', generation: 1, addresses: [`[::]:${port}`], paused: false },
  ]);
  expect(snapshot.keepers[0]?.workers.map((worker) => worker.pid).sort()).toEqual(
    workers.map((worker) => worker.pid).sort(),
  );
  // Its server has the socket, not the keeper beside it.
  const listens = await watching.until('who serves', ({ snapshot: { ports } }) =>
    ports.some((one) => one.port === port && one.pid !== null),
  );
  const server = listens.snapshot.ports.find((one) => one.port === port)?.pid;
  expect(workers.map((worker) => worker.pid)).toContain(server);

  const killed = keeper.worker();
  process.kill(killed, 'SIGKILL');
  const crashed = await watching.until(
    'the mark of the crash',
    ({ snapshot: { marks } }) => marks.length > 0,
  );
  expect(crashed.snapshot.marks[0]).toMatchObject({ keeper: 'shop', kind: 'promoted' });
  expect((await keeper.ask('reload', 'shop')).exit.code).toBe(0);
  const reloaded = await watching.until('the mark of the reload', ({ snapshot: { marks } }) =>
    marks.some(({ kind }) => kind === 'reloaded'),
  );
  const kinds = reloaded.snapshot.marks.map(({ kind, generation }) => `${kind} ${generation}`);
  expect(kinds).toEqual(expect.arrayContaining(['reloading 2', 'reloaded 2']));
  await watching.until('generation 2', ({ snapshot: { keepers } }) => keepers[0]?.generation === 2);

  // Who begins to watch now is told of them too.
  const later = startWatch([], { env: keeper.env });
  await later.until('the marks of before', ({ snapshot: { marks } }) =>
    marks.some(({ kind }) => kind === 'reloaded'),
  );
  expect((await keeper.ask('stop', 'shop')).exit.code).toBe(0);
  await watching.until('its end', ({ snapshot: { keepers } }) => keepers.length === 0);
});

test('a server that is started again is a mark', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { name: 'shop' });
  await keeper.holding();
  const watching = startWatch(['--port', `${port}`], { env: keeper.env });
  await watching.until('a keeper', ({ snapshot: { keepers } }) => keepers.length === 1);
  const next = await keeper.crash();
  const { snapshot } = await watching.until('the mark', ({ snapshot: { marks } }) => marks.length > 0);
  expect(snapshot.marks).toMatchObject([{ keeper: 'shop', kind: 'restarted', pid: next }]);
  await watching.until('the new server has the socket', ({ snapshot: { ports } }) => ports[0]?.pid === next);
});

test('a keeper that does not run is refused', async () => {
  const keeper = startKeeper(nodeHttp.command(await freePort()), { name: 'shop' });
  await keeper.holding();
  const { code, stdout, stderr } = await runHoldfast(['watch', '--json', '--keeper', 'shpo'], {
    env: keeper.env,
  });
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toBe(
    'holdfast: no keeper named "shpo" runs; holdfast status lists them [ERR_HOLDFAST_NOT_RUNNING]\n',
  );
});
