import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bodyOf } from '../support/http.js';
import { holdfast, ordinaryUser, type RunningKeeper, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { inFreshNetns, openNetns } from '../support/netns.js';
import { freePort, freePorts } from '../support/ports.js';
import { fdInfo, listeners, listeningInode, openFiles } from '../support/proc.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { nginx, nodeHttp, pythonHttp, staticHttp, trapPath } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { answerIn, freeze, outcomeOf, queueClients } from './clients.js';
import { sh } from './inline.js';
import { ANSWER, IMPORTS, listenersPy, python } from './programs.js';

testNeeding(['python3', 'root', 'netns'])(
  'port 80 is bound by root, and its server runs as a user with nothing but that',
  async () => {
    const netns = await openNetns();
    const keeper = startKeeper(listenersPy('fd:3'), {
      around: (command) => netns.command(command),
      flags: ['--listen', '80', '--user', 'nobody'],
    });
    await keeper.holding();
    const inode = listeningInode(80, netns.pid);
    for (let starts = 1; starts <= 2; starts++) {
      const pid = starts === 1 ? keeper.worker() : await keeper.crash();
      await keeper.process.line(/^ready pid/, { after: starts - 1 });
      expect(await answerIn(netns, 80)).toContain(`pid ${pid}\n`);
      expect(statusOf(pid)).toEqual({
        Uid: '65534 65534 65534 65534',
        Gid: '65534 65534 65534 65534',
        Groups: '65534',
        CapPrm: NOTHING,
        CapEff: NOTHING,
        CapInh: NOTHING,
      });
      const { HOME, USER, LOGNAME } = environmentOf(pid);
      expect({ HOME, USER, LOGNAME }).toEqual({ HOME: '/nonexistent', USER: 'nobody', LOGNAME: 'nobody' });
      expect(listeningInode(80, netns.pid)).toBe(inode);
    }
    expect(statusOf(keeperPid(keeper)).Uid).toBe('0 0 0 0');
  },
);

testNeeding(['root', 'netns'])(
  'a server that binds port 80 itself gets the listened socket as an ordinary user',
  async () => {
    const netns = await openNetns();
    const keeper = startKeeper(nodeHttp.command(80), {
      around: (command) => netns.command(command),
      flags: ['--listen', '80', '--user', 'nobody', '--group', 'nogroup'],
    });
    await keeper.process.line(/^listening on 80/);
    await keeper.holding();
    const inode = listeningInode(80, netns.pid);
    for (let starts = 1; starts <= 2; starts++) {
      const pid = starts === 1 ? keeper.worker() : await keeper.crash();
      await keeper.process.line(/^listening on 80/, { after: starts - 1 });
      expect(openFiles(pid).map((file) => file.inode)).toContain(inode);
      expect(statusOf(pid).Uid).toBe('65534 65534 65534 65534');
      expect(listeningInode(80, netns.pid)).toBe(inode);
    }
  },
);

testNeeding(['cc', 'root', 'netns'])(
  'a port that is not named in --listen is bound with the rights of the server',
  async () => {
    for (const wrapper of [[], [trapPath('deny'), 'pidfd_getfd']]) {
      const keeper = startKeeper(staticHttp.command(81), {
        around: (command) => inFreshNetns([...wrapper, ...command]),
        flags: ['--user', 'nobody'],
      });
      expect(await keeper.process.end()).toEqual({ code: 1, signal: null });
      expect(keeper.process.stderr).toContain('Permission denied');
    }
  },
);

testNeeding(['python3', 'root'])(
  '--group stands in for the group of the user, and a number for either',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(listenersPy(`127.0.0.1:${port}`), {
      flags: ['--user', '65534', '--group', '4'],
    });
    await keeper.holding();
    expect(statusOf(keeper.worker())).toMatchObject({
      Uid: '65534 65534 65534 65534',
      Gid: '4 4 4 4',
      CapEff: NOTHING,
    });
    expect(statusOf(keeper.worker()).Groups?.split(' ')).not.toContain('0');
  },
);

