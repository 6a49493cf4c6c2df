import { createServer } from 'node:net';
import { expect } from 'vitest';
import { bodyOf } from '../support/http.js';
import { asNobody, type KeeperOptions, ordinaryUser, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { inFreshNetns } from '../support/netns.js';
import { freePort, freePorts } from '../support/ports.js';
import { isAlive, listeners, listeningInode } from '../support/proc.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { nodeHttp, pythonHttp, staticHttp, type TestServer, trap, trapPath } from '../support/servers.js';
import { until, within } from '../support/wait.js';
import { freeze, outcomeOf, queueClients } from './clients.js';
import { BINDS_TWICE, IMPORTS, listenersPy, python } from './programs.js';
import { listenerFds } from './sockets.js';

/** As in a container whose profile refuses pidfd_getfd. */
const noCopies: KeeperOptions = { around: (keeper) => [trapPath('deny'), 'pidfd_getfd', ...keeper] };

const v6only: TestServer = {
  name: 'an IPv6 only server',
  needs: ['python3'],
  command: (port) => listenersPy(`[::]:${port},v6only`),
};

for (const { name, needs, command } of [nodeHttp, v6only, pythonHttp, staticHttp]) {
  testNeeding([...needs, 'cc'])(`where fds cannot be copied, ${name} is held through crashes`, async () => {
    const [port, barePort] = (await freePorts(2)) as [number, number];
    const bare = start(command(barePort));
    const [bareSocket] = await bare.listening(barePort);
    const keeper = startKeeper(command(port), noCopies);
    const { sockets } = await keeper.holding();
    const host = name === v6only.name ? '::1' : '127.0.0.1';
    expect(listeners(port)[0]?.host).toBe(bareSocket?.host);
    for (let crashes = 0; crashes < 2; crashes++) {
      expect(listenerFds(keeper.worker(), port)).toEqual(listenerFds(bare.pid, barePort));
      await freeze(keeper.worker());
      const waiting = await queueClients(port, 5, { host });
      const pid = await keeper.crash();
      const served = name === 'python' ? 'answered' : pid;
      expect(await waiting.outcomes).toEqual(Array(5).fill(served));
      expect(listeningInode(port)).toBe(sockets[0]?.inode);
    }
    if (name === v6only.name) expect(await outcomeOf(port)).toBe('ECONNREFUSED');
    if (name === 'node') expect(await outcomeOf(port, { host: '::1' })).toBe(keeper.worker());
  });
}

testNeeding('cc')('where fds cannot be copied, an ordinary user has a server held too', async () => {
  const port = await freePort();
  const keeper = startKeeper(staticHttp.command(port), { ...noCopies, ...ordinaryUser });
  const { sockets } = await keeper.holding();
  const pid = await keeper.crash();
  expect(await outcomeOf(port)).toBe(pid);
  expect(listeningInode(port)).toBe(sockets[0]?.inode);
});

testNeeding('cc')(
  'where fds cannot be copied, an outgoing connection from a bound port ends as bare',
  async () => {
    const [port, from] = (await freePorts(2)) as [number, number];
    const ended = new Promise<void>((resolve) => {
      const peer = createServer((socket) =>
        socket
          .on('error', () => undefined)
          .once('end', resolve)
          .resume(),
      );
      peer.listen(port, '127.0.0.1').unref();
    });
    const keeper = startKeeper([...trap('connect-from-port').command(from), `${port}`], {
      ...noCopies,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    await keeper.process.line(/^closed$/);
    await within('the end of the connection', ended, 1_000);
    const [, pid] = await keeper.process.line(/started, pid (\d+)/);
    expect(isAlive(Number(pid))).toBe(true);
  },
);

testNeeding(['cc', 'root', 'netns', 'setpriv'])(
  'where fds cannot be copied, a low port is refused as bare',
  async () => {
    const around = (keeper: readonly string[]): readonly string[] =>
      inFreshNetns(asNobody([trapPath('deny'), 'pidfd_getfd', ...keeper]));
    const keeper = startKeeper(staticHttp.command(81), { around, stateOwner: 65534 });
    expect(await keeper.process.end()).toEqual({ code: 1, signal: null });
    expect(keeper.process.stderr).toMatch(/Permission denied/);
    expect(keeper.process.stderr).toMatch(/holdfast: .*may not bind .*:81: run the keeper as root/);
  },
);

testNeeding(['cc', 'root', 'netns', 'setpriv'])(
  'where fds cannot be copied, a low port is given to a server that may have it',
  async () => {
    const around = (keeper: readonly string[]): readonly string[] =>
      inFreshNetns([trapPath('deny'), 'pidfd_getfd', ...keeper]);
    const keeper = startKeeper(staticHttp.command(81), { around });
    await keeper.holding();
    const inode = listeningInode(81, keeper.process.pid);
    await keeper.crash();
    await keeper.process.line(/is served again/);
    expect(listeningInode(81, keeper.process.pid)).toBe(inode);
  },
);

testNeeding(['cc', 'root', 'netns', 'unshare'])(
  'where fds cannot be copied, a user who is root in a user namespace of its own gets no low port',
  async () => {
    const server = [binaryOf('unshare'), '--user', '--map-root-user', ...staticHttp.command(81)];
    const bare = start(inFreshNetns(asNobody(server)));
    expect((await bare.end()).code).toBe(1);
    expect(bare.stderr).toMatch(/Permission denied/);
    const keeper = startKeeper(server, {
      around: (command) => inFreshNetns([trapPath('deny'), 'pidfd_getfd', ...command]),
      flags: ['--user', 'nobody'],
    });
    expect(await keeper.process.end()).toEqual({ code: 1, signal: null });
    expect(keeper.process.stderr).toMatch(/Permission denied/);
  },
);

testNeeding(['cc', 'python3'])(
  'where fds cannot be copied, a second bind of one socket is EINVAL',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(python(BINDS_TWICE, port), noCopies);
    await keeper.holding();
    for (let starts = 1; starts <= 2; starts++) {
      if (starts > 1) await keeper.crash();
      expect((await keeper.process.line(/^second binds: (.*)$/, { after: starts - 1 }))[1]).toBe(
        'EINVAL EINVAL',
      );
    }
  },
);

testNeeding('cc')(
  'where fds cannot be copied, epoll-before-bind serves as bare and is said not to be kept',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(trap('epoll-before-bind').command(port), noCopies);
    await keeper.process.line(/is not kept: it is watched with epoll/);
    await keeper.process.line(/^listening on/);
    expect(await outcomeOf(port)).toEqual(expect.any(Number));
  },
);

for (const name of ['dup-before-bind', 'blocking-accept'] as const) {
  testNeeding('cc')(`where fds cannot be copied, ${name} is served at every start`, async () => {
    const port = await freePort();
    const keeper = startKeeper(trap(name).command(port), noCopies);
    for (let starts = 1; starts <= 3; starts++) {
      if (starts > 1) await keeper.crash();
      await keeper.process.line(/^listening on/, { after: starts - 1 });
      const { worker } = await keeper.untilState(
        'this start',
        (state) => state.starts === starts && state.worker !== null,
      );
      expect(await outcomeOf(port)).toBe(worker?.pid);
    }
  });
}

testNeeding('cc')(
  'where fds cannot be copied, probes for a free port do not become held sockets',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(trap('port-prober').command(port), noCopies);
    await keeper.holding();
    for (let starts = 1; starts <= 3; starts++) {
      if (starts > 1) await keeper.crash();
      await keeper.process.line(/^listening on/, { after: starts - 1 });
      await until('only what is served', () => listeners(port).length === 1);
      expect(await outcomeOf(port, { host: '::1' })).toBe('ECONNREFUSED');
      expect(await outcomeOf(port)).toBe(keeper.worker());
    }
  },
);

