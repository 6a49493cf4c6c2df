import { expect, test } from 'vitest';
import { runHoldfast } from '../cli/holdfast.js';
import { testNeeding } from '../support/needing.js';
import { openNetns } from '../support/netns.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { bindOf, NOBODY, PORT, scene } from './scene.js';

const needing = testNeeding(['netns', 'python3']);
const rootNeeding = testNeeding(['netns', 'python3', 'root']);

needing('a free port is told as free, with exit 0', async () => {
  const { why, run } = await scene();
  const { code, report } = await why(`${PORT}`);
  expect(code).toBe(0);
  expect(report).toMatchObject({ verdict: 'free', sockets: [], processes: [], fixes: [], groups: [] });
  expect(bindOf(report, '0.0.0.0')).toMatchObject({ expected: 'ok', probed: 'ok', rule: 'port-free' });
  expect((await run(`why ${PORT}`)).stdout).toContain(`Port ${PORT} is free: a bind is expected to succeed`);
});

rootNeeding('of another user’s server an ordinary user is told the user, and how to see more', async () => {
  const { actor, why, run } = await scene();
  await actor('a = listener("127.0.0.1", P, reuse=1)');
  const { code, report } = await why(`${PORT}`, { uid: NOBODY });
  expect(code).toBe(1);
  expect(report).toMatchObject({
    verdict: 'held',
    sockets: [
      { ownerKind: 'hidden', user: 'root', holders: [], flags: { source: 'unknown', reuseaddr: null } },
    ],
    limits: { flagsBlockedBy: 'permission', complete: false },
  });
  expect(report.limits.hiddenProcesses).toBeGreaterThan(0);
  expect(report.fixes[0]).toMatchObject({
    id: 'look-as-root',
    command: ['sudo', 'holdfast', 'why', `${PORT}`],
  });
  const { stdout } = await run(`why ${PORT}`, { uid: NOBODY });
  expect(stdout).toContain('is held by a process of root; this user may not see which one.');
  expect(stdout).not.toContain('kernel itself');
  // What a bind meets does not depend on who looks.
  expect(bindOf(report, '127.0.0.1')).toMatchObject({ probed: 'EADDRINUSE', cause: 'listen' });
});

rootNeeding(
  'a socket that is on its way in a message is nobody’s that can be seen, and not the kernel’s',
  async () => {
    const { actor, why, run } = await scene();
    await actor(`
a = listener("127.0.0.1", P)
left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
socket.send_fds(left, [b"x"], [a.fileno()])
a.close()`);
    const { code, report } = await why(`${PORT}`);
    expect(code).toBe(1);
    expect(report.sockets).toMatchObject([{ state: 'LISTEN', holders: [] }]);
    // Not even root may look into every process of some machines.
    expect(report.sockets[0]?.ownerKind).toBe(report.limits.hiddenProcesses === 0 ? 'unseen' : 'hidden');
    const { stdout } = await run(`why ${PORT}`);
    expect(stdout).toContain('on its way in a message');
    expect(stdout).not.toContain('kernel itself');
  },
);

rootNeeding('a port below 1024 is free and blocked for an ordinary user, with exit 4', async () => {
  const { why } = await scene();
  const { code, report } = await why('80', { uid: NOBODY });
  expect(code).toBe(4);
  expect(report.verdict).toBe('blocked');
  expect(bindOf(report, '0.0.0.0')).toMatchObject({
    expected: 'EACCES',
    probed: 'EACCES',
    cause: 'privileged-port',
  });
  expect(report.fixes.map(({ id }) => id)).toEqual([
    'unprivileged-port',
    'keeper',
    'unprivileged-port-start',
  ]);
});

needing('an address that no interface has is told as such, with exit 4', async () => {
  const { why } = await scene();
  const { code, report } = await why(`192.0.2.1:${PORT}`);
  expect(code).toBe(4);
  expect(bindOf(report, '192.0.2.1')).toMatchObject({ probed: 'EADDRNOTAVAIL', cause: 'address-not-local' });
  expect(report.summary).toContain('no interface has that address');
});