testNeeding('root')('--user is refused to an ordinary user, and for a user that does not exist', async () => {
  const asUser = startKeeper(['true'], { ...ordinaryUser, flags: ['--user', 'nobody'] });
  expect(await asUser.process.end()).toEqual({ code: 2, signal: null });
  expect(asUser.process.stderr).toMatch(/only root .*\[ERR_HOLDFAST_USER\]/);
  const unknown = startKeeper(['true'], { flags: ['--user', 'no-such-user'] });
  expect(await unknown.process.end()).toEqual({ code: 2, signal: null });
  expect(unknown.process.stderr).toMatch(/no user "no-such-user".*\[ERR_HOLDFAST_USER\]/);
});

for (const flags of [[], ['--no-trap']]) {
  testNeeding('python3')(
    `sd_listen_fds: numbers, names and the pid, at every start (${flags.join(' ') || 'trap'})`,
    async () => {
      const [one, other] = (await freePorts(2)) as [number, number];
      const keeper = startKeeper(python(SAYS_PROTOCOL, 2), {
        flags: [...flags, '--listen', `127.0.0.1:${one},name=web`, '--listen', `[::1]:${other}`],
        env: {
          LISTEN_FDS: '9',
          LISTEN_PID: '1',
          LISTEN_FDNAMES: 'old',
          NGINX: '99;',
          SERVER_STARTER_PORT: '1=99',
        },
      });
      await keeper.holding();
      const inodes = [listeningInode(one), listeningInode(other)];
      for (let starts = 1; starts <= 2; starts++) {
        if (starts > 1) {
          await freeze(keeper.worker());
          const waiting = await queueClients(one, 3);
          const pid = await keeper.crash();
          expect(await waiting.outcomes).toEqual([pid, pid, pid]);
        }
        const [, json = ''] = await keeper.process.line(/^protocol (.*)$/, { after: starts - 1 });
        const pid = keeper.worker();
        expect(JSON.parse(json)).toEqual({
          pid,
          LISTEN_PID: `${pid}`,
          LISTEN_FDS: '2',
          LISTEN_FDNAMES: 'web:unknown',
          SERVER_STARTER_PORT: `127.0.0.1:${one}=3;[::1]:${other}=4`,
          NGINX: '3;4;',
        });
        expect([3, 4].map((fd) => openFiles(pid).find((file) => file.fd === fd)?.inode)).toEqual(inodes);
        expect([3, 4].map((fd) => fdInfo(pid, fd).closeOnExec)).toEqual([false, false]);
        expect(await outcomeOf(one)).toBe(pid);
        expect(await outcomeOf(other, { host: '::1' })).toBe(pid);
        expect([listeningInode(one), listeningInode(other)]).toEqual(inodes);
      }
      // With no filter a system call costs what it costs bare.
      expect(/^Seccomp:\s*(\d)/m.exec(readFileSync(`/proc/${keeper.worker()}/status`, 'utf8'))?.[1]).toBe(
        flags.length > 0 ? '0' : '2',
      );
    },
  );
}

testNeeding('start_server')('SERVER_STARTER_PORT: a server on Server::Starter, unchanged', async () => {
  const port = await freePort();
  const keeper = startKeeper(['perl', '-e', STARTER_SERVER], {
    flags: ['--no-trap', '--listen', `127.0.0.1:${port}`],
  });
  await keeper.holding();
  const inode = listeningInode(port);
  expect(await outcomeOf(port)).toBe(keeper.worker());
  const pid = await keeper.crash();
  expect(await outcomeOf(port)).toBe(pid);
  expect(listeningInode(port)).toBe(inode);
});

for (const flags of [[], ['--no-trap']]) {
  testNeeding('nginx')(
    `NGINX: nginx inherits the socket and binds none itself (${flags.join(' ') || 'trap'})`,
    async () => {
      const port = await freePort();
      const keeper = startKeeper(nginx.command(port), { flags: [...flags, '--listen', `127.0.0.1:${port}`] });
      await keeper.holding();
      const inode = listeningInode(port);
      expect(keeper.state().sockets[0]?.inode).toBe(inode);
      for (let starts = 1; starts <= 2; starts++) {
        if (starts > 1) await keeper.crash();
        expect(await outcomeOf(port)).toEqual(expect.any(Number));
        expect(listeningInode(port)).toBe(inode);
        expect(openFiles(keeper.worker()).find((file) => file.fd === 3)?.inode).toBe(inode);
      }
      expect(keeper.process.stderr).not.toMatch(/\[emerg\]|\[alert\]/);
    },
  );
}

