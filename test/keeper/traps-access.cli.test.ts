import { chmodSync, chownSync, copyFileSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { bodyOf } from '../support/http.js';
import { asNobody, ordinaryUser, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { inFreshNetns } from '../support/netns.js';
import { freePort, freePorts } from '../support/ports.js';
import { descendantsOf, isAlive, listeners, listeningInode } from '../support/proc.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { nodeHttp, staticHttp, trap, trapPath } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until, within } from '../support/wait.js';
import { freeze, outcomeOf, queueClients } from './clients.js';
import { sh } from './inline.js';
import { ANSWER, IMPORTS, python } from './programs.js';
import { inodesOf, listenerFds } from './sockets.js';

const STARTS = Number(process.env.HOLDFAST_TEST_STARTS ?? 8);

testNeeding('cc')(
  "trap 3.8: an ordinary user's program that is not dumpable serves, and is said not to be kept",
  async () => {
    if (process.getuid?.() !== 0 && ordinaryUser.uid !== undefined) return;
    const port = await freePort();
    const keeper = startKeeper(trap('undumpable').command(port), ordinaryUser);
    await keeper.process.line(/^listening on/);
    await keeper.process.line(/is not kept: pid \d+ may not be looked into.*run holdfast as root/);
    const [, pid] = await keeper.process.line(/started, pid (\d+)/);
    expect(await outcomeOf(port)).toBe(Number(pid));
    keeper.process.kill();
    await keeper.process.end();
    expect(listeners(port)).toEqual([]);
  },
);

testNeeding(['cc', 'root'])('trap 3.8: as root a program that is not dumpable is kept', async () => {
  const port = await freePort();
  const keeper = startKeeper(trap('undumpable').command(port));
  const { sockets } = await keeper.holding();
  const pid = await keeper.crash();
  expect(await outcomeOf(port)).toBe(pid);
  expect(listeningInode(port)).toBe(sockets[0]?.inode);
});

testNeeding(['cc', 'root', 'setpriv'])(
  "trap 3.7: a set-user-ID program keeps its meaning under root's keeper",
  async () => {
    const program = setUserIdProgram();
    const bare = start(asNobody([program]));
    const [expected] = await bare.line(/^uid .*$/);
    expect(expected).toBe('uid 65534 euid 0 gid 65534 egid 65534 no_new_privs 0');
    const byCommand = startKeeper(asNobody([program]));
    expect((await byCommand.process.line(/^uid .*$/))[0]).toBe(expected);
    const byOption = startKeeper([program], { flags: ['--user', '65534'] });
    expect((await byOption.process.line(/^uid .*$/))[0]).toBe(expected);
  },
);

testNeeding(['cc', 'root'])(
  "trap 3.7: a set-user-ID program has no effect under an ordinary user's keeper",
  async () => {
    const keeper = startKeeper([setUserIdProgram()], ordinaryUser);
    const [said] = await keeper.process.line(/^uid .*$/);
    expect(said).toBe('uid 65534 euid 65534 gid 65534 egid 65534 no_new_privs 1');
  },
);

testNeeding(['cc', 'root', 'netns', 'setpriv', 'setcap'])(
  "trap 3.7: a server with file capabilities has its low port under root's keeper, held",
  async () => {
    const server = await capableServer();
    const bare = start(inFreshNetns(asNobody([server, '81'])));
    await bare.listening(81);
    const keeper = startKeeper([server, '81'], {
      around: (command) => inFreshNetns(command),
      flags: ['--user', 'nobody'],
    });
    await keeper.holding();
    const inode = listeningInode(81, keeper.process.pid);
    await keeper.crash();
    await keeper.process.line(/is served again/);
    expect(listeningInode(81, keeper.process.pid)).toBe(inode);
  },
);

testNeeding(['cc', 'root', 'netns', 'setpriv', 'setcap'])(
  "trap 3.7: the file capabilities of a server have no effect under an ordinary user's keeper, and it says so",
  async () => {
    const server = await capableServer();
    const around = (command: readonly string[]): readonly string[] => inFreshNetns(asNobody(command));
    const low = startKeeper([server, '81'], { around, stateOwner: 65534 });
    expect(await low.process.end()).toEqual({ code: 1, signal: null });
    expect(low.process.stderr).toMatch(/Permission denied/);
    expect(low.process.stderr).toMatch(/holdfast: .*may not bind .*:81.*root/);
    const port = await freePort();
    const high = startKeeper([server, `${port}`], ordinaryUser);
    const { sockets } = await high.holding();
    const pid = await high.crash();
    expect(await outcomeOf(port)).toBe(pid);
    expect(listeningInode(port)).toBe(sockets[0]?.inode);
  },
);

testNeeding(['cc', 'root', 'netns'])(
  'trap 3.9: the same port in another network namespace is another port',
  async () => {
    const port = await freePort();
    const elsewhere = inFreshNetns(['true']).slice(0, -1);
    const both = 'server=$1; port=$2; shift 2; "$server" "$port" & "$@" "$server" "$port" & wait';
    const keeper = startKeeper(sh(both, ...staticHttp.command(port), ...elsewhere));
    await keeper.holding(2);
    const inode = listeningInode(port);
    for (let starts = 1; starts <= 3; starts++) {
      if (starts > 1) await keeper.crash();
      const pids = [0, 1].map(async (index) => {
        const [, pid] = await keeper.process.line(/^listening on \d+ pid (\d+)/, {
          after: 2 * (starts - 1) + index,
        });
        return Number(pid);
      });
      const [one = 0, other = 0] = await Promise.all(pids);
      const outer = namespaceOf(one) === namespaceOf(process.pid) ? one : other;
      const inner = outer === one ? other : one;
      expect(namespaceOf(inner)).not.toBe(namespaceOf(outer));
      expect(await outcomeOf(port)).toBe(outer);
      expect(listeningInode(port)).toBe(inode);
      expect(listeners(port, inner)).toHaveLength(1);
      expect(listenerFds(inner, port)).toEqual([]); // not one of ours
    }
  },
);

testNeeding(['root', 'unshare'])('trap 3.9: a server in a pid namespace of its own is held', async () => {
  const port = await freePort();
  const keeper = startKeeper([
    binaryOf('unshare'),
    '--pid',
    '--fork',
    '--mount-proc',
    ...nodeHttp.command(port),
  ]);
  const { sockets } = await keeper.holding();
  const [server] = descendantsOf(keeper.worker());
  for (let crashes = 0; crashes < 2; crashes++) {
    await freeze(descendantsOf(keeper.worker())[0] as number);
    const waiting = await queueClients(port, 5);
    await keeper.crash();
    expect(await waiting.outcomes).toEqual([1, 1, 1, 1, 1]);
    expect(listeningInode(port)).toBe(sockets[0]?.inode);
  }
  expect(isAlive(server as number)).toBe(false);
});

testNeeding(['unshare'])("trap 3.8: an ordinary user's server in a user namespace is held", async () => {
  const port = await freePort();
  const keeper = startKeeper(
    [binaryOf('unshare'), '--user', '--map-root-user', ...nodeHttp.command(port)],
    ordinaryUser,
  );
  const { sockets } = await keeper.holding();
  await keeper.crash();
  expect(await outcomeOf(port)).toEqual(expect.any(Number));
  expect(listeningInode(port)).toBe(sockets[0]?.inode);
});

testNeeding(['bwrap'])("trap 3.8: an ordinary user's server in bubblewrap is held", async () => {
  const port = await freePort();
  const sandbox = [
    binaryOf('bwrap'),
    '--unshare-user',
    '--unshare-pid',
    '--dev-bind',
    '/',
    '/',
    '--proc',
    '/proc',
  ];
  const keeper = startKeeper([...sandbox, ...nodeHttp.command(port)], ordinaryUser);
  const { sockets } = await keeper.holding();
  await keeper.crash();
  expect(await outcomeOf(port)).toEqual(expect.any(Number));
  expect(listeningInode(port)).toBe(sockets[0]?.inode);
});

testNeeding('go')(
  `a Go program that gets signals all the time starts ${STARTS} times in a row`,
  async () => {
    const port = await freePort();
    const keeper = startKeeper(trap('signals').command(port, '10'), { flags: ['--max-backoff', '0s'] });
    await keeper.holding();
    const inode = listeningInode(port);
    for (let starts = 1; starts <= STARTS; starts++) {
      const pid = starts === 1 ? keeper.worker() : await keeper.crash();
      const [said] = await keeper.process.line(/^rounds .*$/, { after: starts - 1 });
      expect(said).toMatch(/^rounds 10 failed 0 /);
      expect(await outcomeOf(port)).toBe(pid);
      expect(listeningInode(port)).toBe(inode);
    }
    expect(keeper.state().starts).toBe(STARTS);
  },
  60_000 + STARTS * 5_000,
);

testNeeding('cc')('a bind that is not of an IP socket does not wait for the keeper', async () => {
  const [port, barePort] = (await freePorts(2)) as [number, number];
  const bare = start(trap('netlink').command(barePort, '2000'));
  await bare.listening(barePort);
  const keeper = startKeeper(trap('netlink').command(port, '2000'));
  await keeper.holding();
  const times: [bare: number[], kept: number[]] = [[], []];
  for (let round = 0; round < 5; round++) {
    times[0].push(await bindNanoseconds(barePort));
    times[1].push(await bindNanoseconds(port));
  }
  // A trapped bind takes about 300 times as long.
  expect(Math.min(...times[1])).toBeLessThan(10 * Math.min(...times[0]));
  const stopped = bodyOf(port);
  await freeze(keeper.process.pid);
  try {
    expect(await within('binds while the keeper stands still', stopped)).toContain('binds 2000');
    expect(await bodyOf(port)).toContain('binds 2000');
  } finally {
    keeper.process.kill('SIGCONT');
  }
});

test('trap 4.1: a process that uses the library may exit while its server lives on', async () => {
  const port = await freePort();
  const index = new URL('../../dist/index.js', import.meta.url);
  const options = { command: nodeHttp.command(port), name: 'library' };
  const script = `
    import { keep } from ${JSON.stringify(pathToFileURL(index.pathname).href)};
    const keeper = await keep({ ...${JSON.stringify(options)}, onNotice: ({ type }) => type === 'held' && process.exit(7) });
  `;
  const library = start([process.execPath, '--input-type=module', '-e', script], {
    env: { HOLDFAST_STATE_DIR: temporaryFolder() },
  });
  expect(await library.end()).toEqual({ code: 7, signal: null });
  const [, server] = await library.line(/^listening on \d+ pid (\d+)/);
  expect(await outcomeOf(port)).toBe(Number(server));
});

test('trap 4.2: the server of a keeper that was killed serves on, and a keeper of another name names it', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port));
  await keeper.holding();
  const pid = keeper.worker();
  keeper.process.kill('SIGKILL');
  await keeper.process.end();
  expect(await outcomeOf(port)).toBe(pid);
  const next = startKeeper(nodeHttp.command(port), { beside: keeper, name: 'other' });
  expect(await next.process.end()).toEqual({ code: 1, signal: null });
  expect(next.process.stderr).toContain(`is taken by pid ${pid} (`);
  const last = startKeeper(nodeHttp.command(port), { beside: keeper });
  await last.process.line(/took over the server/);
  expect(await outcomeOf(port)).toBe(pid);
  expect(last.worker()).toBe(pid);
});

