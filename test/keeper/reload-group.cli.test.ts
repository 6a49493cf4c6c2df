import { expect, test } from 'vitest';
import { startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { openNetns } from '../support/netns.js';
import { freePort } from '../support/ports.js';
import { isAlive, listeners } from '../support/proc.js';
import { start } from '../support/process.js';
import { nodeHttp, trap } from '../support/servers.js';
import { until } from '../support/wait.js';
import { answerIn, outcomeOf } from './clients.js';
import { ANSWER, changingCommand, IMPORTS, listenersPy, python } from './programs.js';
import { reloaded, settled } from './reloads.js';

const CLIENTS = 60;

testNeeding('python3')('trap 5.1: after reloads a stranger in the group gets no connection', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port, '--host', '127.0.0.1'));
  await keeper.holding();
  for (let reloads = 0; reloads < 3; reloads++) {
    const worker = await reloaded(keeper);
    await settled(keeper);
    const stranger = start(python(STRANGER, port));
    await stranger.line(/^(listens|refused)/);
    const answers = await Promise.all(Array.from({ length: CLIENTS }, () => outcomeOf(port)));
    expect(new Set(answers)).toEqual(new Set([worker]));
    stranger.kill('SIGKILL');
    await stranger.end();
    expect(await outcomeOf(port)).toBe(worker);
  }
});

testNeeding('cc')(
  'trap 2.5: a program with sockets of its own in a group is reloaded with all of them',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(trap('reuseport-many').command(port));
    await keeper.holding();
    // The first is held while the others are still to listen.
    await keeper.process.line(/^listening on/);
    const { length } = listeners(port);
    expect(length).toBeGreaterThan(1);
    for (let reloads = 0; reloads < 3; reloads++) {
      const worker = await reloaded(keeper);
      const answers = await Promise.all(Array.from({ length: CLIENTS }, () => outcomeOf(port)));
      expect(new Set(answers)).toEqual(new Set([worker]));
      await settled(keeper);
      expect(listeners(port)).toHaveLength(length);
    }
  },
);

test('trap 5.6: a candidate is ready when it listens on every port of its predecessor', async () => {
  const [one, two] = [await freePort(), await freePort()];
  const late = `setTimeout(() => server().listen(${two}, '127.0.0.1'), 2_000)`;
  const code = `
    const server = () => require('node:http').createServer((q, r) => r.end('pid ' + process.pid + '\\n'));
    server().listen(${one}, '127.0.0.1'); ${late};`;
  const keeper = startKeeper([process.execPath, '-e', code]);
  await keeper.holding(2);
  const former = keeper.worker();
  const reload = keeper.ask('reload', keeper.name);
  await until('the candidate listens on the first', () => listeners(one).length === 2);
  expect([await outcomeOf(one), await outcomeOf(two)]).toEqual([former, former]);
  expect((await reload).exit.code).toBe(0);
  await settled(keeper);
  const { worker } = keeper.state();
  expect([await outcomeOf(one), await outcomeOf(two)]).toEqual([worker?.pid, worker?.pid]);
  expect(isAlive(former)).toBe(false);
});

testNeeding('python3')(
  'trap 1.10: IPv6 only in the place of both is another address, which is told',
  async () => {
    const port = await freePort();
    const { command, become } = changingCommand(listenersPy(`[::]:${port},dual`));
    const keeper = startKeeper(command);
    await keeper.holding();
    const worker = keeper.worker();
    become(listenersPy(`[::]:${port},v6only`));
    const { exit, stderr } = await keeper.ask('reload', keeper.name);
    expect({ code: exit.code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/exited with 1 before it was ready/),
    });
    for (const host of ['127.0.0.1', '::1']) expect(await outcomeOf(port, { host })).toBe(worker);
  },
);

testNeeding('python3')('trap 2.6: an MPTCP server is reloaded as one of TCP', async () => {
  const port = await freePort();
  const keeper = startKeeper(listenersPy(`127.0.0.1:${port},mptcp`));
  await keeper.holding();
  for (let reloads = 0; reloads < 3; reloads++) {
    const worker = await reloaded(keeper);
    const answers = await Promise.all(Array.from({ length: CLIENTS }, () => outcomeOf(port)));
    expect(new Set(answers)).toEqual(new Set([worker]));
  }
});

const STRANGER: string = `${IMPORTS}, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
try:
    s.bind(('127.0.0.1', int(sys.argv[1])))
    s.listen(16)
    print('listens', flush=True)
except OSError as error:
    print('refused', error, flush=True)
time.sleep(60)
`;

testNeeding(['root', 'netns', 'python3'])(
  'a server of another user on port 80 of --listen is reloaded: each generation has a socket of its own',
  async () => {
    const netns = await openNetns();
    const keeper = startKeeper(listenersPy('fd:3'), {
      around: (command) => netns.command(command),
      flags: ['--listen', '80', '--user', 'nobody'],
    });
    await keeper.holding();
    await keeper.process.line(/^ready pid/);
    for (let reloads = 1; reloads <= 3; reloads++) {
      const worker = await reloaded(keeper);
      for (let asked = 0; asked < 5; asked++)
        expect(await answerIn(netns, 80), keeper.process.stderr).toContain(`pid ${worker}\n`);
      await settled(keeper);
      expect(listeners(80, netns.pid)).toHaveLength(1);
    }
  },
);

testNeeding(['root', 'netns', 'python3'])(
  'trap 1.9: a server that changes its user before it binds joins the group of its predecessor',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(python(AS_NOBODY, port));
    await keeper.holding();
    for (let reloads = 1; reloads <= 2; reloads++) {
      const worker = await reloaded(keeper);
      expect(await outcomeOf(port)).toBe(worker);
      await settled(keeper);
    }
  },
);

const AS_NOBODY: string = `${IMPORTS}
import ctypes
os.setgroups([]); os.setgid(65534); os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1)
${ANSWER}
s = socket.create_server(('127.0.0.1', int(sys.argv[1])))
serve(s)
`;