/** The listener never allowed sharing; a bind beside it made the port remember SO_REUSEPORT. */
const REMEMBERED = `
a = listener("::", P, v6only=1, reuse=1)
b = tcp("0.0.0.0", P, reuseport=1)
b.close()`;

needing(
  'where the kernel remembers what cannot be seen, the bind that was tried counts and the difference is told',
  async () => {
    const { actor, why } = await scene();
    await actor(REMEMBERED);
    const { report } = await why(`${PORT}`);
    const bind = bindOf(report, '::', 'RP');
    expect(bind).toMatchObject({ expected: 'EADDRINUSE', probed: 'ok', cause: 'bucket-cache' });
    const again = await scene();
    await again.actor(REMEMBERED);
    const { stdout } = await again.run(`why [::]:${PORT} -v`);
    expect(stdout).toMatch(
      /SO_REUSEPORT.*: works when tried, though EADDRINUSE was expected: the kernel remembers/,
    );
  },
);

needing('--no-probe tries nothing', async () => {
  const { actor, why } = await scene();
  await actor('a = listener("127.0.0.1", P)');
  const { report } = await why(`${PORT} --no-probe`);
  expect(report.bind.every(({ probed }) => probed === null)).toBe(true);
  expect(report.verdict).toBe('held');
});

needing('a listener without SO_REUSEADDR is warned of, with the line of its language', async () => {
  const { actor, why } = await scene();
  await actor('a = listener("127.0.0.1", P)');
  const { report } = await why(`${PORT}`);
  expect(report.warnings).toMatchObject([
    {
      id: 'listener-without-reuseaddr',
      lines: ['Python: sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)'],
    },
  ]);
  const other = await scene();
  await other.actor('a = listener("127.0.0.1", P, reuse=1)');
  expect((await other.why(`${PORT}`)).report.warnings).toEqual([]);
});

needing('whether another user could bind one address of a wildcard is told from the rules', async () => {
  const open = await scene();
  await open.actor('a = tcp("0.0.0.0", P, reuse=1)');
  expect((await open.why(`${PORT}`)).report.warnings.map(({ id }) => id)).toContain('more-specific-bind');
  const shut = await scene();
  await shut.actor('a = listener("0.0.0.0", P, reuse=1)');
  const { report } = await shut.why(`${PORT}`);
  expect(report).toMatchObject({
    warnings: [],
    takeover: { address: `127.0.0.1:${PORT}`, possible: false, rule: 'listener-not-shared' },
  });
  expect((await shut.run(`why ${PORT} -v`)).stdout).toContain('Another user cannot take its connections');
});

needing(
  'several ports and ranges are answered one after another; free ones of a range are counted',
  async () => {
    const { actor, why, run } = await scene();
    await actor('a = listener("127.0.0.1", P)\nb = listener("127.0.0.1", P + 2)');
    const { code, stdout } = await run(`why ${PORT}-${PORT + 4}`);
    expect(code).toBe(1);
    expect(stdout).toContain(`Port ${PORT} is held by`);
    expect(stdout).toContain(`Port ${PORT + 2} is held by`);
    expect(stdout).not.toContain(`Port ${PORT + 1}`);
    expect(stdout).toMatch(/^3 ports are free\.$/m);
    const { report } = await why(`${PORT + 1} 127.0.0.1:${PORT + 2}`);
    expect(Array.isArray(report) && report.map(({ verdict }: { verdict: string }) => verdict)).toEqual([
      'free',
      'held',
    ]);
  },
);

