import { expect } from 'vitest';
import { processStat } from '../../src/kernel/procfs.js';
import { testNeeding } from '../support/needing.js';
import { bindOf, PORT, scene } from './scene.js';

const caseNeeding = testNeeding(['netns', 'python3']);
const rootCase = testNeeding(['netns', 'python3', 'root']);

caseNeeding('case 1: a listener is told with its process, its backlog and what it has set', async () => {
  const { actor, why, run } = await scene();
  const server = await actor('a = listener("127.0.0.1", P, reuse=1, backlog=7)');
  const { code, report } = await why(`${PORT}`);
  expect(code).toBe(1);
  expect(report).toMatchObject({
    schema: 1,
    port: PORT,
    verdict: 'held',
    sockets: [
      {
        state: 'LISTEN',
        local: `127.0.0.1:${PORT}`,
        backlog: 7,
        acceptQueue: 0,
        ownerKind: 'process',
        flags: { reuseaddr: true, reuseport: false, source: 'getsockopt', why: null },
        holders: [{ pid: server.pid, leaked: false }],
      },
    ],
    processes: [{ pid: server.pid, startTicks: processStat(server.pid)?.startTime }],
    limits: { complete: true, flagsBlockedBy: null },
  });
  expect(bindOf(report, '0.0.0.0')).toMatchObject({
    expected: 'EADDRINUSE',
    probed: 'EADDRINUSE',
    cause: 'listen',
  });
  expect(bindOf(report, '127.0.0.1', 'RA')).toMatchObject({ expected: 'EADDRINUSE', cause: 'listen' });
  const { stdout } = await run(`why ${PORT}`);
  expect(stdout).toMatch(new RegExp(`^Port ${PORT} is held by .*\\(pid ${server.pid}\\), started `));
  expect(stdout).toContain('socket flags  reuseaddr on, reuseport off');
  expect(stdout.trimEnd().split('\n').length).toBeLessThanOrEqual(25);
});

/** Three connections whose server closed first, and a listener that is gone. */
const leftBehind = (reuse: number): string => `
a = listener("127.0.0.1", P, reuse=${reuse})
for _ in range(3):
    c = client("127.0.0.1", P)
    s, _peer = a.accept()
    s.close()
    c.close()
a.close()`;

caseNeeding(
  'case 2: TIME_WAIT of a server with SO_REUSEADDR is told with its seconds, and that the flag helps',
  async () => {
    const { actor, why, run } = await scene();
    await actor(leftBehind(1));
    const { code, report } = await why(`${PORT}`);
    expect(code).toBe(1);
    expect(report).toMatchObject({ verdict: 'leftovers', sockets: [], processes: [] });
    expect(report.groups).toMatchObject([{ kind: 'time-wait', local: `127.0.0.1:${PORT}`, count: 3 }]);
    const [group] = report.groups;
    if (group === undefined || group.kind === 'reuseport') throw new Error('no group');
    expect(group.maxExpiresMs).toBeGreaterThan(50_000);
    expect(group.maxExpiresMs).toBeLessThanOrEqual(60_000);
    expect(bindOf(report, '0.0.0.0')).toMatchObject({
      probed: 'EADDRINUSE',
      cause: 'leftover-needs-reuseaddr',
    });
    expect(bindOf(report, '0.0.0.0', 'RA')).toMatchObject({ expected: 'unknown', probed: 'ok' });
    expect(report.fixes.map(({ id }) => id)).toEqual(['reuseaddr', 'wait', 'free-leftovers']);
    const { stdout } = await run(`why ${PORT}`);
    expect(stdout).toMatch(
      /^Port 7000 has no owner any more: 3 connections of a server that is gone are in TIME_WAIT\.$/m,
    );
    expect(stdout).toMatch(/first ends in about \d\d s, last in about \d\d s/);
  },
);

caseNeeding(
  'case 3: TIME_WAIT of a server without SO_REUSEADDR: the flag is not offered, waiting and free are',
  async () => {
    const { actor, why } = await scene();
    await actor(leftBehind(0));
    const { report } = await why(`${PORT}`);
    expect(report.verdict).toBe('leftovers');
    expect(bindOf(report, '0.0.0.0', 'RA')).toMatchObject({
      probed: 'EADDRINUSE',
      cause: 'leftover-holder-without-reuseaddr',
    });
    expect(report.fixes.map(({ id }) => id)).toEqual(['wait', 'free-leftovers']);
  },
);

