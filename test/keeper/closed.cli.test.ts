import { expect, test } from 'vitest';
import { pathOf } from '../../scripts/requirements.js';
import { findHolders } from '../../src/keeper/holder.js';
import { close } from '../../src/kernel/fd.js';
import { processStat } from '../../src/kernel/procfs.js';
import { socketInode, streamSocket } from '../../src/kernel/socket.js';
import { bodyOf } from '../support/http.js';
import { asNobody, type RunningKeeper, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { isAlive, openFiles } from '../support/proc.js';
import { nodeHttp, trapPath } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { reloaded } from './reloads.js';
import { inodesOf } from './sockets.js';
import { killedNow, stateOf } from './successors.js';

/** A keeper that may copy nothing out of other processes, as with Yama out of those of an earlier keeper. */
const closed = (keeper: readonly string[]): readonly string[] => [trapPath('deny'), 'others', ...keeper];

/** One that may copy what a holder has. */
const closedServers = (keeper: readonly string[]): readonly string[] => [
  trapPath('deny'),
  'servers',
  ...keeper,
];

testNeeding('cc')('a server whose sockets may not be copied is left as it is, for one who may', async () => {
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port));
  await first.holding();
  const [worker, inodes] = [first.worker(), inodesOf(port)];
  await killed(first);
  const refused = startKeeper(nodeHttp.command(port), { beside: first, around: closed });
  expect(await refused.process.end()).toEqual({ code: 2, signal: null });
  expect(refused.process.stderr).toMatch(
    new RegExp(`may not be looked into.*Nothing was changed.*kill ${worker} \\[ERR_HOLDFAST_TAKE_OVER\\]`),
  );
  expect(isAlive(holderOf(first))).toBe(true);
  expect(await bodyOf(port)).toContain(`pid ${worker}`);
  const next = startKeeper(nodeHttp.command(port), { beside: first });
  await next.process.line(/took over the server/);
  expect(inodesOf(port)).toEqual(inodes);
  expect(await reloaded(next)).not.toBe(worker);
});

testNeeding(['cc', 'root', 'unshare', 'setpriv'])(
  "where Yama's scope is 1 that is told, and an ordinary user's holder serves the next keeper as elsewhere",
  async () => {
    const port = await freePort();
    const options = { around: (keeper: readonly string[]) => underYama(asNobody(keeper)), stateOwner: 65534 };
    const first = startKeeper(nodeHttp.command(port), options);
    await first.holding();
    const [worker, inodes] = [first.worker(), inodesOf(port)];
    await until('the shell', () => commOf(holderOf(first)) === 'sh', { timeoutMs: 10_000 });
    await killed(first);
    const refused = startKeeper(nodeHttp.command(port), {
      beside: first,
      around: (keeper) => underYama(asNobody(closed(keeper))),
    });
    expect(await refused.process.end()).toEqual({ code: 2, signal: null });
    expect(refused.process.stderr).toMatch(
      /ptrace_scope is 1: a process may.*`sysctl kernel\.yama\.ptrace_scope=0`/,
    );
    const bare = startKeeper([], {
      beside: first,
      around: (keeper) => [
        ...underYama(asNobody(closed(keeper.slice(0, 2)))),
        ...['adopt', `pid:${worker}`, '--name', 'other'],
      ],
    });
    expect(await bare.process.end()).toEqual({ code: 2, signal: null });
    expect(bare.process.stderr).toMatch(
      /may not be looked into: kernel\.yama\.ptrace_scope is 1.*as root; sysctl/,
    );
    const next = startKeeper(nodeHttp.command(port), { ...options, beside: first });
    await next.process.line(/took over the server/);
    expect(inodesOf(port)).toEqual(inodes);
  },
);

testNeeding('cc')('so it is by run --replace, and its keeper stays', async () => {
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port));
  await first.holding();
  const worker = first.worker();
  await until('a holder with the socket', () => hasSocket(holderOf(first)));
  const refused = startKeeper(nodeHttp.command(port), {
    beside: first,
    around: closed,
    flags: ['--replace'],
  });
  expect(await refused.process.end()).toEqual({ code: 2, signal: null });
  expect(refused.process.stderr).toContain('ERR_HOLDFAST_TAKE_OVER');
  expect(first.process.exit).toBeUndefined();
  expect(first.worker()).toBe(worker);
  expect(await reloaded(first)).not.toBe(worker);
});