testNeeding('python3')('every socket that the server was handed is said to be kept', async () => {
  const [one, other] = (await freePorts(2)) as [number, number];
  const keeper = startKeeper(listenersPy('fd:3', 'fd:4'), {
    flags: ['--listen', `127.0.0.1:${one}`, '--listen', `127.0.0.1:${other}`],
  });
  await keeper.holding(2);
  const said = keeper.process.lines(/keeps 127\.0\.0\.1:(\d+) for pid/).map(([, port]) => Number(port));
  expect(new Set(said)).toEqual(new Set([one, other]));
});

testNeeding('python3')('{fd} and {fd:NAME} are the numbers of the sockets', async () => {
  const [one, other] = (await freePorts(2)) as [number, number];
  const listen = ['--listen', `127.0.0.1:${one}`, '--listen', `127.0.0.1:${other},name=admin`];
  const keeper = startKeeper(listenersPy('fd:{fd:admin}', 'fd:{fd}'), { flags: listen });
  await keeper.process.line(/^ready pid/);
  await keeper.holding();
  expect(
    keeper.process.lines(/^socket fd:(\d) port (\d+)/).map(([, fd, port]) => [Number(fd), Number(port)]),
  ).toEqual([
    [4, other],
    [3, one],
  ]);
  expect(await outcomeOf(other)).toBe(keeper.worker());
  const unknown = startKeeper(listenersPy('fd:{fd:none}'), { flags: ['--listen', `${await freePort()}`] });
  expect((await unknown.process.end()).code).toBe(2);
  expect(unknown.process.stderr).toMatch(/no --listen has name=none.*\[ERR_HOLDFAST_OPTION\]/);
});

testNeeding('python3')(
  'unix:PATH: a stale file is replaced, crashes are survived, the file goes at the end',
  async () => {
    const path = join(temporaryFolder(), 'server.sock');
    const stale = start(python(`${IMPORTS}; socket.socket(socket.AF_UNIX).bind(sys.argv[1])`, path));
    await stale.end();
    expect(existsSync(path)).toBe(true);
    const keeper = startKeeper(listenersPy('fd:3'), { flags: ['--listen', `unix:${path},name=web`] });
    await keeper.holding();
    expect(await answerAt(path)).toContain(`pid ${keeper.worker()}\n`);
    await freeze(keeper.worker());
    const waiting = Promise.all([answerAt(path), answerAt(path), answerAt(path)]);
    const pid = await keeper.crash();
    for (const answer of await waiting) expect(answer).toContain(`pid ${pid}\n`);
    const live = startKeeper(listenersPy('fd:3'), { flags: ['--listen', `unix:${path}`] });
    expect((await live.process.end()).code).toBe(2);
    expect(live.process.stderr).toMatch(/is taken.*\[ERR_HOLDFAST_ADDRESS_TAKEN\]/);
    expect(await answerAt(path)).toContain(`pid ${pid}\n`);
    keeper.process.kill();
    await keeper.process.end();
    expect(existsSync(path)).toBe(false);
  },
);

