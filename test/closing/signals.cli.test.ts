import { expect, test } from 'vitest';
import { Client } from './client.js';
import { askToLeave, type Program, serveSource } from './program.js';

const LIBRARY = new URL('../../dist/index.js', import.meta.url).href;

const serve = (options: string, more = ''): Promise<Program> =>
  serveSource(
    `import { createServer } from 'node:http';
     import { installSignalHandlers } from '${LIBRARY}';
     const server = createServer((request, response) => {
       if (request.url === '/never') console.log('never');
       else response.end('served');
     });
     const uninstall = installSignalHandlers(server, { idleMs: 60_000, timeoutMs: 100_000, ${options} });
     ${more}
     server.listen(process.env.PORT, '127.0.0.1', () => console.log('listens'));`,
    { extension: '.mjs', preload: [] },
  );

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} closes the server, and then the program ends by it`, async () => {
    const program = await serve(`onClosed: ([result], signal) => console.log(signal, result.peerFirst)`);
    const client = await Client.connect(program.port);
    await client.request();
    await askToLeave(program, signal);
    expect((await client.request()).headers.connection).toBe('close');
    client.close();
    expect(await program.started.end()).toEqual({ code: null, signal });
    expect(program.started.stdout).toContain(`${signal} 1\n`);
  });
}

test('with exitCode the program exits with it, once onClosed has resolved', async () => {
  const program = await serve(`exitCode: 3, onClosed: async () => { await null; console.log('closed'); }`);
  program.started.kill('SIGTERM');
  expect(await program.started.end()).toEqual({ code: 3, signal: null });
  expect(program.started.stdout).toContain('closed\n');
});

test('a second signal ends the program at once', async () => {
  const program = await serve('');
  const client = await Client.connect(program.port);
  client.send({ path: '/never' });
  await program.started.line(/^never$/);
  await askToLeave(program);
  program.started.kill('SIGINT');
  expect(await program.started.end()).toEqual({ code: null, signal: 'SIGINT' });
  client.close();
});

test('another handler of the program does not keep it', async () => {
  const program = await serve('', `process.on('SIGTERM', () => console.log('too'));`);
  program.started.kill('SIGTERM');
  expect(await program.started.end()).toEqual({ code: 143, signal: null });
  expect(program.started.stdout).toContain('too\n');
});

test('handlers that are taken away again handle nothing', async () => {
  const program = await serve('', 'uninstall();');
  const client = await Client.connect(program.port);
  await client.request();
  program.started.kill('SIGTERM');
  expect(await program.started.end()).toEqual({ code: null, signal: 'SIGTERM' });
  client.close();
});

test('a thread closes its server, and has no signals', async () => {
  const program = await serveSource(
    `import { isMainThread, parentPort, Worker } from 'node:worker_threads';
     import { createServer } from 'node:http';
     import { closeGracefully, installSignalHandlers } from '${LIBRARY}';
     if (isMainThread) {
       const worker = new Worker(new URL(import.meta.url));
       worker.on('message', (text) => console.log(text));
       process.on('SIGTERM', () => worker.postMessage('close'));
     } else {
       const server = createServer((_, response) => response.end('served'));
       try { installSignalHandlers(server); } catch (error) { console.log(error.code); }
       server.listen(process.env.PORT, '127.0.0.1', () => parentPort.postMessage('listens'));
       parentPort.once('message', async () => {
         const { peerFirst } = await closeGracefully(server, { idleMs: 60_000 });
         parentPort.postMessage('peerFirst ' + peerFirst);
       });
     }`,
    { extension: '.mjs', preload: [] },
  );
  const client = await Client.connect(program.port);
  await client.request();
  await askToLeave(program);
  expect((await client.request()).headers.connection).toBe('close');
  client.close();
  expect(await program.started.line(/^peerFirst 1$/)).toBeDefined();
  await program.started.line(/^ERR_HOLDFAST_OPTION$/);
});
