import { expect, test } from 'vitest';
import { startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort, freePorts } from '../support/ports.js';
import { type Started, start } from '../support/process.js';
import { nodeHttp, pythonHttp } from '../support/servers.js';
import { nodeServer, sh } from './inline.js';
import { IMPORTS, python } from './programs.js';

const HELD_BY = (port: number, holder: Started): string =>
  `holdfast: Port ${port} on 127.0.0.1 is held by your own python3 (pid ${holder.pid})`;

/** A server that goes on to its second port when the first is taken. */
const RETRIES = `
  const server = require('node:http').createServer();
  const [first, second] = process.argv.slice(1).map(Number);
  server.once('error', () => server.listen(second, '127.0.0.1'));
  server.on('listening', () => process.on('SIGUSR2', () => process.exit(3)));
  server.listen(first, '127.0.0.1');`;

for (const [name, command, code] of [
  ['node', (port: number) => nodeServer(port, 'listening', '0'), 1],
  ['python', (port: number) => pythonHttp.command(port), 1],
  ['a shell around it', (port: number) => sh('"$@"; exit 9', ...nodeServer(port, 'listening', '0')), 9],
] as const) {
  testNeeding('python3')(`who has the port is told when the bind of ${name} fails`, async () => {
    const { port, holder } = await takenPort();
    const keeper = startKeeper(command(port));
    expect(await keeper.process.end()).toEqual({ code, signal: null });
    expect(keeper.process.stderr).toContain(HELD_BY(port, holder));
    expect(keeper.process.stderr).toContain('What a bind does');
    expect(keeper.process.lines(/^holdfast: .* ended before it listened/)).toEqual([]);
  });
}

testNeeding('python3')('with --log json it is one line with the report', async () => {
  const { port, holder } = await takenPort();
  const keeper = startKeeper(nodeServer(port, 'listening', '0'), { flags: ['--log', 'json'] });
  expect((await keeper.process.end()).code).toBe(1);
  const [line] = keeper.process.lines(/^\{.*"type":"diagnosis".*\}$/);
  const { msg, report } = JSON.parse(line?.[0] ?? '');
  expect(msg).toBe(report.summary);
  expect(report).toMatchObject({ schema: 1, port, verdict: 'held', processes: [{ pid: holder.pid }] });
});

testNeeding('python3')('a server that goes on to another port is told nothing of the first', async () => {
  const { port, holder } = await takenPort();
  const [second] = await freePorts(1);
  const keeper = startKeeper([process.execPath, '-e', RETRIES, `${port}`, `${second}`]);
  await keeper.holding();
  await keeper.restarts(() => process.kill(keeper.worker(), 'SIGUSR2'));
  await keeper.process.line(/is served again/);
  keeper.process.kill();
  await keeper.process.end();
  expect(keeper.process.stderr).not.toContain(HELD_BY(port, holder));
});

testNeeding('python3')(
  'a second port of a server that has listened at its first is looked at too',
  async () => {
    const { port, holder } = await takenPort();
    const [first] = await freePorts(1);
    const script = `
    const { createServer } = require('node:http');
    createServer().listen(${first}, '127.0.0.1', () => createServer().listen(${port}, '127.0.0.1'));`;
    const keeper = startKeeper([process.execPath, '-e', script], { flags: ['--restart', 'never'] });
    expect((await keeper.process.end()).code).toBe(1);
    expect(keeper.process.stderr).toContain(HELD_BY(port, holder));
  },
);

testNeeding('python3')(
  'several starts that fail are told once, and again after it has listened',
  async () => {
    const { port, holder } = await takenPort();
    const flags = ['--restart', 'always', '--max-backoff', '100ms'];
    const keeper = startKeeper(nodeServer(port, 'SIGUSR2', 'process.exit(5)'), { flags });
    await keeper.process.line(/exited with 1/, { after: 4 });
    const told = (): number => keeper.process.stderr.split(HELD_BY(port, holder)).length - 1;
    expect(told()).toBe(1);
    holder.kill('SIGKILL');
    await holder.end();
    await keeper.holding();
    keeper.process.kill();
    await keeper.process.end();
    expect(told()).toBe(1);
  },
);

test('what the server itself or its keeper has is nobody else’s', async () => {
  const port = await freePort();
  const script = `
    const { createServer } = require('node:http');
    createServer().listen(${port}, '127.0.0.1', () => createServer().listen(${port}, '127.0.0.1'));`;
  const keeper = startKeeper([process.execPath, '-e', script], { flags: ['--restart', 'never'] });
  expect((await keeper.process.end()).code).toBe(1);
  expect(keeper.process.stderr).toContain('EADDRINUSE');
  expect(keeper.process.lines(/^holdfast: Port/)).toEqual([]);
});

test('a server that fails for another reason is told nothing', async () => {
  const port = await freePort();
  const bound = python(`${IMPORTS}\ns = socket.socket(); s.bind(('127.0.0.1', ${port})); os._exit(9)`);
  const keeper = startKeeper(bound);
  expect((await keeper.process.end()).code).toBe(9);
  expect(keeper.process.lines(/^holdfast: (?!started|pid \d+ exited)/)).toEqual([]);
});

for (const flags of [[], ['--no-trap']]) {
  testNeeding('python3')(
    `${['--listen', ...flags].join(' ')}: who has the address is told, and the keeper ends with 2`,
    async () => {
      const { port, holder } = await takenPort();
      const all = ['--listen', `127.0.0.1:${port}`, ...flags];
      const keeper = startKeeper(nodeHttp.command(port), { flags: all });
      expect(await keeper.process.end()).toEqual({ code: 2, signal: null });
      expect(keeper.process.stderr).toContain(HELD_BY(port, holder));
      expect(keeper.process.stderr).toMatch(
        /^holdfast: --listen .* is taken by .*\[ERR_HOLDFAST_ADDRESS_TAKEN\]$/m,
      );
    },
  );
}

testNeeding('python3')('with --no-trap nothing is known of a bind that fails', async () => {
  const { port, holder } = await takenPort();
  const flags = ['--no-trap', '--listen', `unix:@${port}`, '--restart', 'never'];
  const keeper = startKeeper(nodeServer(port, 'listening', '0'), { flags });
  expect((await keeper.process.end()).code).toBe(1);
  expect(keeper.process.stderr).not.toContain(HELD_BY(port, holder));
});

/** A port at which a program of Python listens. */
async function takenPort(): Promise<{ readonly port: number; readonly holder: Started }> {
  const port = await freePort();
  const listens = `s = socket.create_server(('127.0.0.1', ${port})); print('listens', flush=True)`;
  const holder = start(python(`import signal, socket; ${listens}; signal.pause()`));
  await holder.line(/listens/);
  return { port, holder };
}
