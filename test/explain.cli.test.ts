import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { explain, why } from '../src/index.js';
import { project, run } from './cli/holdfast.js';
import { python } from './keeper/programs.js';
import { testNeeding } from './support/needing.js';
import { freePort } from './support/ports.js';
import { type Started, start } from './support/process.js';
import { binaryOf } from './support/requirement.js';
import { temporaryFolder } from './support/temporary.js';

// The project's own folder has the package `holdfast`, as a program's node_modules would.
const PRELOAD = ['--import', 'holdfast/explain'];
/** Any `--import` makes Node start a program in another way, which stacks show. */
const BARE = ['--import', 'data:text/javascript,'];

const CJS = ['-e', `require('node:http').createServer().listen(process.env.PORT, '127.0.0.1')`];
const ESM = [
  '--input-type=module',
  '-e',
  `import { createServer } from 'node:http'; createServer().listen(process.env.PORT, '127.0.0.1')`,
];

for (const version of [undefined, 'node22', 'node24'] as const) {
  for (const [kind, program] of [
    ['CommonJS', CJS],
    ['ESM', ESM],
  ] as const) {
    const node = version ?? `node${process.version.slice(1).split('.')[0]}`;
    testNeeding(['python3', ...(version === undefined ? [] : [version])])(
      `${node}: who has the port is told above the error of a program in ${kind}, and all else is as without`,
      async () => {
        const { port, holder } = await takenPort();
        const command = version === undefined ? process.execPath : binaryOf(version);
        const [bare, told] = [
          await runOn(port, [...BARE, ...program], { command }),
          await runOn(port, [...PRELOAD, ...program], { command }),
        ];
        expect({ code: told.code, stdout: told.stdout }).toEqual({ code: bare.code, stdout: bare.stdout });
        expect(bare.stderr).toContain('Error: listen EADDRINUSE');
        expect(told.stderr.endsWith(bare.stderr)).toBe(true);
        const text = told.stderr.slice(0, -bare.stderr.length);
        expect(text).toContain(`\nPort ${port} on 127.0.0.1 is held by your own python3 (pid ${holder.pid})`);
        expect(text).not.toContain('Warning');
      },
    );
  }
}

/** Programs that die of the port, in other ways than a server's unhandled error. */
const DYING = {
  'a worker of cluster': `
    const cluster = require('node:cluster');
    if (cluster.isPrimary) cluster.fork().on('exit', (code) => process.exit(code));
    else require('node:http').createServer().listen(process.env.PORT, '127.0.0.1');`,
  'a thread': `
    const { Worker, isMainThread } = require('node:worker_threads');
    const server = "require('node:http').createServer().listen(process.env.PORT, '127.0.0.1')";
    if (isMainThread) new Worker(server, { eval: true });`,
  'a rejected promise': `
    const { once } = require('node:events');
    once(require('node:http').createServer().listen(process.env.PORT, '127.0.0.1'), 'listening');`,
  'an error with a cause': `
    require('node:http').createServer().listen(process.env.PORT, '127.0.0.1')
      .on('error', (cause) => { throw new Error('cannot start', { cause }); });`,
  'an AggregateError': `
    const { once } = require('node:events');
    const server = require('node:http').createServer().listen(process.env.PORT, '127.0.0.1');
    Promise.any([once(server, 'listening')]);`,
};

for (const [name, program] of Object.entries(DYING)) {
  testNeeding('python3')(`it is told once of ${name}`, async () => {
    const { port, holder } = await takenPort();
    const file = join(temporaryFolder(), 'program.cjs');
    writeFileSync(file, program);
    const { code, stderr } = await runOn(port, [...PRELOAD, file]);
    expect(code).toBe(1);
    expect(stderr.split(`is held by your own python3 (pid ${holder.pid})`)).toHaveLength(2);
  });
}

const SERVER = `require('node:http').createServer().listen(process.env.PORT, '127.0.0.1')`;

/** Programs that handle the error, or die of another one. */
const HANDLED = {
  'an uncaughtException listener': `process.on('uncaughtException', () => process.exit(7)); ${SERVER}`,
  'a capture callback': `process.setUncaughtExceptionCaptureCallback(() => process.exit(8)); ${SERVER}`,
  'a listener of the server': `${SERVER}.on('error', () => process.exit(9))`,
  'a listener of the thread': `
    const { Worker, isMainThread } = require('node:worker_threads');
    if (isMainThread) new Worker(${JSON.stringify(SERVER)}, { eval: true }).on('error', () => process.exit(10));`,
  'an exit code of its own': `process.on('exit', () => { process.exitCode = 11; }); throw new Error('other')`,
  'an error for a file': `require('node:fs').readdirSync('/proc/1/no-such-folder')`,
  'an error of the same code without a port': `throw Object.assign(new Error('x'), { code: 'EADDRINUSE' })`,
  'a value that is no error': `throw null`,
};