testNeeding('python3')('unix:PATH: a file that is no socket is left alone', async () => {
  const path = join(temporaryFolder(), 'precious');
  writeFileSync(path, 'text');
  const keeper = startKeeper(listenersPy('fd:3'), { flags: ['--listen', `unix:${path}`] });
  expect((await keeper.process.end()).code).toBe(2);
  expect(keeper.process.stderr).toMatch(/\[ERR_HOLDFAST_ADDRESS/);
  expect(readFileSync(path, 'utf8')).toBe('text');
});

testNeeding('python3')('v6only leaves IPv4 alone, and without it a port is served on both', async () => {
  const [only, both] = (await freePorts(2)) as [number, number];
  const keeper = startKeeper(listenersPy('fd:3', 'fd:4'), {
    flags: ['--listen', `[::]:${only},v6only`, '--listen', `${both}`],
  });
  await keeper.holding();
  const pid = keeper.worker();
  expect(await outcomeOf(only, { host: '::1' })).toBe(pid);
  expect(await outcomeOf(only)).toBe('ECONNREFUSED');
  expect([await outcomeOf(both), await outcomeOf(both, { host: '::1' })]).toEqual([pid, pid]);
});

testNeeding('cc')('where there is no IPv6, a port alone is every IPv4 address', async () => {
  const port = await freePort();
  const around = (keeper: readonly string[]): string[] => [trapPath('deny'), 'ipv6', ...keeper];
  const keeper = startKeeper(nodeHttp.command(port, '--host', '0.0.0.0'), {
    around,
    flags: ['--listen', `${port}`],
  });
  await keeper.holding();
  expect(listeners(port).map(({ host }) => host)).toEqual(['0.0.0.0']);
  const pid = await keeper.crash();
  expect(await outcomeOf(port)).toBe(pid);
  const [own] = (await freePorts(1)) as [number];
  const named = startKeeper(nodeHttp.command(own), {
    name: 'named',
    around,
    flags: ['--listen', `[::1]:${own}`],
  });
  expect((await named.process.end()).code).toBe(2);
  expect(named.process.stderr).toMatch(/this machine has no address \[::1\]/);
});

testNeeding(['python3', 'ss'])(
  'backlog= is the length of the queue, whatever the server asks for',
  async () => {
    const [handed, trapped] = (await freePorts(2)) as [number, number];
    const flags = ['--listen', `127.0.0.1:${handed},backlog=7`, '--listen', `127.0.0.1:${trapped},backlog=9`];
    const keeper = startKeeper(listenersPy('fd:3', `127.0.0.1:${trapped}`), { flags });
    await keeper.holding();
    for (let starts = 1; starts <= 2; starts++) {
      if (starts > 1) await keeper.crash();
      await keeper.process.line(/^ready pid/, { after: starts - 1 });
      expect([longestQueue(handed), longestQueue(trapped)]).toEqual([7, 9]);
    }
  },
);

for (const server of [
  { name: 'node', spelling: (port: number) => `${port}`, command: (port: number) => nodeHttp.command(port) },
  {
    name: 'python',
    spelling: (port: number) => `127.0.0.1:${port}`,
    command: (port: number) => pythonHttp.command(port),
  },
]) {
  testNeeding('python3')(
    `${server.name}, which binds itself, gets the listened socket and serves before and after a crash`,
    async () => {
      const port = await freePort();
      const keeper = startKeeper(server.command(port), { flags: ['--listen', server.spelling(port)] });
      const inode = await until('the listener', () => listeningInode(port));
      await keeper.holding();
      for (let starts = 1; starts <= 3; starts++) {
        if (starts > 1) await keeper.crash();
        expect(await bodyOf(port)).toEqual(expect.anything());
        expect(listeningInode(port)).toBe(inode);
        expect(openFiles(keeper.worker()).filter((file) => file.inode === inode).length).toBeGreaterThan(0);
      }
    },
  );
}

testNeeding('python3')(
  'a server that wants an address which only overlaps a listened one is told so',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(listenersPy(`0.0.0.0:${port}`), { flags: ['--listen', `${port}`] });
    await keeper.process.line(/Address already in use/);
    expect(keeper.process.stderr).toMatch(/^holdfast: .*--listen/m);
  },
);

