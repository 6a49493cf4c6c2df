import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect } from 'vitest';
import { bodyOf } from '../support/http.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { listeners, listeningInode, openFiles } from '../support/proc.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { nodeHttp, pythonHttp, staticHttp, trap } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { freeze, outcomeOf, queueClients } from './clients.js';
import { sh } from './inline.js';
import { ANSWER, BINDS_TWICE, changingCommand, IMPORTS, listenersPy, python } from './programs.js';
import { listenerFds } from './sockets.js';

const SOMAXCONN = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'));

testNeeding('cc')('trap 1.1: a program that the server starts never inherits the listener', async () => {
  const port = await freePort();
  const keeper = startKeeper(trap('exec-after-bind').command(port));
  await keeper.holding();
  for (let starts = 0; starts < 3; starts++) {
    if (starts > 0) await keeper.crash();
    const [, sleeper] = await keeper.process.line(/^sleep pid (\d+)$/, { after: starts });
    expect(openFiles(Number(sleeper)).filter((file) => file.fd > 2 && file.inode !== undefined)).toEqual([]);
  }
});

for (const server of [nodeHttp, pythonHttp, staticHttp]) {
  testNeeding(server.needs)(
    `trap 1.1: the listening fd of ${server.name} has the flags of a bare run, at every start`,
    async () => {
      const [port, barePort] = [await freePort(), await freePort()];
      const bare = start(server.command(barePort));
      await bare.listening(barePort);
      const keeper = startKeeper(server.command(port));
      await keeper.holding();
      expect(listenerFds(keeper.worker(), port)).toEqual(listenerFds(bare.pid, barePort));
      await servedAfterCrash(keeper, port);
      expect(listenerFds(keeper.worker(), port)).toEqual(listenerFds(bare.pid, barePort));
    },
  );
}

testNeeding('python3')('trap 1.1: a listener that is meant to be inherited stays so', async () => {
  const port = await freePort();
  const keeper = startKeeper(listenersPy(`127.0.0.1:${port},inheritable`));
  await keeper.holding();
  await servedAfterCrash(keeper, port);
  expect(listenerFds(keeper.worker(), port)).toEqual([{ closeOnExec: false, nonBlocking: false }]);
});

testNeeding(['python3', 'ss'])(
  'trap 1.2: a server that listens with 5 does not shrink the queue',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(pythonHttp.command(port));
    await keeper.holding();
    expect(longestQueue(port)).toBe(SOMAXCONN);
    await keeper.crash();
    await keeper.process.line(/is served again/);
    expect(longestQueue(port)).toBe(SOMAXCONN);
    await freeze(keeper.worker());
    const answers = await queueClients(port, 30);
    process.kill(keeper.worker(), 'SIGCONT');
    expect(await answers.outcomes).toEqual(Array(30).fill('answered'));
  },
);

testNeeding('python3')(
  'trap 1.2: 30 clients that come while such a server starts are all served',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(sh('sleep 1; exec "$@"', ...pythonHttp.command(port)));
    await keeper.holding();
    await freeze(keeper.worker());
    const answers = await queueClients(port, 30);
    await keeper.crash();
    expect(await answers.outcomes).toEqual(Array(30).fill('answered'));
  },
);

testNeeding('cc')(
  'trap 1.3: a blocking server works in the place of a non-blocking one, and back',
  async () => {
    const port = await freePort();
    const nonBlocking = nodeHttp.command(port, '--host', '127.0.0.1');
    const blocking = trap('blocking-accept').command(port);
    const server = changingCommand(nonBlocking);
    const keeper = startKeeper(server.command);
    const { sockets } = await keeper.holding();
    for (const [next, isNonBlocking] of [
      [blocking, false],
      [nonBlocking, true],
      [blocking, false],
    ] as const) {
      await freeze(keeper.worker());
      const waiting = await queueClients(port, 3);
      server.become(next);
      const pid = await keeper.crash();
      expect(await waiting.outcomes).toEqual([pid, pid, pid]);
      expect(await outcomeOf(port)).toBe(pid);
      expect(listenerFds(pid, port)).toEqual([{ closeOnExec: true, nonBlocking: isNonBlocking }]);
      expect(listeningInode(port)).toBe(sockets[0]?.inode);
    }
    expect(keeper.state().starts).toBe(4);
  },
);