caseNeeding('case 4: a socket that is bound and does not listen is seen, with its process', async () => {
  const { actor, why, run } = await scene();
  const holder = await actor('a = tcp("127.0.0.2", P)');
  const { code, report } = await why(`${PORT}`);
  expect(code).toBe(1);
  expect(report.sockets).toMatchObject([
    {
      state: 'BOUND',
      local: `127.0.0.2:${PORT}`,
      holders: [{ pid: holder.pid }],
      flags: { reuseaddr: false },
    },
  ]);
  expect(bindOf(report, '127.0.0.2')).toMatchObject({ probed: 'EADDRINUSE', cause: 'bound-no-reuse' });
  expect(bindOf(report, '127.0.0.1')).toMatchObject({ probed: 'ok', cause: null });
  expect((await run(`why ${PORT}`)).stdout).toContain('not shown by ss -l, lsof or netstat');
  // It can only be closed by its process: nothing is destroyed.
  const dry = await run(`free ${PORT} --dry-run --json`);
  const { plan } = JSON.parse(dry.stdout) as { plan: { steps: { kind: string; pid: number }[] } };
  expect(plan.steps).toMatchObject([{ kind: 'stop', pid: holder.pid }]);
});

caseNeeding('case 5: what is bound to the next port is not in the answer', async () => {
  const { actor, why } = await scene();
  await actor('a = tcp("127.0.0.1", P)\nb = tcp("127.0.0.1", P + 1)');
  const { report } = await why(`${PORT}`);
  expect(report.sockets.map(({ local }) => local)).toEqual([`127.0.0.1:${PORT}`]);
});

caseNeeding(
  'case 6: FIN_WAIT_2 of an orphan has seconds left, that of a process waits for its peer',
  async () => {
    const { actor, why } = await scene();
    await actor(`
a = listener("127.0.0.1", P, reuse=1)
c = client("127.0.0.1", P)
s, _peer = a.accept()
s.close()
a.close()`);
    const orphan = (await why(`${PORT}`)).report;
    expect(orphan.groups).toMatchObject([{ kind: 'fin-wait-2', count: 1 }]);
    expect(orphan.sockets.filter(({ local }) => local === `127.0.0.1:${PORT}`)).toEqual([]);
    const [group] = orphan.groups;
    if (group === undefined || group.kind === 'reuseport') throw new Error('no group');
    expect(group.maxExpiresMs).toBeGreaterThan(0);

    const owned = await scene();
    const server = await owned.actor(`
a = listener("127.0.0.1", P, reuse=1)
c = client("127.0.0.1", P)
s, _peer = a.accept()
s.shutdown(socket.SHUT_WR)
a.close()`);
    const { report } = await owned.why(`${PORT}`);
    expect(report.sockets).toMatchObject([
      { state: 'FIN_WAIT2', ownerKind: 'process', expiresMs: null, holders: [{ pid: server.pid }] },
    ]);
    expect((await owned.run(`why ${PORT}`)).stdout).toContain(
      'half-closed; waits for the other end, no timer runs',
    );
  },
);

caseNeeding('case 7: CLOSE_WAIT names the process that has not closed', async () => {
  const { actor, why, run } = await scene();
  const server = await actor(`
a = listener("127.0.0.1", P, reuse=1)
c = client("127.0.0.1", P)
s, _peer = a.accept()
c.close()
a.close()`);
  const { report } = await why(`${PORT}`);
  expect(report.verdict).toBe('held');
  expect(report.sockets).toMatchObject([{ state: 'CLOSE_WAIT', holders: [{ pid: server.pid }] }]);
  const { stdout } = await run(`why ${PORT}`);
  expect(stdout).toContain('the other end has closed, the application has not');
  expect(stdout).toContain(`(pid ${server.pid})`);
});

caseNeeding('case 8: connections that nobody accepts belong to the queue of the listener', async () => {
  const { actor, why, run } = await scene();
  await actor('a = listener("127.0.0.1", P)\nc = [client("127.0.0.1", P) for _ in range(2)]');
  const { report } = await why(`${PORT}`);
  expect(report.sockets.filter(({ ownerKind }) => ownerKind === 'queue-of-listener')).toHaveLength(2);
  expect(report.sockets.find(({ state }) => state === 'LISTEN')).toMatchObject({
    acceptQueue: 2,
    ownerKind: 'process',
  });
  expect((await run(`why ${PORT}`)).stdout).toContain('2 connected and not yet accepted');
});

