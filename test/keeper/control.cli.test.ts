import { once } from 'node:events';
import { chmodSync, statSync } from 'node:fs';
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
