import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { pidOf } from '../support/http.js';
import { holdfast, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { isAlive, listeningInode } from '../support/proc.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { nodeHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';

const receiver = fileURLToPath(new URL('../servers/notify-receiver.py', import.meta.url));

testNeeding('python3')(
  'the service manager hears READY and STOPPING and keeps the held sockets',
  async () => {
    const path = join(temporaryFolder(), 'notify');
    const manager = start([binaryOf('python3'), receiver, path], { stdio: ['pipe', 'pipe', 'pipe'] });
    await manager.line(/^receiving$/);
    const port = await freePort();
    const keeper = startKeeper(nodeHttp.command(port), { env: { NOTIFY_SOCKET: path } });
    await keeper.holding();
    await manager.line(/^READY=1 fds 0/);
    await manager.line(
      new RegExp(`^FDSTORE=1\\|FDNAME=holdfast-${listeningInode(port)}\\|FDPOLL=0 fds 1 stored 1$`),
    );
    keeper.process.kill('SIGTERM');
    await keeper.process.end();
    await manager.line(/^STOPPING=1/);
    await manager.line(/^FDSTOREREMOVE=1\|FDNAME=holdfast-\d+ fds 0 stored 0$/);
  },
);

testNeeding('python3')('a keeper that was killed gets its sockets back from the fd store', async () => {
  const path = join(temporaryFolder(), 'notify');
  const manager = start([binaryOf('python3'), receiver, path], { stdio: ['pipe', 'pipe', 'pipe'] });
  await manager.line(/^receiving$/);
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port), { env: { NOTIFY_SOCKET: path } });
  await first.holding();
  await manager.line(/stored 1$/);
  const inode = listeningInode(port);
  const worker = first.worker();
  first.process.kill('SIGKILL');
  await first.process.end();
  // As systemd does with KillMode=control-group.
  process.kill(worker, 'SIGKILL');
  await until('the end of the worker', () => !isAlive(worker));
  const waiting = pidOf(port, { timeoutMs: 20_000 });
  const environment = [`NOTIFY_SOCKET=${path}`, `HOLDFAST_STATE_DIR=${first.env.HOLDFAST_STATE_DIR}`];
  const command = [
    'env',
    ...environment,
    ...holdfast,
    'run',
    '--name',
    'app',
    '--',
    ...nodeHttp.command(port),
  ];
  manager.child.stdin?.write(`start ${command.join(' ')}\n`);
  expect(await waiting).not.toBe(worker);
  expect(listeningInode(port)).toBe(inode);
});
