import { once } from 'node:events';
import { chmodSync, statSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { asNobody, type KeeperOptions, type RunningKeeper, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { start } from '../support/process.js';
import { nodeHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { reloaded, settled } from './reloads.js';

test('the control socket is for this user alone', async () => {
  const keeper = await startServer();
  expect(statSync(controlOf(keeper)).mode & 0o777).toBe(0o600);
  expect(await ask(controlOf(keeper), '/status')).toMatchObject({ status: 200 });
  expect(await ask(controlOf(keeper), '/jiggle')).toMatchObject({
    status: 404,
    body: expect.stringContaining('GET /status, /events, /events?follow and /metrics'),
  });
});

testNeeding(['root', 'setpriv'])(
  'another user is kept out by the mode of the socket, and by who he is when that is opened',
  async () => {
    const keeper = await startServer();
    const socket = controlOf(keeper);
    expect(await askAsNobody('GET', socket, '/status')).toBe('EACCES');
    chmodSync(socket, 0o666);
    for (const [method, path] of [
      ['GET', '/status'],
      ['GET', '/events?follow'],
      ['GET', '/metrics'],
      ['POST', '/stop'],
    ] as const) {
      const answer = await askAsNobody(method, socket, path);
      expect(answer).toMatch(/^403 /);
      expect(answer).toContain('only root and user 0 may ask this keeper, not user 65534');
    }
    expect(await ask(socket, '/status')).toMatchObject({ status: 200 });
    expect(keeper.process.exit).toBeUndefined();
  },
);

testNeeding(['root', 'setpriv'])('root may ask the keeper of another user', async () => {
  const keeper = await startServer({ around: asNobody, stateOwner: 65534, cwd: temporaryFolder() });
  expect(await ask(controlOf(keeper), '/status')).toMatchObject({ status: 200 });
  expect(await askAsNobody('GET', controlOf(keeper), '/status')).toMatch(/^200 /);
});

test('status counts the starts after a worker ended by itself, and no others', async () => {
  const flags = ['--workers', '2', '--standby', '--standby-max-age', '300ms'];
  const keeper = startKeeper(nodeHttp.command(await freePort(), '--graceful'), { flags });
  const parked = async (): Promise<number> => {
    const { workers } = await keeper.untilState(
      'two workers and a standby',
      (state) =>
        state.reload === 'steady' &&
        state.workers.filter(({ phase }) => phase === 'serving').length === 2 &&
        state.workers.some(({ phase }) => phase === 'parked'),
    );
    return workers.find(({ phase }) => phase === 'parked')?.pid ?? 0;
  };
  const first = await parked();
  await keeper.untilState('another standby', ({ workers }) => {
    return workers.some(({ pid, phase }) => phase === 'parked' && pid !== first);
  });
  await reloaded(keeper);
  await settled(keeper);
  await parked();
  expect((await keeper.ask('status', 'app')).stdout).toMatch(/, never restarted$/m);
  for (const told of ['1 restart', '2 restarts']) {
    process.kill(keeper.worker(), 'SIGKILL');
    await keeper.untilState('the restart', ({ restarts }) => restarts === Number(told[0]));
    await parked();
    expect((await keeper.ask('status', 'app')).stdout).toMatch(new RegExp(`, ${told}$`, 'm'));
  }
});

for (const [how, end] of [
  ['is killed', async (keeper: RunningKeeper) => void process.kill(keeper.state().pid, 'SIGKILL')],
  [
    'is replaced',
    async (keeper: RunningKeeper, command: readonly string[], cwd: string) => {
      const next = startKeeper(command, { beside: keeper, flags: ['--replace'], cwd });
      await next.process.line(/took over the server/);
    },
  ],
] as const) {
  test(`a reload whose keeper ${how} before it answers says so`, async () => {
    const port = await freePort();
    const folder = temporaryFolder();
    const write = (code: string): void => writeFileSync(join(folder, 'server.js'), code);
    write(`require('node:net').createServer().listen(${port}, '127.0.0.1')`);
    const command = [process.execPath, 'server.js'];
    const keeper = startKeeper(command, { cwd: folder });
    await keeper.holding();
    write('setInterval(() => undefined, 1_000)');
    const reload = keeper.ask('reload', 'app');
    await keeper.untilState('the reload', ({ reload }) => reload === 'starting');
    await end(keeper, command, folder);
    const { exit, stderr } = await reload;
    expect(exit).toEqual({ code: 2, signal: null });
    expect(stderr).toBe(
      'holdfast: the keeper "app" ended or was replaced before it answered; see holdfast status app, and ask again [ERR_HOLDFAST_KEEPER_ENDED]\n',
    );
  });
}

async function startServer(options: KeeperOptions = {}): Promise<RunningKeeper> {
  const keeper = startKeeper(nodeHttp.command(await freePort()), options);
  await keeper.holding();
  return keeper;
}

function controlOf(keeper: RunningKeeper): string {
  return join(keeper.env.HOLDFAST_STATE_DIR, `${keeper.name}.sock`);
}

async function ask(
  socketPath: string,
  path: string,
): Promise<{ readonly status: number; readonly body: string }> {
  const [response] = await once(get({ socketPath, path, agent: false }), 'response');
  return { status: response.statusCode, body: await text(response) };
}

const ASK = `
const [method, socketPath, path] = process.argv.slice(1);
require('node:http').request({ method, socketPath, path }, (response) => {
  let body = '';
  response.on('data', (chunk) => { body += chunk; });
  response.on('end', () => console.log(response.statusCode, body));
}).on('error', (error) => console.log(error.code)).end();
`;

/** Status and body, or the code of the error. */
async function askAsNobody(method: string, socket: string, path: string): Promise<string> {
  const client = start(asNobody([process.execPath, '-e', ASK, '--', method, socket, path]));
  expect(await client.end()).toEqual({ code: 0, signal: null });
  return client.stdout.trim();
}
