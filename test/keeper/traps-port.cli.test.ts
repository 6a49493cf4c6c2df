import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bodyOf } from '../support/http.js';
import { asNobody, holdfast, startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { testNeeding } from '../support/needing.js';
import { inFreshNetns } from '../support/netns.js';
import { freePort, freePorts } from '../support/ports.js';
import { isAlive, listeners, listeningInode, tcpSockets } from '../support/proc.js';
import { start } from '../support/process.js';
import { nginxReuseport, nodeHttp, pythonHttp, type TestServer, trap } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until, within } from '../support/wait.js';
import { freeze, outcomeOf, queueClients } from './clients.js';
import { ANSWER, changingCommand, IMPORTS, listenersPy, python } from './programs.js';
import { inodesOf } from './sockets.js';

/** A server on all addresses that first looks whether its port is free on one of them, and takes its time. */
const SLOW_PROBE = (pause: string): string => `${IMPORTS}
import time
${ANSWER}
port, begin = int(sys.argv[1]), time.monotonic()
probe = socket.create_server(('127.0.0.1', port))
${pause}
probe.close()
serve(socket.create_server(('0.0.0.0', port)))
`;

const pythonReuseport: TestServer = {
  name: 'a server with SO_REUSEPORT',
  needs: ['python3'],
  command: (port) => listenersPy(`127.0.0.1:${port},reuseport`),
};

for (const server of [nodeHttp, pythonReuseport]) {
  testNeeding(['python3'])(
    `trap 2.1: a second keeper of ${server.name} says who has the port, ends and gets no request`,
    async () => {
      const port = await freePort();
      const command = server.command(port);
      const first = startKeeper(command, { name: 'first' });
      await first.holding();
      const pid = first.worker();
      const load = startLoad({ port, ratePerSecond: 200 });
      const second = startKeeper(command, { name: 'second', beside: first });
      expect((await second.process.end()).code).not.toBe(0);
      const [, by] = await second.process.line(/ is taken by (.*)$/);
      expect(by).toBe(`pid ${pid} (${command.join(' ')}, kept by holdfast as "first")`);
      expect(second.process.lines(/keeps|started again/)).toEqual([]);
      const { ok, sent, pids } = await load.stop();
      expect({ ok, pids }).toEqual({ ok: sent, pids: [pid] });
    },
  );
}

testNeeding('python3')(
  'trap 2.1: a second keeper may not take the port on other addresses either',
  async () => {
    const port = await freePort();
    const first = startKeeper(listenersPy(`127.0.0.1:${port},reuseport`), { name: 'first' });
    await first.holding();
    const pid = first.worker();
    const load = startLoad({ port, ratePerSecond: 200 });
    const second = startKeeper(listenersPy(`0.0.0.0:${port},reuseport`), { name: 'second', beside: first });
    expect((await second.process.end()).code).toBe(1);
    expect(second.process.stderr).toMatch(/is taken by .* kept by holdfast as "first"/);
    const { ok, sent, pids } = await load.stop();
    expect({ ok, pids }).toEqual({ ok: sent, pids: [pid] });
  },
);

testNeeding('python3')(
  'trap 2.1: a stranger who joins by SO_REUSEPORT gets no request, not after a crash either',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(nodeHttp.command(port, '--host', '127.0.0.1'));
    await keeper.holding();
    const stranger = start(pythonReuseport.command(port)); // bare: it may join if the kernel lets it, or fail
    await Promise.race([stranger.line(/^ready/), stranger.end()]).catch(() => undefined);
    const load = startLoad({ port, ratePerSecond: 200 });
    await until('requests', () => load.counts().ok > 100);
    await freeze(keeper.worker()); // so that no request is answered by the one that is killed
    const pid = await keeper.crash();
    await until('requests after the crash', () => load.counts().ok > 250);
    const { pids, ok, sent, refused, hung } = await load.stop();
    expect(pids).not.toContain(stranger.pid);
    expect(pids).toContain(pid);
    expect({ refused, hung }).toEqual({ refused: 0, hung: 0 });
    expect(sent - ok).toBeLessThan(10);
  },
);