for (const [name, program] of Object.entries(HANDLED)) {
  testNeeding('python3')(`a program with ${name} ends as without it`, async () => {
    const { port } = await takenPort();
    const bare = await runOn(port, [...BARE, '-e', program]);
    expect(await runOn(port, [...PRELOAD, '-e', program])).toEqual(bare);
    expect(bare.code).not.toBe(0);
  });
}

testNeeding('python3')('an exit listener runs after it, and its exit code counts', async () => {
  const { port } = await takenPort();
  const program = `process.on('exit', (code) => { console.error('exits with', code); process.exitCode = 12; }); ${SERVER}`;
  const bare = await runOn(port, [...BARE, '-e', program]);
  const { code, stderr } = await runOn(port, [...PRELOAD, '-e', program]);
  expect(code).toBe(bare.code);
  expect(stderr).toMatch(/is held by .*exits with 1.*Error: listen EADDRINUSE/s);
});

test('a program that binds its port twice is told that it has it itself', async () => {
  const port = await freePort();
  const program = `const h = require('node:http'); h.createServer().listen(${port}, () => h.createServer().listen(${port}))`;
  const { code, stderr } = await runOn(port, [...PRELOAD, '-e', program]);
  expect(code).toBe(1);
  expect(stderr).toContain('\nThat is the program that failed itself: it binds the port twice.\n');
  expect(stderr).not.toContain('Fixes');
});

test('a UDP port is looked for among UDP ports', async () => {
  const port = await freePort();
  const program = `
    const { createSocket } = require('node:dgram');
    createSocket('udp4').bind(${port}, '127.0.0.1', () => createSocket('udp4').bind(${port}, '127.0.0.1'));`;
  const { stderr } = await runOn(port, [...PRELOAD, '-e', program]);
  expect(stderr).toMatch(new RegExp(`^UDP port ${port} on 127.0.0.1 is held by `, 'm'));
});

test('an address that this machine has not is told', async () => {
  const port = await freePort();
  const program = `require('node:http').createServer().listen(${port}, '192.0.2.1')`;
  const { stderr } = await runOn(port, [...PRELOAD, '-e', program]);
  expect(stderr).toContain(`Port ${port} on 192.0.2.1 cannot be bound: no interface has that address.`);
});

test('nothing of the diagnosis is loaded before it is needed', async () => {
  const program = `console.log(require('node:fs').readFileSync('/proc/self/maps', 'utf8').includes('koffi'))`;
  const { stdout, stderr } = await runOn(0, [...PRELOAD, '-e', program]);
  expect({ stdout, stderr }).toEqual({ stdout: 'false\n', stderr: '' });
});

testNeeding('python3')('on another system it does nothing', async () => {
  const { port } = await takenPort();
  const elsewhere = `data:text/javascript,Object.defineProperty(process, 'platform', { value: 'darwin' })`;
  const before = ['--import', elsewhere];
  const bare = await runOn(port, [...before, '-e', SERVER]);
  expect(await runOn(port, [...before, ...PRELOAD, '-e', SERVER])).toEqual(bare);
});

test('explain() gives words for an address, and null for other errors', async () => {
  const port = await freePort();
  const server = createServer().listen(port, '127.0.0.1');
  const error = await new Promise((resolve) => {
    server.once('listening', () => createServer().listen(port, '127.0.0.1').once('error', resolve));
  });
  expect(await explain(new Error('outer', { cause: error }))).toContain(
    `Port ${port} on 127.0.0.1 is held by`,
  );
  expect(await explain(new Error('other'))).toBeNull();
  expect(await explain(undefined)).toBeNull();
  expect(
    await explain({
      get cause() {
        throw new Error('a trap');
      },
    }),
  ).toBeNull();
  server.close();
});

test('a port or host that is none is a wrong option', async () => {
  for (const options of [{ port: 0 }, { port: 65_536 }, { port: 1.5 }, { port: 80, host: 'localhost' }]) {
    await expect(why(options)).rejects.toMatchObject({ code: 'ERR_HOLDFAST_OPTION' });
  }
  expect((await why({ port: 80, host: '0:0::1', probe: false })).host).toBe('::1');
});

function runOn(port: number, args: readonly string[], { command = process.execPath } = {}) {
  return run([command, ...args], { cwd: project, env: { PORT: `${port}`, NODE_OPTIONS: undefined } });
}

/** A port at which a program of Python listens. */
async function takenPort(): Promise<{ readonly port: number; readonly holder: Started }> {
  const port = await freePort();
  const listens = `s = socket.create_server(('127.0.0.1', ${port})); print('listens', flush=True)`;
  const holder = start(python(`import signal, socket; ${listens}; signal.pause()`));
  await holder.line(/listens/);
  return { port, holder };
}
