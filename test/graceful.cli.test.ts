import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { project, run } from './cli/holdfast.js';
import { Client } from './closing/client.js';
import { askToLeave, PRELOAD, runSource, serveSource } from './closing/program.js';
import { testNeeding } from './support/needing.js';
import { descendantsOf, listeners } from './support/proc.js';
import { temporaryFolder } from './support/temporary.js';
import { until } from './support/wait.js';

const BARE = ['--import', 'data:text/javascript,'];

const CJS = `
  const server = require('node:http').createServer((_, response) => response.end('served'));
  server.listen(process.env.PORT, '127.0.0.1', () => console.log('listens'));`;
const ESM = CJS.replace("require('node:http')", 'http').replace(/^/, "import http from 'node:http';");

for (const node of [undefined, 'node22', 'node24'] as const) {
  for (const [kind, source, extension] of [
    ['CommonJS', CJS, '.cjs'],
    ['ESM', ESM, '.mjs'],
  ] as const) {
    testNeeding(node ?? [])(
      `${node ?? 'node'}: a program in ${kind} answers once more, with Connection: close, and ends by the signal`,
      async () => {
        const program = await serveSource(source, { node, extension });
        const client = await Client.connect(program.port);
        expect((await client.request()).headers.connection).toBe('keep-alive');
        await askToLeave(program);
        expect(await client.request()).toMatchObject({
          status: 200,
          body: 'served',
          headers: { connection: 'close' },
        });
        client.close();
        expect(await program.started.end()).toEqual({ code: null, signal: 'SIGTERM' });
        expect(program.started.stderr).toBe('');
      },
    );
  }
}

const WITHOUT_SERVER = {
  'no server': `console.log('runs'); setInterval(() => undefined, 1000);`,
  'a server that does not listen yet': `
    require('node:http').createServer(); console.log('runs'); setInterval(() => undefined, 1000);`,
  'a server that has been closed': `
    const server = require('node:http').createServer().listen(0, () => server.close(() => console.log('runs')));
    setInterval(() => undefined, 1000);`,
};

for (const [name, source] of Object.entries(WITHOUT_SERVER)) {
  test(`a program with ${name} ends at once`, async () => {
    const { started } = await runSource(source);
    await started.line(/^runs$/);
    started.kill('SIGTERM');
    expect(await started.end()).toEqual({ code: null, signal: 'SIGTERM' });
  });
}

test('before a server listens nobody handles the signal, and of other programs nothing can be told', async () => {
  const source = `
    const before = process.listenerCount('SIGTERM');
    const http = require('node:http');
    const server = http.createServer().listen(0, () => {
      const own = Object.getOwnPropertyNames(server).sort();
      const after = process.listenerCount('SIGTERM');
      const events = ['connection', 'request', 'close'].map((name) => server.listenerCount(name));
      console.log(JSON.stringify({ before, after, own, events, write: http.ServerResponse.prototype._storeHeader.name }));
      server.close();
    });`;
  const file = join(temporaryFolder(), 'program.cjs');
  writeFileSync(file, source);
  const [bare, graceful] = await Promise.all(
    [BARE, PRELOAD].map((preload) => run([process.execPath, ...preload, file], { cwd: project })),
  );
  expect(graceful?.stderr).toBe('');
  const told = JSON.parse(graceful?.stdout ?? '') as object;
  expect(told).toEqual({ ...(JSON.parse(bare?.stdout ?? '') as object), after: 1 });
  expect(graceful?.code).toBe(0);
});

test('a port that is taken is told as without it', async () => {
  const source = `
    const { createServer } = require('node:http');
    const server = createServer().listen(0, '127.0.0.1', () => createServer().listen(server.address().port, '127.0.0.1'));`;
  const file = join(temporaryFolder(), 'program.cjs');
  writeFileSync(file, source);
  const [bare, graceful] = await Promise.all(
    [BARE, PRELOAD].map((preload) => run([process.execPath, ...preload, file], { cwd: project })),
  );
  const withoutPort = (text = ''): string => text.replaceAll(/\d{4,5}\b/g, 'N');
  expect(withoutPort(graceful?.stderr)).toBe(withoutPort(bare?.stderr));
  expect(graceful?.stderr).toContain('EADDRINUSE');
});

test('a handler of the program runs at once, and its server.close() loses nobody', async () => {
  const program = await serveSource(`${CJS}
    process.on('SIGTERM', () => {
      console.log('handles');
      server.close((error) => { console.log('closed', error === undefined); process.exit(7); });
    });`);
  const client = await Client.connect(program.port);
  await client.request();
  await askToLeave(program);
  await program.started.line(/^handles$/);
  // Without it close() would have ended this connection, which is idle.
  expect((await client.request()).headers.connection).toBe('close');
  client.close();
  expect(await program.started.end()).toEqual({ code: 7, signal: null });
  expect(program.started.stdout).toContain('closed true');
});