testNeeding('python3')(
  'trap 2.1: of two keepers that listen at the same moment one has the port',
  async () => {
    const port = await freePort();
    const startMs = Date.now() + 1_500;
    const keepers = ['first', 'second'].map((name) =>
      startKeeper(python(LISTENS_AT_ONCE, port, 200, startMs), { name, flags: ['--restart', 'never'] }),
    );
    const lines = await Promise.all(
      keepers.map((keeper) => keeper.process.line(/^listening: ([01]+)$/, { timeoutMs: 25_000 })),
    );
    const [one = '', other = ''] = lines.map(([, listening]) => listening);
    const counts = [...one].map((isListening, index) => Number(isListening) + Number(other[index]));
    expect(counts).toEqual(Array(200).fill(1));
  },
);

test('two keepers of different ports do not meet', async () => {
  const [one, other] = (await freePorts(2)) as [number, number];
  const first = startKeeper(nodeHttp.command(one), { name: 'first' });
  const second = startKeeper(nodeHttp.command(other), { name: 'second', beside: first });
  await Promise.all([first.holding(), second.holding()]);
  const inodes = [listeningInode(one), listeningInode(other)];
  const pids = [await first.crash(), await second.crash()];
  expect([await outcomeOf(one), await outcomeOf(other)]).toEqual(pids);
  expect([listeningInode(one), listeningInode(other)]).toEqual(inodes);
});

for (const [name, command] of [
  ['node', (at: number) => nodeHttp.command(at)],
  ['python', (at: number) => pythonHttp.command(at)],
] as const) {
  testNeeding('python3')(
    `trap 2.4: two ${name} servers in one tree that want one port: the second fails as bare, at every start`,
    async () => {
      const at = await freePort();
      const both = python(TWO_SERVERS, JSON.stringify(command(at)));
      const keeper = startKeeper(both);
      await keeper.holding();
      for (let starts = 1; starts <= 2; starts++) {
        if (starts > 1) await keeper.crash();
        const [, first] = await keeper.process.line(/^first is (\d+)$/, { after: starts - 1 });
        const [, second] = await keeper.process.line(/^second ended with (\d+)$/, { after: starts - 1 });
        expect(Number(second)).toBe(1);
        expect(keeper.process.lines(/EADDRINUSE: |Address already in use/).length).toBeGreaterThanOrEqual(
          starts,
        );
        expect(listeners(at)).toHaveLength(1);
        if (name === 'node') expect(await outcomeOf(at)).toBe(Number(first));
      }
    },
  );
}

testNeeding('cc')('trap 2.2: probes for a free port do not become held sockets', async () => {
  const port = await freePort();
  const keeper = startKeeper(trap('port-prober').command(port));
  const { sockets } = await keeper.holding();
  const inode = sockets.find((socket) => socket.address === `127.0.0.1:${port}`)?.inode;
  for (let starts = 1; starts <= 4; starts++) {
    if (starts > 1) {
      await freeze(keeper.worker());
      const waiting = await queueClients(port, 5);
      const pid = await keeper.crash();
      expect(await waiting.outcomes).toEqual(Array(5).fill(pid));
    }
    await until('only what is served', () => listeners(port).length === 1);
    expect(await outcomeOf(port, { host: '::1' })).toBe('ECONNREFUSED');
    expect(await outcomeOf(port, { host: '127.0.0.2' })).toBe('ECONNREFUSED');
    expect(await outcomeOf(port)).toBe(keeper.worker());
    expect(listeningInode(port)).toBe(inode);
    expect(keeper.state().sockets.map((socket) => socket.address)).toEqual([`127.0.0.1:${port}`]);
  }
});