caseNeeding('case 9: a socket that leaked into a child of a dead server is told as leaked', async () => {
  const { actor, why, run } = await scene();
  const server = await actor(`
a = listener("127.0.0.1", P)
a.set_inheritable(True)
child = subprocess.Popen(["sleep", "600"], close_fds=False)
print("child", child.pid, flush=True)`);
  const child = Number((await server.line(/^child (\d+)$/))[1]);
  const both = (await why(`${PORT}`)).report;
  expect(both.sockets[0]?.holders).toMatchObject([
    { pid: server.pid, leaked: false },
    { pid: child, leaked: true, waits: false },
  ]);
  server.kill('SIGKILL');
  await server.exited;
  const { report } = await why(`${PORT}`);
  expect(report.sockets[0]?.holders).toMatchObject([{ pid: child, leaked: true }]);
  const { stdout } = await run(`why ${PORT}`);
  expect(stdout).toMatch(
    new RegExp(`is held by a process that does nothing with it: sleep \\(pid ${child}\\)`),
  );
  expect(stdout).toContain('the process that started it is gone');
  const freed = await run(`free ${PORT} -y`);
  expect(freed.code).toBe(0);
  expect(freed.stdout).toContain(`pid ${child} ended by SIGTERM`);
});

caseNeeding(
  'case 10: two servers at the two addresses of localhost are told apart, and one is freed alone',
  async () => {
    const { actor, why, run } = await scene();
    const four = await actor('a = listener("127.0.0.1", P, reuse=1)');
    const six = await actor('a = listener("::1", P, reuse=1)');
    const { report } = await why(`${PORT}`);
    expect(report.summary).toContain('is held twice, by different servers');
    const cookieOf = (pid: number): string | undefined =>
      report.sockets.find(({ holders }) => holders[0]?.pid === pid)?.cookie;
    expect(report.localhost).toMatchObject({ ipv4: cookieOf(four.pid), ipv6: cookieOf(six.pid) });
    expect(report.localhost?.order).toContain('127.0.0.1');
    expect((await run(`why ${PORT}`)).stdout).toContain(`What localhost:${PORT} reaches`);
    const freed = await run(`free ${PORT} --host ::1 -y`);
    expect(freed.code).toBe(0);
    expect(six.exit ?? (await six.exited)).toMatchObject({ signal: 'SIGTERM' });
    expect(processStat(four.pid)?.state).not.toBe('Z');
    expect(four.exit).toBeUndefined();
  },
);

caseNeeding('case 11: a dual-stack listener is in the way of IPv4 addresses too', async () => {
  const { actor, why } = await scene();
  await actor('a = listener("::", P, v6only=0)');
  const { report } = await why(`${PORT}`);
  for (const host of ['0.0.0.0', '127.0.0.1']) {
    expect(bindOf(report, host)).toMatchObject({
      expected: 'EADDRINUSE',
      probed: 'EADDRINUSE',
      cause: 'dualstack-meets-v4',
    });
  }
  expect(report.localhost).toBeNull();
});

caseNeeding('case 12: a listener with IPV6_V6ONLY leaves IPv4 free', async () => {
  const { actor, why } = await scene();
  await actor('a = listener("::", P, v6only=1)');
  const { code, report } = await why(`${PORT}`);
  expect(code).toBe(1);
  expect(bindOf(report, '0.0.0.0')).toMatchObject({ expected: 'ok', probed: 'ok', cause: 'v6only-free' });
  expect(bindOf(report, '::')).toMatchObject({
    expected: 'EADDRINUSE',
    probed: 'EADDRINUSE',
    cause: 'listen',
  });
  const four = await why(`0.0.0.0:${PORT}`);
  expect(four).toMatchObject({ code: 0, report: { verdict: 'free', host: '0.0.0.0' } });
});