testNeeding('cc')(
  'trap 1.4: a server that watches its socket before bind is served by epoll at every start',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(trap('epoll-before-bind').command(port));
    await keeper.holding();
    expect(await outcomeOf(port)).toBe(keeper.worker());
    for (let crashes = 0; crashes < 2; crashes++) {
      await freeze(keeper.worker());
      const waiting = await queueClients(port, 3);
      const pid = await keeper.crash();
      for (const outcome of await waiting.outcomes) {
        if (outcome === pid) continue;
        expect(outcome).toBe('ECONNRESET');
        expect(keeper.process.lines(/epoll.*reset/)).toHaveLength(crashes + 1);
      }
      expect(await outcomeOf(port)).toBe(pid);
      expect(listeners(port)).toHaveLength(1);
    }
  },
);

testNeeding('cc')(
  'trap 1.5: a server that listens on a copy of the fd it binds gets its port at every start',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(trap('dup-before-bind').command(port));
    const { sockets } = await keeper.holding();
    for (let starts = 1; starts <= 3; starts++) {
      const pid = starts === 1 ? keeper.worker() : await keeper.crash();
      const [, listening] = await keeper.process.line(/^listening on (\d+)/, { after: starts - 1 });
      expect(Number(listening)).toBe(port);
      expect(await outcomeOf(port)).toBe(pid);
      expect(listenerFds(pid, port)).toEqual([
        { closeOnExec: true, nonBlocking: false },
        { closeOnExec: true, nonBlocking: false },
      ]);
      expect(listeningInode(port)).toBe(sockets[0]?.inode);
    }
  },
);

testNeeding('python3')('trap 1.5: each copy of the fd keeps its own close-on-exec flag', async () => {
  const port = await freePort();
  const keeper = startKeeper(python(COPY_THAT_IS_INHERITED, port));
  await keeper.holding();
  const first = listenerFds(keeper.worker(), port);
  await keeper.crash();
  await keeper.process.line(/is served again/);
  expect(listenerFds(keeper.worker(), port)).toEqual(first);
  expect(first.map((fd) => fd.closeOnExec)).toEqual([true, false]);
});

testNeeding('python3')(
  'trap 1.5: a child that shares the socket its parent binds serves at every start',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(python(CHILD_SHARES_SOCKET, port));
    await keeper.holding();
    for (let starts = 1; starts <= 3; starts++) {
      if (starts > 1) await keeper.crash();
      const [, child] = await keeper.process.line(/^child (\d+)$/, { after: starts - 1 });
      expect(await outcomeOf(port)).toBe(Number(child));
      expect(listeners(port)).toHaveLength(1);
    }
  },
);

testNeeding('cc')(
  'trap 1.6: options that a server sets before bind are in force after a restart',
  async () => {
    const port = await freePort();
    const server = changingCommand(trap('options').command(port));
    const keeper = startKeeper(server.command);
    const { sockets } = await keeper.holding();
    for (const settings of [CHANGED_OPTIONS, [], OTHER_OPTIONS, CHANGED_OPTIONS]) {
      server.become(trap('options').command(port, ...settings));
      await keeper.crash();
      const barePort = await freePort(); // a new one: the probe's connections leave TIME_WAIT
      const bare = start(trap('options').command(barePort, ...settings));
      await bare.listening(barePort);
      expect(await optionsOf(port), settings.join(' ')).toEqual(await optionsOf(barePort));
      expect(listeningInode(port)).toBe(sockets[0]?.inode);
      await bare.stop();
    }
  },
);