needing('--all has a line for every port that somebody has', async () => {
  const { actor, run } = await scene();
  const server = await actor('a = listener("127.0.0.1", P)\nb = tcp("127.0.0.1", P + 2)');
  const { code, stdout } = await run('why --all');
  expect(code).toBe(1);
  expect(stdout.trimEnd().split('\n')).toEqual([
    expect.stringMatching(new RegExp(`^Port ${PORT} is held by .*\\(pid ${server.pid}\\)`)),
    expect.stringMatching(new RegExp(`^Port ${PORT + 2} is reserved by .*\\(pid ${server.pid}\\)`)),
  ]);
});

needing('a UDP port is told with its process', async () => {
  const { actor, why } = await scene();
  const server = await actor(`
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
a.bind(("127.0.0.1", P))`);
  expect((await why(`${PORT}`)).report.verdict).toBe('free');
  const { code, report } = await why(`${PORT} --udp`);
  expect(code).toBe(1);
  expect(report).toMatchObject({ protocol: 'udp', sockets: [{ holders: [{ pid: server.pid }] }] });
  expect(report.summary).toContain(`UDP port ${PORT} is held by`);
  expect(bindOf(report, '127.0.0.1')).toMatchObject({ expected: 'EADDRINUSE', probed: 'EADDRINUSE' });
});

rootNeeding(
  'a listener in another network namespace is told as elsewhere and stands in nobody’s way',
  async () => {
    const here = await scene();
    const there = await openNetns();
    const server = start(
      there.command([binaryOf('python3'), '-m', 'http.server', `${PORT}`, '--bind', '127.0.0.1']),
    );
    await server.listening(PORT);
    const { code, report } = await here.why(`${PORT}`);
    expect(code).toBe(0);
    expect(report.elsewhere).toContainEqual(
      expect.objectContaining({
        sockets: [{ state: 'LISTEN', local: `127.0.0.1:${PORT}`, pids: [server.pid] }],
      }),
    );
    expect(report.summary).toContain('it is taken in another network namespace');
    expect((await here.run(`why ${PORT}`)).stdout).toContain('In other network namespaces, not in your way');
  },
);

needing('a process whose first thread has ended is still named', async () => {
  const { actor, why } = await scene();
  const server = await actor(`
import ctypes, threading
a = listener("127.0.0.1", P)
def live():
    while True: time.sleep(1)
threading.Thread(target=live).start()
print("ready", flush=True)
ctypes.CDLL(None).pthread_exit(None)`);
  const { report } = await why(`${PORT}`);
  expect(report.processes).toMatchObject([{ pid: server.pid, zombieLeader: true }]);
  server.kill('SIGKILL');
  await server.exited;
});

needing('the answer has at most 25 lines, and -v has every row', async () => {
  const { actor, run } = await scene();
  await actor('a = [listener("127.0.0.1", P, reuseport=1) for _ in range(12)]');
  const short = (await run(`why ${PORT}`)).stdout.trimEnd().split('\n');
  expect(short.length).toBeLessThanOrEqual(25);
  const long = (await run(`why ${PORT} -v`)).stdout;
  expect(long.match(/^ {2}LISTEN /gm)).toHaveLength(12);
});

test.each([
  ['why', /which port\? write 8080, 127\.0\.0\.1:8080/],
  ['why 0', /0: a port is a number from 1 to 65535/],
  ['why 70000', /70000: a port is a number from 1 to 65535/],
  ['why http', /http: it has no port; the forms are/],
  ['why 9000-8000', /9000-8000: the range ends before it begins/],
  ['why localhost:80', /localhost is two addresses; ask for 127\.0\.0\.1 or \[::1\]/],
  ['why 300.1.1.1:80', /"300\.1\.1\.1" is no IP address/],
  ['free 8000-8010', /8000-8010: it takes one port/],
  ['wait 8080', /wait for what\? either --free or --listening/],
  ['wait 8080 --free --listening', /either --free or --listening/],
])('"%s" exits 2 and says what is wrong', async (line, says) => {
  const { code, stdout, stderr } = await runHoldfast(line.split(' '));
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(says);
});
