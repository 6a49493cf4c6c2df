import { readFileSync, readlinkSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { expect, test } from 'vitest';
import { bodyOf } from '../support/http.js';
import { asNobody, holdfast, type RunningKeeper, startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { isAlive, listeners } from '../support/proc.js';
import { start } from '../support/process.js';
import { gunicorn, nginx, nodeHttp, pythonHttp, type TestServer } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { sh } from './inline.js';
import { expectNothingFailed, reloaded, settled } from './reloads.js';

for (const server of [nodeHttp, pythonHttp, gunicorn]) {
  testNeeding(server.needs)(
    `${server.name}: a server that runs is adopted by its port, goes on, survives a crash, and is reloaded`,
    async () => {
      const port = await freePort();
      const { bare, keeper } = await adopted(server, port);
      const inodes = listeners(port).map(({ inode }) => inode);
      expect(keeper.state().command).toEqual(commandLineOf(bare.pid));
      const load = startLoad({ port, ratePerSecond: 200 });
      await until('answers', () => load.counts().ok > 20);
      const next = await keeper.crash();
      await keeper.process.line(/is served again/);
      expect(listeners(port).map(({ inode }) => inode)).toEqual(inodes);
      await until('answers', () => load.counts().ok > 200, { timeoutMs: 10_000 });
      const { refused, hung } = load.counts();
      expect({ refused, hung }).toEqual({ refused: 0, hung: 0 });
      await load.stop();
      const quiet = startLoad({ port, ratePerSecond: 200 });
      expect(await reloaded(keeper)).not.toBe(next);
      await settled(keeper);
      await expectNothingFailed(quiet.stop());
    },
    60_000,
  );
}

test('the first reload of an adopted server fails no request', async () => {
  const port = await freePort();
  const { bare, keeper } = await adopted(nodeHttp, port);
  const load = startLoad({ port, ratePerSecond: 200 });
  await until('answers', () => load.counts().ok > 20);
  await reloaded(keeper);
  await settled(keeper);
  await expectNothingFailed(load.stop());
  expect(isAlive(bare.pid)).toBe(false);
});

for (const isReleased of [false, true]) {
  const left = isReleased ? 'a released port' : 'a server';
  test(`the name of a keeper that was killed and has left ${left} is not given to another server`, async () => {
    const [port, other] = [await freePort(), await freePort()];
    const killed = startKeeper(nodeHttp.command(port));
    await killed.holding();
    if (isReleased) expect((await killed.ask('release', 'app')).exit.code).toBe(0);
    killed.process.kill('SIGKILL');
    await killed.process.end();
    const bare = start(nodeHttp.command(other));
    await bare.listening(other);
    const refused = start([...holdfast, 'adopt', `${other}`, '--name', 'app'], { env: killed.env });
    expect((await refused.end()).code).toBe(2);
    expect(refused.stderr).toMatch(
      /named "app" was killed and (had released its port|left its server): .*ERR_HOLDFAST_ADOPT/,
    );
    expect(isAlive(bare.pid)).toBe(true);
    // It has lost nothing.
    const next = startKeeper(nodeHttp.command(port), { beside: killed });
    await next.process.line(isReleased ? /stays released/ : /took over the server/);
    const named = start([...holdfast, 'adopt', `${other}`, '--name', 'other'], { env: killed.env });
    await named.line(/took over the server/);
  });
}

test('an adopted server ends with its keeper, and its port is free', async () => {
  const port = await freePort();
  const { bare, keeper } = await adopted(nodeHttp, port);
  await keeper.ask('stop', keeper.name);
  await keeper.process.end();
  expect(isAlive(bare.pid)).toBe(false);
  expect(listeners(port)).toEqual([]);
});

testNeeding('root')(
  'what is started in its place runs as it did: user, groups, limits, folder, environment',
  async () => {
    const port = await freePort();
    const folder = temporaryFolder();
    const command = asNobody(sh('ulimit -n 300; ulimit -c 0; exec "$@"', ...nodeHttp.command(port)));
    const bare = start(command, { cwd: folder, env: { HOLDFAST_TEST_WORD: 'kept' } });
    await bare.listening(port);
    const facts = factsOf(bare.pid);
    const keeper = adopt(`${port}`);
    await keeper.process.line(/took over the server/);
    const next = await keeper.crash();
    await bodyOf(port);
    expect(factsOf(next)).toEqual(facts);
    expect(facts).toMatchObject({ uid: '65534', files: '300 300', directory: folder, word: 'kept' });
  },
);

test('a process is adopted by its number', async () => {
  const port = await freePort();
  const bare = start(nodeHttp.command(port));
  await bare.listening(port);
  const keeper = adopt(`pid:${bare.pid}`);
  await keeper.process.line(new RegExp(`took over the server, pid ${bare.pid}, and \\[::\\]:${port}$`));
});

test('another command may be named, which the next start runs', async () => {
  const port = await freePort();
  const bare = start(nodeHttp.command(port));
  await bare.listening(port);
  const keeper = adopt(`${port}`, '--', ...nodeHttp.command(port), '--delay', '1');
  await keeper.process.line(/took over the server/);
  const next = await keeper.crash();
  expect(commandLineOf(next)).toContain('--delay');
});

testNeeding(nginx.needs)(
  'nginx: of a server with a title over its environment that is told, and the next start has ours',
  async () => {
    const port = await freePort();
    const bare = start(nginx.command(port));
    await bare.listening(port);
    const [program = '', ...args] = nginx.command(port);
    const keeper = adopt(`pid:${bare.pid}`, '--', basename(program), ...args, {
      env: { PATH: `${dirname(program)}:${process.env.PATH}` },
    });
    await keeper.process.line(/took over the server/);
    await keeper.process.line(
      /written a title over its environment: what is started in its place gets that of this command/,
    );
    const next = await reloaded(keeper);
    expect(next).not.toBe(bare.pid);
    await settled(keeper);
    expect(await bodyOf(port)).toContain('pid ');
  },
);

test('of a server with a title of one word the command is asked for', async () => {
  const port = await freePort();
  const code = `process.title = 'shop'; require('node:http').createServer().listen(${port}, '127.0.0.1')`;
  const bare = start([process.execPath, '-e', code]);
  await bare.listening(port);
  await until('the title', () => commandLineOf(bare.pid)[0] === 'shop');
  const keeper = adopt(`${port}`);
  expect(await keeper.process.end()).toEqual({ code: 2, signal: null });
  expect(keeper.process.stderr).toContain(
    'has a title in place of its command line; say after -- how it is started',
  );
});

test('what cannot be adopted is told, and nothing is left', async () => {
  const port = await freePort();
  const none = adopt(`${port}`);
  expect(await none.process.end()).toEqual({ code: 2, signal: null });
  expect(none.process.stderr).toContain(`nobody listens on port ${port}`);
  const wrong = adopt('web');
  expect(await wrong.process.end()).toEqual({ code: 2, signal: null });
  expect(wrong.process.stderr).toContain('web: write a port, 8080, or a process, pid:1234');
  const kept = startKeeper(nodeHttp.command(port));
  await kept.holding();
  const again = start([...holdfast, 'adopt', `${port}`, '--name', 'other'], { env: kept.env });
  expect(await again.end()).toEqual({ code: 2, signal: null });
  expect(again.stderr).toContain(`port ${port} is kept by holdfast already, as "app"`);
});

testNeeding('root')('a server of another user is not adopted without root', async () => {
  const port = await freePort();
  const bare = start(nodeHttp.command(port));
  await bare.listening(port);
  const keeper = adopt(`${port}`, { around: asNobody, stateOwner: 65534 });
  expect(await keeper.process.end()).toEqual({ code: 2, signal: null });
  expect(keeper.process.stderr).toMatch(/run holdfast as root/);
  expect(isAlive(bare.pid)).toBe(true);
});

async function adopted(
  server: TestServer,
  port: number,
): Promise<{ readonly bare: ReturnType<typeof start>; readonly keeper: RunningKeeper }> {
  const bare = start(server.command(port));
  await bare.listening(port);
  const keeper = adopt(`${port}`);
  await keeper.process.line(/took over the server/);
  return { bare, keeper };
}

interface Around {
  readonly around?: (command: readonly string[]) => readonly string[];
  readonly stateOwner?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** `holdfast adopt TARGET`, as the keeper that `startKeeper` gives. */
function adopt(target: string, ...rest: readonly (string | Around)[]): RunningKeeper {
  const words = rest.filter((word) => typeof word === 'string');
  const { around = (command: readonly string[]) => command, ...options } =
    rest.find((word) => typeof word === 'object') ?? {};
  return startKeeper([], {
    ...options,
    around: () => around([...holdfast, 'adopt', target, '--name', 'app', ...words]),
  });
}

function commandLineOf(pid: number): readonly string[] {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
}

function factsOf(pid: number): Readonly<Record<string, string | undefined>> {
  const field = (file: string, pattern: RegExp): string | undefined =>
    pattern
      .exec(readFileSync(`/proc/${pid}/${file}`, 'utf8'))
      ?.slice(1)
      .join(' ');
  return {
    uid: field('status', /^Uid:\t(\d+)/m),
    gid: field('status', /^Gid:\t(\d+)/m),
    groups: field('status', /^Groups:\t(.*)$/m),
    cgroup: readFileSync(`/proc/${pid}/cgroup`, 'utf8'),
    files: field('limits', /^Max open files +(\d+) +(\d+)/m),
    core: field('limits', /^Max core file size +(\d+) +(\S+)/m),
    directory: readlinkSync(`/proc/${pid}/cwd`),
    word: field('environ', /HOLDFAST_TEST_WORD=(\w+)/),
  };
}