for (const call of ['bind', 'listen'] as const) {
  testNeeding('python3')(
    `a process that dies while its ${call} waits for the keeper disturbs nobody`,
    async () => {
      const [port, next] = (await freePorts(2)) as [number, number];
      const keeper = startKeeper(python(BINDS_ON_DEMAND), { stdio: ['pipe', 'pipe', 'pipe'] });
      await keeper.process.line(/^ready/);
      const begin = (at: number): unknown => keeper.process.child.stdin?.write(`${at} ${call}\n`);
      begin(port);
      const [, child] = await keeper.process.line(/^child (\d+) before/);
      await freeze(keeper.process.pid);
      process.kill(Number(child), 'SIGUSR1');
      await until('its call waits', () => callOf(Number(child)) === TRAPPED[process.arch]?.[call]);
      process.kill(Number(child), 'SIGKILL');
      await keeper.process.line(/^child \d+ ended/);
      keeper.process.kill('SIGCONT');
      expect(await outcomeOf(port)).toBe('ECONNREFUSED');
      begin(next);
      const [, other] = await keeper.process.line(/^child (\d+) before/, { after: 1 });
      process.kill(Number(other), 'SIGUSR1');
      await keeper.holding();
      expect(await outcomeOf(next)).toBe(Number(other));
      expect(keeper.state().sockets.map((socket) => socket.address)).toEqual([`127.0.0.1:${next}`]);
      expect(keeper.process.stderr).not.toMatch(/fault|Error/);
    },
  );
}