for (const [what, pause] of [
  ['sleeps', 'time.sleep(0.5)'],
  ['is busy', "exec('while time.monotonic() < begin + 2: pass')"],
] as const) {
  testNeeding('python3')(
    `trap 2.2: a probe kept open while its program ${what} costs no client that waits`,
    async () => {
      const port = await freePort();
      const keeper = startKeeper(python(SLOW_PROBE(pause), port));
      await keeper.holding();
      const served = (): readonly string[] => keeper.state().sockets.map((socket) => socket.address);
      await until('only the address that is served', () => `${served()}` === `0.0.0.0:${port}`);
      const inode = listeningInode(port);
      await freeze(keeper.worker());
      const waiting = await queueClients(port, 5, { host: '127.0.0.2' });
      const pid = await keeper.crash();
      expect(await waiting.outcomes).toEqual(Array(5).fill(pid));
      await until('only the address that is served', () => `${served()}` === `0.0.0.0:${port}`);
      expect(listeningInode(port)).toBe(inode);
    },
  );
}

test('a keeper in a keeper says so and goes on, and the outer one keeps the port', async () => {
  const port = await freePort();
  const inner = [...holdfast, 'run', '--name', 'inner', '--', ...nodeHttp.command(port)];
  const keeper = startKeeper(inner);
  const { sockets } = await keeper.holding();
  await keeper.process.line(/another holdfast runs around this one/);
  expect(keeper.process.lines(/keeps .* for pid/)).toHaveLength(1);
  const first = await outcomeOf(port);
  await freeze(first as number);
  const waiting = await queueClients(port, 5);
  process.kill(first as number, 'SIGKILL'); // the inner keeper's server
  const [, second] = await keeper.process.line(/started again, pid (\d+)/);
  expect(await waiting.outcomes).toEqual(Array(5).fill(Number(second)));
  expect(listeningInode(port)).toBe(sockets[0]?.inode);
  expect(keeper.state().starts).toBe(1);
  await keeper.crash(); // the inner keeper itself
  expect(isAlive(Number(second))).toBe(false); // its server does not stay beside the next one
  expect(await outcomeOf(port)).toEqual(expect.any(Number));
  expect(listeningInode(port)).toBe(sockets[0]?.inode);
  keeper.process.kill();
  expect((await keeper.process.end()).signal).toBe(null);
  expect(listeners(port)).toEqual([]);
});

testNeeding('python3')('port 0, UDP and unix sockets pass, beside a port that is kept', async () => {
  const [port, udp] = (await freePorts(2)) as [number, number];
  const path = join(temporaryFolder(), 'server.sock');
  const keeper = startKeeper(
    listenersPy('127.0.0.1:0', `udp:127.0.0.1:${udp}`, `unix:${path}`, `127.0.0.1:${port}`),
  );
  for (let starts = 1; starts <= 2; starts++) {
    if (starts === 1) await keeper.holding();
    else await keeper.crash();
    await keeper.process.line(/^ready pid/, { after: starts - 1 });
    const [, any] = await keeper.process.line(/^socket 127.0.0.1:0 port (\d+)$/, { after: starts - 1 });
    expect(Number(any)).not.toBe(0);
    expect([await outcomeOf(Number(any)), await outcomeOf(port)]).toEqual([keeper.worker(), keeper.worker()]);
    expect(keeper.state().sockets.map((socket) => socket.address)).toEqual([`127.0.0.1:${port}`]);
  }
  const [, freed] = await keeper.process.line(/^socket 127.0.0.1:0 port (\d+)$/);
  expect(await outcomeOf(Number(freed))).toBe('ECONNREFUSED');
});