testNeeding(['python3', 'root'])(
  'trap 1.6: an option that only the server could set is in force or is said',
  async () => {
    const port = await freePort();
    const beyondTheMaximum = 2 * Number(readFileSync('/proc/sys/net/core/rmem_max', 'utf8'));
    const server = changingCommand(python(FORCED_BUFFER, port, 0));
    const keeper = startKeeper(server.command);
    await keeper.holding();
    server.become(python(FORCED_BUFFER, port, beyondTheMaximum));
    await keeper.crash();
    const [, size] = await keeper.process.line(/^SO_RCVBUF (\d+)/, { after: 1 });
    const said = keeper.process.lines(/keeps its former .*SO_RCVBUF/).length > 0;
    expect(Number(size) === 2 * beyondTheMaximum || said, `${size}\n${keeper.process.stderr}`).toBe(true);
  },
);

testNeeding('python3')(
  'trap 1.7: a second bind of one socket is EINVAL, as bare, at every start',
  async () => {
    const port = await freePort();
    const bare = start(python(BINDS_TWICE, port));
    const expected = (await bare.line(/^second binds: (.*)$/))[1];
    expect(expected).toBe('EINVAL EINVAL');
    await bare.stop();
    const keeper = startKeeper(python(BINDS_TWICE, port));
    await keeper.holding();
    for (let starts = 1; starts <= 2; starts++) {
      if (starts > 1) await keeper.crash();
      expect((await keeper.process.line(/^second binds: (.*)$/, { after: starts - 1 }))[1]).toBe(expected);
      expect(await outcomeOf(port)).toBe(keeper.worker());
    }
  },
);

testNeeding('python3')(
  'trap 1.8: listening on a unix socket passes and does not count as the port',
  async () => {
    const port = await freePort();
    const path = join(temporaryFolder(), 'server.sock');
    const keeper = startKeeper(python(UNIX_THEN_PORT, path, port), { stdio: ['pipe', 'pipe', 'pipe'] });
    for (let starts = 1; starts <= 2; starts++) {
      if (starts > 1) await keeper.crash();
      await keeper.process.line(/^listens on the unix socket/, { after: starts - 1 });
      const before = await keeper.untilState('this start', (state) => state.starts === starts);
      expect(before.phase).toBe('starting');
      keeper.process.child.stdin?.write('go on\n');
      await keeper.untilState('it serves', (state) => state.phase === 'serving');
      expect(await outcomeOf(port)).toBe(keeper.worker());
      expect(keeper.state().sockets.map((socket) => socket.address)).toEqual([`127.0.0.1:${port}`]);
    }
  },
);

testNeeding('python3')('trap 1.8: one process may bind what another one listens on', async () => {
  const port = await freePort();
  const keeper = startKeeper(python(PARENT_BINDS_CHILD_LISTENS, port));
  const { sockets } = await keeper.holding();
  for (let starts = 1; starts <= 3; starts++) {
    if (starts > 1) await keeper.crash();
    const [, child] = await keeper.process.line(/^child (\d+)$/, { after: starts - 1 });
    expect(await outcomeOf(port)).toBe(Number(child));
    expect(listeningInode(port)).toBe(sockets[0]?.inode);
  }
});

testNeeding('python3')(
  'trap 1.10: a server may change between dual stack and IPv6 only beside IPv4',
  async () => {
    const port = await freePort();
    const dual = listenersPy(`[::]:${port},dual`);
    const split = listenersPy(`[::]:${port},v6only`, `0.0.0.0:${port}`);
    const server = changingCommand(dual);
    const keeper = startKeeper(server.command);
    await keeper.holding();
    for (const next of [split, split, dual, dual, split]) {
      const stays = next === server.current();
      const inodes = listeners(port).map((socket) => socket.inode);
      server.become(next);
      const pid = await keeper.crash();
      await keeper.process.line(/^ready pid/, { after: keeper.state().starts - 1 });
      const expected = next === dual ? 1 : 2;
      await until('only its own sockets', () => listeners(port).length === expected);
      if (stays) expect(listeners(port).map((socket) => socket.inode)).toEqual(inodes);
      expect(await outcomeOf(port, { host: '127.0.0.1' })).toBe(pid);
      expect(await outcomeOf(port, { host: '::1' })).toBe(pid);
    }
  },
);