/** 400 calls that wait for the keeper take some seconds, and more where other tests run beside. */
const MANY_MS = 120_000;

testNeeding('python3')(
  '200 threads may bind and listen at the same time, at every start',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(python(MANY_THREADS, port, 200));
    await keeper.process.line(/^all listen: 200$/, { timeoutMs: MANY_MS });
    await keeper.holding(200);
    const inodes = inodesOf(port);
    expect(new Set(inodes).size).toBe(200);
    expect(
      new Set(
        (await keeper.untilState('all of them', (state) => state.sockets.length === 200)).sockets.map(
          (socket) => socket.inode,
        ),
      ),
    ).toEqual(new Set(inodes));
    await keeper.crash();
    await keeper.process.line(/^all listen: 200$/, { after: 1, timeoutMs: MANY_MS });
    expect(inodesOf(port)).toEqual(inodes);
    for (const host of ['127.0.0.1', '127.0.0.77', '127.0.0.200'])
      expect(await outcomeOf(port, { host })).toBe(keeper.worker());
  },
  3 * MANY_MS,
);

function namespaceOf(pid: number): string {
  return readlinkSync(`/proc/${pid}/ns/net`);
}

function setUserIdProgram(): string {
  const program = join(temporaryFolder(), 'print-ids');
  copyFileSync(trapPath('print-ids'), program);
  chownSync(program, 0, 0);
  chmodSync(program, 0o4755);
  return program;
}

