import { statSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Recovery } from '../../src/keeper/recovery.js';
import { bodyOf } from '../support/http.js';
import { asNobody, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { holdersOf, listeners, listeningInode } from '../support/proc.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { nodeHttp } from '../support/servers.js';
import { until } from '../support/wait.js';

const CLIENTS = 60;

testNeeding(['root', 'python3'])(
  'another user can reach, read, copy and join nothing of a keeper',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(nodeHttp.command(port), { flags: ['--standby'] });
    await keeper.holding();
    const folder = keeper.env.HOLDFAST_STATE_DIR;
    // A new one for each change: that of the sockets is the last.
    const inode = listeningInode(port) ?? 0;
    const holder = await until('a holder of the sockets', () => {
      const { recovery } = keeper.state() as unknown as { readonly recovery: Recovery };
      return holdersOf(inode).find((pid) => pid === recovery.holder?.pid);
    });
    for (const file of ['app.json', 'app.lock', 'app.sock']) {
      expect([file, statSync(join(folder, file)).mode & 0o077]).toEqual([file, 0]);
    }
    const script = `
import ctypes, errno, os, socket, sys
folder, port, *pids = sys.argv[1], int(sys.argv[2]), *map(int, sys.argv[3:])
libc = ctypes.CDLL(None, use_errno=True)
def name(work):
    try:
        work()
        return 'done'
    except OSError as error:
        return errno.errorcode[error.errno]
def copy(pid, fd):
    if libc.syscall(438, os.pidfd_open(pid), fd, 0) < 0:
        raise OSError(ctypes.get_errno(), '')
def join():
    one = socket.socket(socket.AF_INET6)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind(('::', port))
print('connect', name(lambda: socket.socket(socket.AF_UNIX).connect(folder + '/app.sock')))
print('read', name(lambda: open(folder + '/app.json')))
print('write', name(lambda: open(folder + '/app.json', 'a')))
for pid in pids:
    print('copy', [name(lambda: copy(pid, fd)) for fd in range(3, 8)])
    print('signal', name(lambda: os.kill(pid, 9)))
print('join', name(join))
`;
    const { pid = 0 } = keeper.process;
    const asked = start(
      asNobody([binaryOf('python3'), '-c', script, folder, `${port}`, `${pid}`, `${holder}`]),
    );
    await asked.end();
    const refused = `copy ['EPERM', 'EPERM', 'EPERM', 'EPERM', 'EPERM']\nsignal EPERM\n`;
    expect(asked.stdout + asked.stderr).toBe(
      `connect EACCES\nread EACCES\nwrite EACCES\n${refused}${refused}join EADDRINUSE\n`,
    );
  },
);

testNeeding('python3')("a foreign member of the same user's group gets no connection", async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port));
  await keeper.holding();
  const foreign = start([
    binaryOf('python3'),
    '-c',
    `
import socket
one = socket.socket(socket.AF_INET6)
one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
one.bind(('::', ${port})); one.listen(100); print('listens', flush=True)
one.accept(); print('got a client', flush=True)
`,
  ]);
  await foreign.line(/listens/);
  expect(listeners(port)).toHaveLength(2);
  for (let client = 0; client < CLIENTS; client++)
    expect(await bodyOf(port)).toContain(`pid ${keeper.worker()}`);
  expect(foreign.lines(/got a client/)).toEqual([]);
});