testNeeding('cc')(
  'where fds cannot be copied, a server with SO_REUSEPORT sockets of its own starts',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(trap('reuseport-many').command(port, '3'), noCopies);
    await keeper.process.line(/^listening on/);
    const { worker } = await keeper.untilState('the first start', (state) => state.worker !== null);
    expect(await outcomeOf(port)).toBe(worker?.pid);
    const pid = await keeper.crash();
    await keeper.process.line(/^listening on/, { after: 1 });
    expect(await outcomeOf(port)).toBe(pid);
  },
);

testNeeding('cc')(
  'where fds cannot be copied, options set before bind are in force or said to be lost',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(
      trap('options').command(port, 'SO_RCVBUF=16384', 'TCP_DEFER_ACCEPT=5'),
      noCopies,
    );
    await keeper.holding();
    const body = await bodyOf(port);
    const inForce = /^listener SO_RCVBUF 32768$/m.test(body) && /^listener TCP_DEFER_ACCEPT 7$/m.test(body);
    expect(inForce || /option/.test(keeper.process.stderr), `${body}\n${keeper.process.stderr}`).toBe(true);
  },
);

testNeeding(['cc', 'python3', 'root'])(
  'where fds cannot be copied, a server that binds to a device is bound to it, or does not serve',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(python(BINDS_TO_DEVICE, port), noCopies);
    const [, device] = await keeper.process.line(/^device (.*)$/);
    expect(device).toBe('lo');
  },
);

const BINDS_TO_DEVICE: string = `${IMPORTS}
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lo')
s.bind(('127.0.0.1', int(sys.argv[1])))
s.listen(5)
print('device', s.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b'\\0').decode(), flush=True)
signal.pause()
`;