test('close() of a handler that takes its time calls back too', async () => {
  const program = await serveSource(`${CJS}
    process.once('SIGTERM', async () => {
      // The server has been closed by then, and nobody is left.
      const look = setInterval(() => {
        if (server.listening) return;
        clearInterval(look);
        setImmediate(() => setImmediate(() => {
          server.close((error) => {
            console.log('closed', error === undefined);
            server.close((error) => { console.log('again', error.code); });
          });
        }));
      });
    });`);
  program.started.kill('SIGTERM');
  expect(await program.started.end()).toEqual({ code: 0, signal: null });
  expect(program.started.stdout).toContain('closed true\nagain ERR_SERVER_NOT_RUNNING\n');
});

test('a handler that exits, exits', async () => {
  const program = await serveSource(`${CJS} process.on('SIGTERM', () => process.exit(5));`);
  program.started.kill('SIGTERM');
  expect(await program.started.end()).toEqual({ code: 5, signal: null });
});

test('a program with a handler goes on when its servers have left', async () => {
  const program = await serveSource(`${CJS}
    process.on('SIGTERM', () => undefined);
    server.on('close', () => console.log('gone'));
    setInterval(() => undefined, 1000);`);
  program.started.kill('SIGTERM');
  await program.started.line(/^gone$/);
  expect(program.started.kill('SIGUSR2')).toBe(true);
  expect(await program.started.end()).toEqual({ code: null, signal: 'SIGUSR2' });
});

test('a handler that removes itself and sends the signal again ends the program, after its servers have left', async () => {
  const program = await serveSource(`${CJS}
    process.on('SIGTERM', function handler() {
      process.removeListener('SIGTERM', handler);
      process.kill(process.pid, 'SIGTERM');
      setTimeout(() => console.log('sent again'));
    });
    setInterval(() => undefined, 1000);`);
  const client = await Client.connect(program.port);
  await client.request();
  program.started.kill('SIGTERM');
  await program.started.line(/^sent again$/);
  expect((await client.request()).headers.connection).toBe('close');
  client.close();
  expect(await program.started.end()).toEqual({ code: null, signal: 'SIGTERM' });
});

test('a handler may let another server listen', async () => {
  const program = await serveSource(`${CJS}
    process.on('SIGTERM', () => server.close(() => {
      const next = require('node:http').createServer((_, response) => response.end('anew'));
      next.listen(process.env.PORT, '127.0.0.1', () => console.log('listens'));
    }));`);
  program.started.kill('SIGTERM');
  await program.started.line(/^listens$/, { after: 1 });
  const client = await Client.connect(program.port);
  expect((await client.request()).body).toBe('anew');
  client.close();
});

/** What signal-exit does; its two major versions differ in where they count. */
const SIGNAL_EXIT = {
  3: 'const emitter = (process.__signal_exit_emitter__ = { count: 1 });',
  4: `const emitter = (globalThis[Symbol.for('signal-exit emitter')] = { count: 1 });`,
};

const WHEN = {
  'after its servers have left': CJS,
  'without a server': `console.log('listens'); setInterval(() => undefined, 1000);`,
  'when its server has been closed': `
    setInterval(() => undefined, 1000);
    const server = require('node:http').createServer().listen(0, () => server.close(() => console.log('listens')));`,
};

for (const [version, emitter] of Object.entries(SIGNAL_EXIT)) {
  for (const [when, source] of Object.entries(WHEN)) {
    test(`a program with signal-exit ${version} cleans up and ends by the signal ${when}`, async () => {
      const program = await serveSource(`
        ${emitter}
        const listener = () => {
          if (process.listeners('SIGTERM').length !== emitter.count) return;
          console.log('cleans up');
          process.removeListener('SIGTERM', listener);
          process.kill(process.pid, 'SIGTERM');
        };
        process.on('SIGTERM', listener);
        ${source}`);
      program.started.kill('SIGTERM');
      expect(await program.started.end()).toEqual({ code: null, signal: 'SIGTERM' });
      expect(program.started.stdout).toContain('cleans up');
    });
  }
}

test('another signal can be the one that is handled, and SIGTERM is none then', async () => {
  const env = { HOLDFAST_GRACEFUL_SIGNAL: 'SIGINT' };
  const program = await serveSource(CJS, { env });
  const client = await Client.connect(program.port);
  await client.request();
  await askToLeave(program, 'SIGINT');
  expect((await client.request()).headers.connection).toBe('close');
  client.close();
  expect(await program.started.end()).toEqual({ code: null, signal: 'SIGINT' });

  const other = await serveSource(CJS, { env });
  const idle = await Client.connect(other.port);
  other.started.kill('SIGTERM');
  expect(await other.started.end()).toEqual({ code: null, signal: 'SIGTERM' });
  idle.close();
});

testNeeding(['unshare', 'root'])(
  'as the first process of a container it ends, although the kernel keeps the signal from it',
  async () => {
    const around = ['unshare', '--pid', '--fork', '--kill-child', '--'];
    const program = await serveSource(CJS, { around });
    const client = await Client.connect(program.port);
    await client.request();
    const [pid] = descendantsOf(program.started.pid);
    process.kill(pid ?? 0, 'SIGTERM');
    await until('it has closed', () => listeners(program.port).length === 0);
    expect((await client.request()).headers.connection).toBe('close');
    client.close();
    expect(await program.started.end()).toEqual({ code: 143, signal: null });
  },
);