testNeeding('cc')(
  'with an open holder, a standby of a closed server waits on, and serves when it is needed',
  async () => {
    const port = await freePort();
    const first = startKeeper(nodeHttp.command(port), { flags: ['--standby'] });
    const { workers } = await first.untilState('a standby', (state) =>
      state.workers.some(({ phase }) => phase === 'parked'),
    );
    const standby = workers.find(({ phase }) => phase === 'parked')?.pid;
    const worker = first.worker();
    await killed(first);
    const next = startKeeper(nodeHttp.command(port), {
      ...{ beside: first, around: closedServers, flags: ['--standby'] },
    });
    await next.process.line(/took over the server/);
    await next.untilState('the same standby', (state) =>
      state.workers.some(({ phase, pid }) => phase === 'parked' && pid === standby),
    );
    expect(await bodyOf(port)).toContain(`pid ${worker}`);
    process.kill(worker, 'SIGKILL');
    await next.process.line(new RegExp(`pid ${standby}, which was standing by, serves now`));
    expect(await bodyOf(port)).toContain(`pid ${standby}`);
  },
);

testNeeding('cc')('what a closed server binds anew is said not to be kept, and served', async () => {
  const [port, second] = [await freePort(), await freePort()];
  const code = `
    const listen = (port, then) =>
      require('node:http').createServer((_, response) => response.end('ok')).listen(port, '127.0.0.1', then);
    listen(${port});
    process.on('SIGUSR2', () => listen(${second}, () => console.log('second')));`;
  const command = [process.execPath, '-e', code];
  const first = startKeeper(command);
  await first.holding();
  const worker = first.worker();
  await killed(first);
  const next = startKeeper(command, { beside: first, around: closedServers });
  await next.process.line(/took over the server/);
  process.kill(worker, 'SIGUSR2');
  await next.process.line(new RegExp(`is not kept: pid ${worker} may not be looked into`));
  expect([await bodyOf(port), await bodyOf(second)]).toEqual(['ok', 'ok']);
});

testNeeding('cc')('when that server has ended, the next keeper starts it', async () => {
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port));
  await first.holding();
  const worker = first.worker();
  await killed(first);
  const holder = holderOf(first);
  process.kill(worker, 'SIGKILL');
  await until('the end of the server', () => !isAlive(worker));
  startKeeper(nodeHttp.command(port), { beside: first, around: closed });
  await until('the end of the holder', () => !isAlive(holder));
  const served = (): Promise<string> => bodyOf(port).catch(() => '');
  expect(await until('an answer', served)).not.toContain(`pid ${worker}`);
});

test('a holder that opens itself has all fds, becomes a shell, and outlives its keeper', async () => {
  // The program that it begins as is there only when it is built.
  const built = new URL('../../dist/keeper/holder.js', import.meta.url).href;
  const { Holder } = (await import(built)) as typeof import('../../src/keeper/holder.js');
  const stateFile = `${temporaryFolder()}/app.json`;
  const sockets = Array.from({ length: 20 }, () => streamSocket('ipv4'));
  const holder = new Holder('app', stateFile, () => undefined, true);
  holder.hold(sockets.map((fd) => ({ fd, key: `socket ${fd}` })));
  const pid = await until('the holder', () => holder.process?.pid);
  await until('the shell', () => commOf(pid) === 'sh');
  const [found] = findHolders(stateFile);
  expect(found?.pid).toBe(pid);
  expect([...(found?.sockets.keys() ?? [])].slice(0, sockets.length)).toEqual(sockets.map(socketInode));
  holder.leave();
  await until('its wait', () => commOf(pid) === 'sleep');
  expect(findHolders(stateFile)[0]?.sockets).toEqual(found?.sockets);
  process.kill(pid, 'SIGKILL');
  for (const fd of sockets) close(fd);
});

/** The command, in a mount namespace where this kernel seems to have Yama. It decides nothing: that is `closed`'s. */
function underYama(command: readonly string[]): readonly string[] {
  const script = `
    mount -t tmpfs tmpfs "$0" && cp -r /proc/sys/kernel/. "$0" 2>/dev/null
    mkdir "$0/yama" && echo 1 > "$0/yama/ptrace_scope" && mount --bind "$0" /proc/sys/kernel && exec "$@"`;
  const unshare = [pathOf('unshare') ?? 'unshare', '--mount', '--propagation', 'private'];
  return [...unshare, '/bin/sh', '-c', script, temporaryFolder(), ...command];
}

function commOf(pid: number): string | undefined {
  return processStat(pid)?.comm;
}

/** The holder that the keeper has written down. */
function holderOf(keeper: RunningKeeper): number {
  return stateOf(keeper).recovery.holder?.pid ?? 0;
}

/** It was given the socket, after the notifier. */
function hasSocket(holder: number): boolean {
  return openFiles(holder).some(({ fd, inode }) => fd > 3 && inode !== undefined);
}

async function killed(keeper: RunningKeeper): Promise<void> {
  await until('a holder with the socket', () => hasSocket(holderOf(keeper)));
  await killedNow(keeper);
}
