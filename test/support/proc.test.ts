import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import {
  descendantsOf,
  fdInfo,
  holdersOf,
  listeners,
  listeningInode,
  openFiles,
  untilListening,
} from './proc.js';
import { start } from './process.js';
import { until } from './wait.js';

test('a listening socket is found by its port, with its address', async () => {
  for (const [host, shown] of [
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '::1'],
    ['::', '::'],
  ] as const) {
    const port = await listen(createServer(), host);
    expect(await untilListening(port)).toMatchObject([
      { host: shown, port, state: 'LISTEN', receiveQueue: 0 },
    ]);
  }
});

test('the inode leads to the process and its fd, and the fd to its flags', async () => {
  const port = await listen(createServer(), '127.0.0.1');
  const inode = listeningInode(port);
  expect(inode).toBeGreaterThan(0);
  expect(holdersOf(inode ?? 0)).toEqual([process.pid]);
  const file = openFiles(process.pid).find((open) => open.inode === inode);
  expect(file?.target).toBe(`socket:[${inode}]`);
  expect(fdInfo(process.pid, file?.fd ?? -1)).toMatchObject({ closeOnExec: true, nonBlocking: true });
});

test('nobody listens on a port that was closed', async () => {
  const server = createServer();
  const port = await listen(server, '127.0.0.1');
  server.close();
  expect(listeners(port)).toEqual([]);
  expect(listeningInode(port)).toBeUndefined();
});

test('a queued connection is counted', async () => {
  const silent = start([process.execPath, '-e', neverAccepts]);
  const port = Number((await silent.line(/^port (\d+)$/))[1]);
  const client = connect(port, '127.0.0.1');
  onTestFinished(() => void client.destroy());
  await once(client, 'connect');
  await until('the connection waits', () => listeners(port)[0]?.receiveQueue === 1);
});

test('descendants are found at every depth', async () => {
  const shell = start(['sh', '-c', 'sh -c "sleep 600 & wait" & echo started; wait']);
  await shell.line(/^started$/);
  expect(await until('both are there', () => descendantsOf(shell.pid).length === 2)).toBe(true);
});

const neverAccepts = `
  const server = require('net').createServer().listen(0, '127.0.0.1', () => {
    require('fs').writeSync(1, 'port ' + server.address().port + '\\n');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  })`;

async function listen(server: Server, host: string): Promise<number> {
  server.listen(0, host);
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