for (const kind of ['port 0', 'a unix socket'] as const) {
  testNeeding('python3')(
    `a server that listens on ${kind} alone is started again after a crash`,
    async () => {
      const socket = kind === 'port 0' ? '127.0.0.1:0' : `unix:${join(temporaryFolder(), 'server.sock')}`;
      const keeper = startKeeper(listenersPy(socket));
      const [, pid] = await keeper.process.line(/^ready pid (\d+)/);
      process.kill(Number(pid), 'SIGKILL');
      const [, next] = await keeper.process.line(/^ready pid (\d+)/, { after: 1 });
      expect(next).not.toBe(pid);
    },
  );
}

testNeeding('cc')(
  'trap 2.3: of a server that closes its port and opens it again no client is refused',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(trap('close-reopen').command(port));
    const { sockets } = await keeper.holding();
    const pid = keeper.worker();
    for (let round = 1; round <= 3; round++) {
      process.kill(pid, 'SIGUSR1');
      await keeper.process.line(/^closed$/, { after: round - 1 });
      const waiting = await queueClients(port, 5);
      process.kill(pid, 'SIGUSR2');
      expect(await waiting.outcomes).toEqual(Array(5).fill(pid));
    }
    expect(listeningInode(port)).toBe(sockets[0]?.inode);
    expect(keeper.state().starts).toBe(1);
  },
);

testNeeding('cc')(
  'trap 2.3: of a server that closes its port for good clients are refused, until it opens it again',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(trap('close-reopen').command(port));
    await keeper.holding();
    const pid = keeper.worker();
    process.kill(pid, 'SIGUSR1');
    await keeper.process.line(/^closed$/);
    const first = outcomeOf(port);
    expect(await within('the first client does not hang', first, 4_000)).toBe('ECONNRESET');
    await keeper.process.line(/was closed by the server and is no longer kept/);
    expect(await outcomeOf(port)).toBe('ECONNREFUSED');
    expect(keeper.state().phase).toBe('serving');
    process.kill(pid, 'SIGUSR2');
    await keeper.holding(2);
    expect(await outcomeOf(port)).toBe(pid);
    const inode = listeningInode(port);
    expect(await keeper.crash()).toBe(await outcomeOf(port));
    expect(listeningInode(port)).toBe(inode);
  },
);

testNeeding('cc')(
  'trap 2.3: a server that closes its port before it crashes has it again afterwards',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(trap('close-reopen').command(port));
    await keeper.holding();
    process.kill(keeper.worker(), 'SIGUSR1');
    await keeper.process.line(/^closed$/);
    const pid = await keeper.crash();
    expect(await outcomeOf(port)).toBe(pid);
  },
);

testNeeding('python3')('a server may change between 0.0.0.0 and 127.0.0.1 between crashes', async () => {
  const port = await freePort();
  const wide = listenersPy(`0.0.0.0:${port}`);
  const narrow = listenersPy(`127.0.0.1:${port}`);
  const server = changingCommand(wide);
  const keeper = startKeeper(server.command);
  await keeper.holding();
  for (const next of [narrow, wide, wide, narrow]) {
    const stays = next === server.current();
    const inode = listeningInode(port);
    server.become(next);
    const pid = await keeper.crash();
    await keeper.process.line(/^ready pid/, { after: keeper.state().starts - 1 });
    await until('only its own socket', () => listeners(port).length === 1);
    expect(await outcomeOf(port)).toBe(pid);
    expect(await outcomeOf(port, { host: '127.0.0.2' })).toBe(next === wide ? pid : 'ECONNREFUSED');
    if (stays) expect(listeningInode(port)).toBe(inode);
    expect(keeper.state().starts).toBe(keeper.process.lines(/^ready pid/).length);
  }
  expect(keeper.process.lines(/no longer kept: the server has another address/)).toHaveLength(3);
});

testNeeding('python3')(
  'an address that a new start does not serve any more is given up after --hold-for',
  async () => {
    const port = await freePort();
    const server = changingCommand(listenersPy(`127.0.0.1:${port}`, `127.0.0.2:${port}`));
    const keeper = startKeeper(server.command, { flags: ['--hold-for', '1s'] });
    await keeper.holding(2);
    server.become(listenersPy(`127.0.0.2:${port}`));
    const pid = await keeper.crash();
    await keeper.process.line(/127\.0\.0\.1:\d+ .*no longer kept/);
    expect(await outcomeOf(port)).toBe('ECONNREFUSED');
    expect(await outcomeOf(port, { host: '127.0.0.2' })).toBe(pid);
  },
);