rootCase('case 13: an SO_REUSEPORT group is one group, open to its own user only', async () => {
  const { actor, why, run } = await scene();
  const first = await actor('a = [listener("127.0.0.1", P, reuseport=1) for _ in range(2)]');
  const second = await actor('a = listener("127.0.0.1", P, reuseport=1)');
  const { report } = await why(`${PORT}`);
  const group = report.groups.find(({ kind }) => kind === 'reuseport');
  expect(group).toMatchObject({ local: `127.0.0.1:${PORT}`, uids: [0] });
  expect(group?.kind === 'reuseport' && group.cookies).toHaveLength(3);
  expect(new Set(report.processes.map(({ pid }) => pid))).toEqual(new Set([first.pid, second.pid]));
  expect(bindOf(report, '127.0.0.1', 'RP')).toMatchObject({ expected: 'ok', probed: null, cause: null });
  const other = await why(`127.0.0.1:${PORT}`, { uid: 65_534 });
  expect(bindOf(other.report, '127.0.0.1', 'RP')).toMatchObject({ probed: 'EADDRINUSE' });
  const predicted = await run(`predict bind 127.0.0.1:${PORT} --reuse-port --uid 1000 --json`);
  expect(JSON.parse(predicted.stdout)).toMatchObject({
    outcomes: expect.arrayContaining([expect.objectContaining({ rule: 'reuseport-same-user' })]),
  });
});

caseNeeding(
  'case 14: a client that sits on the port is told as such, and so is how to keep it from coming back',
  async () => {
    const { actor, why, run } = await scene({ 'net.ipv4.ip_local_port_range': `${PORT} ${PORT}` });
    const holder = await actor('a = listener("127.0.0.1", P + 9)\nc = client("127.0.0.1", P + 9)');
    const { code, report } = await why(`${PORT}`);
    expect(code).toBe(1);
    expect(report.sockets).toMatchObject([
      { state: 'ESTABLISHED', local: `127.0.0.1:${PORT}`, holders: [{ pid: holder.pid }] },
    ]);
    for (const options of ['plain', 'RA', 'RP', 'RA+RP']) {
      expect(bindOf(report, '127.0.0.1', options)).toMatchObject({
        probed: 'EADDRINUSE',
        cause: 'outgoing-connection',
      });
    }
    expect((await why(`127.0.0.9:${PORT}`)).report).toMatchObject({ verdict: 'free' });
    expect(report.fixes.map(({ id }) => id)).toContain('reserve-port');
    // Its process is left alone.
    const refused = await run(`free ${PORT} -y`);
    expect(refused.code).toBe(1);
    expect(refused.stdout).toContain('--connection resets it and leaves the process alone');
    expect(holder.exit).toBeUndefined();

    const outside = await scene();
    await outside.actor(
      'a = listener("127.0.0.1", P + 9)\nc = tcp("127.0.0.1", P)\nc.connect(("127.0.0.1", P + 9))',
    );
    const { report: explicit } = await outside.why(`${PORT}`);
    expect(explicit.fixes.map(({ id }) => id)).not.toContain('reserve-port');
  },
);

caseNeeding('case 15: a server that needs a moment to end is given it', async () => {
  const { actor, run } = await scene();
  const server = await actor(`
a = listener("127.0.0.1", P, reuse=1)
def end(*_):
    time.sleep(0.3)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)`);
  const { code, stdout } = await run(`free ${PORT} -y --json`);
  expect(code).toBe(0);
  const { ended, freed } = JSON.parse(stdout) as {
    freed: string;
    ended: { pid: number; by: string; ms: number }[];
  };
  expect(freed).toBe('yes');
  expect(ended).toMatchObject([{ pid: server.pid, by: 'SIGTERM' }]);
  expect(ended[0]?.ms).toBeGreaterThan(290);
  expect(await server.exited).toEqual({ code: 0, signal: null });
});

rootCase(
  'case 16: thousands of TIME_WAIT are one line, and are gone at once when freed',
  async () => {
    const { actor, why, run } = await scene();
    const count = 5_000;
    await actor(`
a = listener("0.0.0.0", P, reuse=1)
for i in range(${count}):
    c = tcp("127.0.0.1", 10000 + i, reuse=1)
    c.connect(("127.0.0.2", P))
    s, _peer = a.accept()
    s.close()
    c.close()
a.close()`);
    const { report } = await why(`${PORT}`);
    expect(report.groups).toMatchObject([{ kind: 'time-wait', count }]);
    expect(report.sockets).toEqual([]);
    const { code, stdout } = await run(`free ${PORT} -y --json`);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      freed: 'yes',
      ended: [],
      destroyed: count,
      report: { verdict: 'free' },
    });
  },
  60_000,
);