async function capableServer(): Promise<string> {
  const program = join(temporaryFolder(), 'server');
  copyFileSync(staticHttp.command(1)[0] as string, program);
  chmodSync(program, 0o755);
  const setcap = start([binaryOf('setcap'), 'cap_net_bind_service+ep', program]);
  expect(await setcap.end()).toEqual({ code: 0, signal: null });
  return program;
}

async function bindNanoseconds(port: number): Promise<number> {
  return Number(/^bind_ns (\d+)$/m.exec(await bodyOf(port))?.[1]);
}

/** The number of the system call that the process is in. @see proc_pid_syscall(5) */
function callOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/syscall`, 'utf8').split(' ')[0]);
}

const TRAPPED: Readonly<Record<string, { readonly bind: number; readonly listen: number }>> = {
  x64: { bind: 49, listen: 50 },
  arm64: { bind: 200, listen: 201 },
};

// Reads `PORT CALL`; forks a child that waits for SIGUSR1 before that call, and then serves.
const BINDS_ON_DEMAND = `${IMPORTS}
${ANSWER}
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
def child(port, call):
    s = socket.socket()
    if call == 'listen': s.bind(('127.0.0.1', port))
    os.write(1, b'child %d before\\n' % os.getpid())
    signal.sigwait([signal.SIGUSR1])
    if call == 'bind': s.bind(('127.0.0.1', port))
    s.listen(5)
    serve(s)
def ended(pid):
    os.waitpid(pid, 0)
    os.write(1, b'child %d ended\\n' % pid)
os.write(1, b'ready\\n')
for line in sys.stdin:
    port, call = line.split()
    pid = os.fork()
    if pid == 0: child(int(port), call)
    threading.Thread(target=ended, args=(pid,), daemon=True).start()
`;

const MANY_THREADS = `${IMPORTS}
${ANSWER}
port, count = int(sys.argv[1]), int(sys.argv[2])
together = threading.Barrier(count)
listening = threading.Barrier(count + 1)
def work(index):
    s = socket.socket()
    together.wait()
    s.bind(('127.0.0.%d' % index, port))
    s.listen(16)
    listening.wait()
    serve(s)
for index in range(1, count + 1): threading.Thread(target=work, args=(index,), daemon=True).start()
listening.wait()
print('all listen:', count, flush=True)
signal.pause()
`;