testNeeding('cc')(
  'trap 2.5: each of N binds with SO_REUSEPORT gets a held socket of its own after a restart',
  async () => {
    const port = await freePort();
    const count = 6;
    const keeper = startKeeper(trap('reuseport-many').command(port, `${count}`));
    await keeper.holding(count);
    const inodes = inodesOf(port);
    expect(new Set(inodes).size).toBe(count);
    for (let crashes = 0; crashes < 3; crashes++) {
      const pid = await keeper.crash();
      await keeper.process.line(/^listening/, { after: crashes + 1 });
      expect(inodesOf(port)).toEqual(inodes);
      const answering = new Set<string>();
      await until('all sockets answer', async () => {
        const body = await bodyOf(port);
        expect(body).toContain(`pid ${pid}\n`);
        return answering.add(body).size === count;
      });
    }
  },
);

testNeeding('cc')(
  'trap 2.5: a server that has fewer SO_REUSEPORT sockets after a restart loses no client',
  async () => {
    const port = await freePort();
    const server = changingCommand(trap('reuseport-many').command(port, '4'));
    const keeper = startKeeper(server.command, { flags: ['--hold-for', '1s'] });
    await keeper.holding(4);
    server.become(trap('reuseport-many').command(port, '2'));
    const pid = await keeper.crash();
    await until('only what is served', () => listeners(port).length === 2);
    const outcomes = await Promise.all(Array.from({ length: 40 }, () => outcomeOf(port)));
    expect(new Set(outcomes)).toEqual(new Set([pid]));
  },
);

testNeeding('nginx')(
  'trap 2.5: nginx with reuseport has its sockets and all its workers after a restart',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(nginxReuseport.command(port));
    await keeper.holding(2);
    const inodes = inodesOf(port);
    expect(inodes).toHaveLength(2);
    for (let crashes = 0; crashes < 3; crashes++) {
      await keeper.crash();
      await keeper.process.line(/is served again/, { after: 2 * crashes + 1 });
      expect(inodesOf(port)).toEqual(inodes);
      const answering = new Set<unknown>();
      await until('both workers answer', async () => answering.add(await outcomeOf(port)).size === 2);
    }
  },
);

testNeeding('cc')(
  'an outgoing connection from a bound port ends as bare: its peer sees the end at once',
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
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    await keeper.process.line(/^closed$/);
    await within('the end of the connection', ended, 1_000);
    const [, pid] = await keeper.process.line(/started, pid (\d+)/);
    expect(isAlive(Number(pid))).toBe(true);
    keeper.process.child.stdin?.end();
    expect(await keeper.process.end()).toEqual({ code: 0, signal: null });
  },
);

testNeeding('python3')(
  'a process that holds the port is named, by a learned and by a listened address',
  async () => {
    const port = await freePort();
    const holder = start(pythonHttp.command(port));
    await holder.listening(port);
    const learned = startKeeper(nodeHttp.command(port));
    expect(await learned.process.end()).toEqual({ code: 1, signal: null });
    expect(learned.process.stderr).toContain(
      `is taken by pid ${holder.pid} (${pythonHttp.command(port).slice(0, 4).join(' ')}`,
    );
    expect(learned.process.stderr).toContain('EADDRINUSE');
    const listened = startKeeper(nodeHttp.command(port), { flags: ['--listen', `${port}`] });
    expect(await listened.process.end()).toEqual({ code: 2, signal: null });
    expect(listened.process.stderr).toContain(`is taken by pid ${holder.pid} (`);
    expect(listened.process.stderr).toContain('ERR_HOLDFAST_ADDRESS_TAKEN');
    expect(listened.process.lines(/^holdfast: started/)).toEqual([]);
  },
);

