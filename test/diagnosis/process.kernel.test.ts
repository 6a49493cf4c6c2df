import { realpathSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { describeProcess } from '../../src/diagnosis/process.js';
import { allProcesses, childrenOf, commandLine, processStat } from '../../src/kernel/procfs.js';
import { holdfast, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { nginx, nodeHttp } from '../support/servers.js';
import { onTerminal } from '../support/shell.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';

const ZOMBIE_LEADER = fileURLToPath(new URL('../servers/traps/zombie-leader.py', import.meta.url));
/** Above the highest pid that Linux ever gives (PID_MAX_LIMIT). */
const NO_PID = 4_194_305;
const NODE = realpathSync(process.execPath);

testNeeding('script')(
  'a server in a terminal is told with its shell, its folder and its terminal',
  async () => {
    const folder = temporaryFolder();
    const program = 'console.log("ready " + process.pid); setInterval(() => 0, 1000)';
    const shell = `tty; sh -c '"$0" -e "$1" é; true' "${NODE}" '${program}'; true`;
    const terminal = start(onTerminal(shell), { cwd: folder });
    const [, tty = ''] = await terminal.line(/\/dev\/(pts\/\d+)/);
    const [, pid = ''] = await terminal.line(/ready (\d+)/);
    const report = describeProcess(Number(pid));
    expect(report).toMatchObject({
      pid: Number(pid),
      startTicks: processStat(Number(pid))?.startTime,
      cmdline: [NODE, '-e', program, 'é'],
      ...{ cwd: folder, exe: NODE, tty, uid: process.getuid?.() },
      ...{ unit: null, userUnit: null, socketUnit: null, container: null, publishes: null },
      ...{ kernelThread: false, zombieLeader: false, supervisor: null, hidden: [] },
    });
    const parents = report?.parents ?? [];
    expect(parents.slice(0, 2).map(({ comm }) => comm)).toEqual(['sh', 'sh']);
    expect(parents.map((parent) => parent.pid)).toContain(terminal.pid);
    expect(parents.at(-1)?.pid).toBe(1);
    expect(Math.abs(Date.parse(report?.startedAt ?? '') - Date.now())).toBeLessThan(20_000);
  },
);

testNeeding('python3')('a zombie leader is told by the thread that lives', async () => {
  const python = binaryOf('python3');
  const server = start([python, ZOMBIE_LEADER, `${await freePort()}`], { cwd: '/' });
  // Of a tree, what looks like a zombie is not killed.
  onTestFinished(() => void server.kill('SIGKILL'));
  await server.line(/^ready$/);
  expect(describeProcess(server.pid)).toMatchObject({
    zombieLeader: true,
    cmdline: expect.arrayContaining([ZOMBIE_LEADER]),
    exe: realpathSync(python),
    cwd: '/',
    hidden: [],
  });
});

test('a process that waits to be reaped has nothing, and nothing of it is hidden', async () => {
  const shell = start(['sh', '-c', 'sleep 0.1 & echo ready; exec sleep 1000']);
  await shell.line(/^ready$/);
  const pid = await until('the zombie', () =>
    childrenOf(shell.pid)?.find((child) => processStat(child)?.state === 'Z'),
  );
  expect(describeProcess(pid)).toMatchObject({
    ...{ zombieLeader: false, cwd: null, exe: null, cmdline: [], hidden: [] },
    parents: expect.arrayContaining([expect.objectContaining({ pid: shell.pid })]),
  });
});

test('what has ended is no process', async () => {
  const gone = start(['true']);
  await gone.end();
  expect(describeProcess(gone.pid)).toBeUndefined();
  expect(describeProcess(NO_PID)).toBeUndefined();
});

test('a daemon has one parent, the first process, and no terminal', async () => {
  const shell = start(['sh', '-c', '(setsid sleep 1000 & echo $!)']);
  const [line] = await shell.line(/^\d+$/);
  await shell.end();
  const pid = await until('the daemon', () =>
    // In the middle of exec it has its name and no arguments.
    commandLine(Number(line))[0] === 'sleep' ? Number(line) : 0,
  );
  const report = describeProcess(pid);
  expect(report?.parents.map((parent) => parent.pid)).toEqual([1]);
  expect(report).toMatchObject({ tty: null, supervisor: null, cmdline: ['sleep', '1000'] });
});

test('what the keeper keeps names the keeper', async () => {
  const port = await freePort();
  const named = startKeeper(nodeHttp.command(port), { name: 'shop' });
  await named.holding();
  expect(describeProcess(named.worker())?.supervisor).toEqual({
    ...{ kind: 'holdfast', name: 'shop', pid: named.process.pid },
    ...{ restarts: 'depends', stop: ['holdfast', 'stop', 'shop'] },
  });
});

test('a keeper without a name has the one of its folder', async () => {
  const folder = temporaryFolder();
  const line = [...holdfast, 'run', '--no-trap', '--listen', `127.0.0.1:${await freePort()}`, '--'];
  const keeper = start([...line, 'sh', '-c', 'echo serving $$; exec sleep 1000'], {
    cwd: folder,
    env: { HOLDFAST_STATE_DIR: temporaryFolder() },
  });
  const [, pid = ''] = await keeper.line(/^serving (\d+)$/);
  expect(describeProcess(Number(pid))?.supervisor?.name).toBe(basename(folder));
});

testNeeding('nginx')('a worker of nginx names its master', async () => {
  const port = await freePort();
  const master = start(nginx.command(port));
  await master.listening(port);
  const worker = await until('a worker', () => childrenOf(master.pid)?.[0]);
  expect(describeProcess(worker)?.supervisor).toMatchObject({
    ...{ kind: 'master', name: 'nginx', pid: master.pid, restarts: 'yes' },
  });
  expect(describeProcess(master.pid)?.supervisor?.kind).not.toBe('master');
});

test("what Node's watcher runs names the watcher", async () => {
  const port = await freePort();
  const [node = '', ...rest] = nodeHttp.command(port);
  const watcher = start([node, '--watch', ...rest]);
  await watcher.listening(port);
  const child = await until('its child', () => childrenOf(watcher.pid)?.[0]);
  expect(describeProcess(child)?.supervisor).toMatchObject({
    ...{ kind: 'watcher', pid: watcher.pid, restarts: 'on-change', stop: ['kill', `${watcher.pid}`] },
  });
});

test('of a thread of the kernel there is no program, and nothing is hidden', () => {
  // In a pid namespace there are none.
  const thread = allProcesses().find(({ isKernelThread }) => isKernelThread);
  if (thread === undefined) return;
  expect(describeProcess(thread.pid)).toMatchObject({
    ...{ kernelThread: true, cmdline: [], exe: null, supervisor: null, hidden: [] },
  });
});

testNeeding('root')('what another user may not see is null, and told to be hidden', async () => {
  const other = start(['sh', '-c', 'echo ready; exec sleep 1000'], { cwd: '/' });
  await other.line(/^ready$/);
  process.seteuid?.(65_534);
  try {
    expect(describeProcess(other.pid)).toMatchObject({
      ...{ pid: other.pid, uid: 0, user: 'root', cwd: null, exe: null, hidden: ['cwd', 'exe'] },
      parents: expect.arrayContaining([expect.objectContaining({ pid: process.pid })]),
    });
  } finally {
    process.seteuid?.(0);
  }
});