testNeeding('python3')('trap 1.10: IPv6 only after dual stack leaves IPv4 to others', async () => {
  const port = await freePort();
  const server = changingCommand(listenersPy(`[::]:${port},dual`));
  const keeper = startKeeper(server.command);
  await keeper.holding();
  server.become(listenersPy(`[::]:${port},v6only`));
  const pid = await keeper.crash();
  await keeper.process.line(/^ready pid/, { after: 1 });
  await until('only its own socket', () => listeners(port).length === 1);
  expect(await outcomeOf(port, { host: '::1' })).toBe(pid);
  await until('IPv4 is refused', async () => (await outcomeOf(port)) === 'ECONNREFUSED');
  const other = createServer();
  await new Promise<void>((resolve, reject) =>
    other.once('error', reject).listen(port, '127.0.0.1', resolve),
  );
  other.close();
});

async function servedAfterCrash(keeper: RunningKeeper, port: number): Promise<void> {
  await keeper.crash();
  await bodyOf(port);
}

/** What `ss` calls Send-Q of a listener: how many may wait. */
function longestQueue(port: number): number {
  const { stdout } = spawnSync(binaryOf('ss'), ['-ltnH', `sport = :${port}`], { encoding: 'utf8' });
  return Number(stdout.trim().split(/\s+/)[2]);
}

/** Without those that the keeper is free to set. */
async function optionsOf(port: number): Promise<readonly string[]> {
  const body = await bodyOf(port);
  return body.split('\n').filter((line) => /^(listener|accepted) /.test(line) && !/SO_REUSE/.test(line));
}

const CHANGED_OPTIONS = [
  ...[
    'SO_RCVBUF=16384',
    'SO_SNDBUF=20000',
    'SO_RCVLOWAT=3',
    'SO_KEEPALIVE=1',
    'TCP_KEEPIDLE=30',
    'TCP_KEEPINTVL=7',
  ],
  ...[
    'TCP_KEEPCNT=3',
    'TCP_NODELAY=1',
    'TCP_DEFER_ACCEPT=5',
    'TCP_FASTOPEN=16',
    'TCP_USER_TIMEOUT=9000',
    'TCP_MAXSEG=1000',
  ],
  'IP_TOS=16',
  'SO_PRIORITY=5',
];

const OTHER_OPTIONS = ['SO_RCVBUF=65536', 'TCP_KEEPIDLE=31', 'IP_TOS=8', 'TCP_MAXSEG=1200'];

const FORCED_BUFFER = `${IMPORTS}
SO_RCVBUFFORCE = 33
s = socket.socket()
size = int(sys.argv[2])
if size: s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
s.bind(('127.0.0.1', int(sys.argv[1])))
s.listen()
print('SO_RCVBUF', s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), flush=True)
${ANSWER}
serve(s)
`;

const COPY_THAT_IS_INHERITED = `${IMPORTS}
s = socket.socket()
copy = os.dup(s.fileno())
os.set_inheritable(copy, True)
s.bind(('127.0.0.1', int(sys.argv[1])))
s.listen(5)
${ANSWER}
serve(s)
`;

const CHILD_SHARES_SOCKET = `${IMPORTS}
s = socket.socket()
bound, tell = os.pipe()
child = os.fork()
${ANSWER}
if child == 0:
    os.read(bound, 1)
    s.listen(5)
    print('child', os.getpid(), flush=True)
    serve(s)
s.bind(('127.0.0.1', int(sys.argv[1])))
os.write(tell, b'.')
os.wait()
`;

const PARENT_BINDS_CHILD_LISTENS = `${IMPORTS}
s = socket.socket()
s.bind(('127.0.0.1', int(sys.argv[1])))
child = os.fork()
${ANSWER}
if child == 0:
    s.listen(5)
    serve(s)
print('child', child, flush=True)
os.wait()
`;

const UNIX_THEN_PORT = `${IMPORTS}
path, port = sys.argv[1:]
if os.path.exists(path): os.unlink(path)
u = socket.socket(socket.AF_UNIX)
u.bind(path)
u.listen(5)
print('listens on the unix socket', flush=True)
os.read(0, 100)
s = socket.socket()
s.bind(('127.0.0.1', int(port)))
s.listen(5)
${ANSWER}
serve(s)
`;