testNeeding(['python3', 'root', 'netns', 'setpriv'])(
  'a low port is refused to an ordinary user as bare, with what to do',
  async () => {
    const around = (keeper: readonly string[]): readonly string[] => inFreshNetns(asNobody(keeper));
    const options = { around, stateOwner: 65534 };
    for (const server of [pythonHttp.command(81), nodeHttp.command(81)]) {
      const keeper = startKeeper(server, options);
      expect(await keeper.process.end()).toEqual({ code: 1, signal: null });
      expect(keeper.process.stderr).toMatch(/EACCES|Permission denied/);
      expect(keeper.process.stderr).toMatch(/holdfast: .*may not bind .*:81: run the keeper as root/);
    }
    const listened = startKeeper(nodeHttp.command(81), { ...options, flags: ['--listen', '81'] });
    expect(await listened.process.end()).toEqual({ code: 2, signal: null });
    expect(listened.process.stderr).toMatch(
      /not allowed to bind .*run the keeper as root.*\[ERR_HOLDFAST_ADDRESS\]/,
    );
  },
);

testNeeding('cc')(
  'an address in TIME_WAIT is no obstacle, neither after a crash nor for a new keeper',
  async () => {
    const port = await freePort();
    const command = trap('blocking-accept').command(port); // no SO_REUSEADDR, and it closes first
    const first = startKeeper(command);
    await first.holding();
    for (let crashes = 0; crashes < 2; crashes++) {
      await outcomeOf(port);
      await until('a TIME_WAIT', () => timeWaits(port) > crashes);
      const pid = await first.crash();
      expect(await outcomeOf(port)).toBe(pid);
    }
    first.process.kill();
    await first.process.end();
    expect(timeWaits(port)).toBeGreaterThan(0);
    const bare = start(command);
    expect((await bare.end()).code).toBe(1);
    expect(bare.stderr).toContain('Address already in use');
    const second = startKeeper(command);
    await second.holding();
    expect(await outcomeOf(port)).toBe(second.worker());
  },
);

testNeeding('cc')('a server that takes long to stop is not said to listen without being kept', async () => {
  const port = await freePort();
  // The look for such listeners comes 5 s after the start.
  const keeper = startKeeper(trap('ignore-sigterm').command(port), { flags: ['--stop-timeout', '6s'] });
  await keeper.holding();
  keeper.process.kill();
  expect(await keeper.process.end()).toEqual({ code: 137, signal: null });
  expect(keeper.process.lines(/not kept|nothing listens/)).toEqual([]);
});

function timeWaits(port: number): number {
  return tcpSockets().filter((socket) => socket.port === port && socket.state === 'TIME_WAIT').length;
}

const TWO_SERVERS = `
import json, os, subprocess, sys
command = json.loads(sys.argv[1])
os.environ['PYTHONUNBUFFERED'] = '1'
first = subprocess.Popen(command, stdout=subprocess.PIPE)
first.stdout.readline() # it listens
print('first is', first.pid, flush=True)
print('second ended with', subprocess.call(command), flush=True)
first.wait()
`;

// Binds 127.0.1.N:PORT and listens there at an appointed moment, one after the other; says where it may.
const LISTENS_AT_ONCE: string = `
import socket, sys, time
port, count, start = (int(text) for text in sys.argv[1:])
kept, listening = [], ''
for index in range(count):
    s = socket.socket()
    try:
        s.bind(('127.0.1.%d' % (index + 1), port))
        moment = start / 1000 + index * 0.02
        time.sleep(max(0, moment - time.time() - 0.001))
        while time.time() < moment: pass
        s.listen(5)
        kept.append(s)
        listening += '1'
    except OSError:
        s.close()
        listening += '0'
print('listening:', listening, flush=True)
time.sleep(60)
`;