testNeeding('python3')('sockets of a service manager are taken over and handed on', async () => {
  const [managed, own] = (await freePorts(2)) as [number, number];
  const path = join(temporaryFolder(), 'managed.sock');
  const keeper = startKeeper(python(SAYS_PROTOCOL, 3), {
    around: (command) => python(SERVICE_MANAGER, managed, path, ...command),
    flags: ['--listen', `127.0.0.1:${own},name=own`],
  });
  const [, inodes = ''] = await keeper.process.line(/^manager's (.*)$/);
  const [tcp] = JSON.parse(inodes) as number[];
  await keeper.holding();
  const releasedAndTaken = async (): Promise<number> => {
    expect((await keeper.ask('release', 'app')).exit.code).toBe(0);
    expect(listeners(own)).toEqual([]);
    expect((await keeper.ask('take', 'app')).exit.code).toBe(0);
    return keeper.worker();
  };
  for (let starts = 1; starts <= 3; starts++) {
    const again = starts === 2 ? keeper.crash : releasedAndTaken;
    const pid = starts === 1 ? keeper.worker() : await again();
    const [, json = ''] = await keeper.process.line(/^protocol (.*)$/, { after: starts - 1 });
    expect(JSON.parse(json)).toMatchObject({
      LISTEN_PID: `${pid}`,
      LISTEN_FDS: '3',
      LISTEN_FDNAMES: 'http:local:own',
    });
    expect(await outcomeOf(managed)).toBe(pid);
    expect(await outcomeOf(own)).toBe(pid);
    expect(await answerAt(path)).toContain(`pid ${pid}`);
    expect(listeningInode(managed)).toBe(tcp);
  }
  keeper.process.kill();
  await keeper.process.end();
  expect(existsSync(path)).toBe(true); // it is the manager's
});

testNeeding('python3')('sockets that were meant for another process are left alone', async () => {
  const keeper = startKeeper(python(SAYS_PROTOCOL, 0), { env: { LISTEN_PID: '1', LISTEN_FDS: '1' } });
  const [, json = ''] = await keeper.process.line(/^protocol (.*)$/);
  expect(Object.keys(JSON.parse(json) as object)).toEqual(['pid']);
});

test('the state folder is made for its owner alone, and one that others may write in is refused', async () => {
  const folder = join(temporaryFolder(), 'state');
  expect((await startIn({ HOLDFAST_STATE_DIR: folder }).end()).code).toBe(0);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  chmodSync(folder, 0o777);
  const refused = startIn({ HOLDFAST_STATE_DIR: folder });
  expect((await refused.end()).code).toBe(2);
  expect(refused.stderr).toMatch(/others may write in .*\[ERR_HOLDFAST_STATE_DIRECTORY\]/);
});

test('what is in a state folder that others may enter is for its owner alone', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), {
    around: (command) => sh('umask 0; exec "$@"', ...command),
  });
  await keeper.holding();
  const folder = keeper.env.HOLDFAST_STATE_DIR;
  expect(statSync(folder).mode & 0o077).not.toBe(0);
  const files = readdirSync(folder);
  expect(files).toEqual(expect.arrayContaining(['app.json', 'app.sock']));
  // Who may write to a socket may connect to it.
  const forbidden = (file: string): number => (file.endsWith('.sock') ? 0o022 : 0o077);
  const open = files.filter((file) => (statSync(join(folder, file)).mode & forbidden(file)) !== 0);
  expect(open).toEqual([]);
});

testNeeding('root')(
  "an ordinary user's state is in XDG_RUNTIME_DIR, or in a folder of that user's own",
  async () => {
    const runtime = temporaryFolder();
    chownSync(runtime, ordinaryUser.uid as number, -1);
    const inRuntime = startIn({ HOLDFAST_STATE_DIR: undefined, XDG_RUNTIME_DIR: runtime }, ordinaryUser);
    expect((await inRuntime.end()).code).toBe(0);
    expect(statSync(join(runtime, 'holdfast'))).toMatchObject({ uid: ordinaryUser.uid });
    const temporary = temporaryFolder();
    chownSync(temporary, ordinaryUser.uid as number, -1);
    const environment = { HOLDFAST_STATE_DIR: undefined, XDG_RUNTIME_DIR: undefined, TMPDIR: temporary };
    expect((await startIn(environment, ordinaryUser).end()).code).toBe(0);
    const found = statSync(join(temporary, `holdfast-${ordinaryUser.uid}`));
    expect({ uid: found.uid, mode: found.mode & 0o777 }).toEqual({ uid: ordinaryUser.uid, mode: 0o700 });
  },
);

testNeeding('root')('a state folder of another user, or a link to one, is refused', async () => {
  const foreign = join(temporaryFolder(), 'state');
  mkdirSync(foreign, { mode: 0o777 });
  const asUser = startIn({ HOLDFAST_STATE_DIR: foreign }, ordinaryUser);
  expect((await asUser.end()).code).toBe(2);
  expect(asUser.stderr).toMatch(/is not a folder of user.*\[ERR_HOLDFAST_STATE_DIRECTORY\]/);
  chownSync(foreign, 65534, -1);
  const asRoot = startIn({ HOLDFAST_STATE_DIR: foreign });
  expect((await asRoot.end()).code).toBe(2);
  const link = join(temporaryFolder(), 'link');
  symlinkSync(temporaryFolder(), link);
  const linked = startIn({ HOLDFAST_STATE_DIR: link });
  expect((await linked.end()).code).toBe(2);
  expect(linked.stderr).toContain('[ERR_HOLDFAST_STATE_DIRECTORY]');
});