test('a server at a unix socket leaves', async () => {
  const path = join(temporaryFolder(), 'socket');
  const program = await serveSource(CJS.replace("process.env.PORT, '127.0.0.1'", `'${path}'`));
  const client = await Client.connect(path);
  await client.request();
  program.started.kill('SIGTERM');
  await until('it has closed', () => !existsSync(path));
  expect((await client.request()).headers.connection).toBe('close');
  client.close();
  expect(await program.started.end()).toEqual({ code: null, signal: 'SIGTERM' });
});

test('a second signal changes nothing', async () => {
  const program = await serveSource(CJS);
  const client = await Client.connect(program.port);
  await askToLeave(program);
  program.started.kill('SIGTERM');
  expect((await client.request()).body).toBe('served');
  client.close();
  expect(await program.started.end()).toEqual({ code: null, signal: 'SIGTERM' });
});

test('variables that say nothing are told, and the defaults count', async () => {
  const env = {
    HOLDFAST_GRACEFUL_SIGNAL: 'SIGKILL',
    HOLDFAST_GRACEFUL_QUIET_MS: '1s',
    HOLDFAST_GRACEFUL_TIMEOUT_MS: '9999999999',
  };
  const program = await serveSource(CJS, { env });
  program.started.kill('SIGTERM');
  expect(await program.started.end()).toEqual({ code: null, signal: 'SIGTERM' });
  expect(program.started.stderr).toMatch(
    /SIGNAL .* not SIGKILL.*QUIET_MS .* not 1s.*TIMEOUT_MS .* not 9999/s,
  );
});

test('a program whose files have been replaced meanwhile leaves as before', async () => {
  const folder = temporaryFolder();
  const copied = await run(['cp', '-r', join(project, 'dist'), folder]);
  expect(copied.code).toBe(0);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  const program = await serveSource(CJS, { preload: ['--import', join(folder, 'dist/graceful.js')] });
  rmSync(folder, { recursive: true });
  const client = await Client.connect(program.port);
  await askToLeave(program);
  expect((await client.request()).headers.connection).toBe('close');
  client.close();
  expect(await program.started.end()).toEqual({ code: null, signal: 'SIGTERM' });
});

test('on another system it does nothing', async () => {
  const elsewhere = `data:text/javascript,Object.defineProperty(process, 'platform', { value: 'darwin' })`;
  const program = await serveSource(CJS, { preload: ['--import', elsewhere, ...PRELOAD] });
  const client = await Client.connect(program.port);
  await client.request();
  program.started.kill('SIGTERM');
  expect(await program.started.end()).toEqual({ code: null, signal: 'SIGTERM' });
  expect((await client.ended).kind).toBe('end');
});

test('a server in a thread ends with the program, at once', async () => {
  const source = `
    const { Worker } = require('node:worker_threads');
    new Worker(${JSON.stringify(CJS)}, { eval: true });`;
  const program = await serveSource(source);
  const idle = await Client.connect(program.port);
  program.started.kill('SIGTERM');
  expect(await program.started.end()).toEqual({ code: null, signal: 'SIGTERM' });
  idle.close();
});

for (const policy of ['rr', 'none']) {
  test(`a worker of cluster leaves, and is not missed (${policy})`, async () => {
    const program = await serveSource(
      `
      const cluster = require('node:cluster');
      if (cluster.isPrimary) {
        for (let i = 0; i < 2; i++) cluster.fork();
        cluster.on('exit', (worker, code, signal) => console.log('worker ended', code, signal));
        let workers = 0;
        cluster.on('listening', () => { if (++workers === 2) console.log('listens'); });
        process.on('SIGUSR2', () => cluster.workers[1].process.kill('SIGTERM'));
      } else {
        require('node:http').createServer((_, response) => response.end('by ' + cluster.worker.id))
          .listen(process.env.PORT, '127.0.0.1');
      }`,
      { env: { NODE_CLUSTER_SCHED_POLICY: policy, HOLDFAST_GRACEFUL_QUIET_MS: '4000' } },
    );
    const clients: Client[] = [];
    // Until each of the two has one.
    await until('both answer', async () => {
      const client = await Client.connect(program.port);
      clients.push(client);
      await client.request();
      const by = await Promise.all(clients.map(async (known) => (await known.request()).body));
      return new Set(by).size === 2;
    });
    program.started.kill('SIGUSR2');
    await until('the first one leaves', async () => {
      const answers = await Promise.all(
        clients.filter(({ isEnded }) => !isEnded).map((client) => client.request()),
      );
      return answers.some(({ headers, body }) => headers.connection === 'close' && body === 'by 1');
    });
    for (const client of clients) client.close();
    await program.started.line(/^worker ended null SIGTERM$/);
    const client = await Client.connect(program.port);
    expect((await client.request()).body).toBe('by 2');
    client.close();
  });
}