/** A keeper of a command that ends at once. */
function startIn(
  env: Readonly<Record<string, string | undefined>>,
  as: typeof ordinaryUser = {},
): ReturnType<typeof start> {
  return start([...holdfast, 'run', '--name', 'app', '--', '/bin/true'], { env, ...as });
}

/** `around` may have put other programs before it. */
function keeperPid(keeper: RunningKeeper): number {
  return keeper.state().pid;
}

const NOTHING = '0000000000000000';

function statusOf(pid: number): Readonly<Record<string, string>> {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const fields = ['Uid', 'Gid', 'Groups', 'CapPrm', 'CapEff', 'CapInh'].map((name) => {
    const value = new RegExp(`^${name}:(.*)$`, 'm').exec(status)?.[1] ?? '';
    return [name, value.trim().split(/\s+/).join(' ')] as const;
  });
  return Object.fromEntries(fields);
}

function environmentOf(pid: number): Readonly<Record<string, string>> {
  const variables = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  return Object.fromEntries(
    variables.map((text) => [text.split('=', 1)[0] ?? '', text.slice(text.indexOf('=') + 1)]),
  );
}

/** The body of a GET at a unix socket, or the error. */
function answerAt(socketPath: string): Promise<string> {
  return new Promise((resolve) => {
    const request = get({ socketPath, timeout: 10_000, agent: false }, (response) => {
      let body = '';
      response.on('data', (data: Buffer) => {
        body += data.toString();
      });
      response.once('end', () => resolve(body));
    });
    request
      .once('timeout', () => request.destroy(new Error('no answer')))
      .once('error', (error) => resolve(String(error)));
  });
}

/** What `ss` calls Send-Q of a listener: how many may wait. */
function longestQueue(port: number): number {
  const { stdout } = spawnSync(binaryOf('ss'), ['-ltnH', `sport = :${port}`], { encoding: 'utf8' });
  return Number(stdout.trim().split(/\s+/)[2]);
}

// Says what it was told, and serves so many fds from 3 on.
const SAYS_PROTOCOL: string = `${IMPORTS}, json
names = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'SERVER_STARTER_PORT', 'NGINX']
told = {name: os.environ[name] for name in names if name in os.environ}
${ANSWER}
print('protocol', json.dumps({'pid': os.getpid(), **told}), flush=True)
for fd in range(3, 3 + int(sys.argv[1])):
    threading.Thread(target=serve, args=(socket.socket(fileno=fd),), daemon=True).start()
signal.pause()
`;

// As sd_listen_fds(3) has it: PORT and PATH become fds 3 and 4 of the command that it becomes.
const SERVICE_MANAGER: string = `${IMPORTS}
port, path, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
tcp = socket.create_server(('127.0.0.1', port))
local = socket.socket(socket.AF_UNIX)
local.bind(path)
local.listen(16)
kept = [os.dup(tcp.fileno()), os.dup(local.fileno())]
while min(kept) < 10: kept = [os.dup(fd) for fd in kept]
os.dup2(kept[0], 3, inheritable=True)
os.dup2(kept[1], 4, inheritable=True)
print("manager's", [os.fstat(3).st_ino, os.fstat(4).st_ino], flush=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='http:local')
os.execvp(command[0], command)
`;

const STARTER_SERVER = `
use Server::Starter qw(server_ports);
use IO::Socket::INET;
my ($fd) = values %{server_ports()};
my $listener = IO::Socket::INET->new;
$listener->fdopen($fd, 'w') or die $!;
while (my $client = $listener->accept) {
  while (my $line = <$client>) { last if $line eq "\\r\\n" }
  my $body = "pid $$";
  print $client "HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: ", length $body, "\\r\\n\\r\\n$body";
  close $client;
}
`;
