import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { carryOut } from '../../src/diagnosis/free.js';
import { processStat } from '../../src/kernel/procfs.js';
import type { Ended } from '../cli/holdfast.js';
import { holdfast, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { nodeHttp } from '../support/servers.js';
import { onTerminal, shellWords } from '../support/shell.js';
import { temporaryFolder } from '../support/temporary.js';
import { NOBODY, PORT, scene } from './scene.js';

const needing = testNeeding(['netns', 'python3']);
const rootNeeding = testNeeding(['netns', 'python3', 'root']);

needing('without -y and without a terminal nothing is done, with exit 3', async () => {
  const { actor, run } = await scene();
  const server = await actor('a = listener("127.0.0.1", P)');
  const { code, stdout, stderr } = await run(`free ${PORT}`);
  expect(code).toBe(3);
  expect(stdout).toContain(`1. SIGTERM to pid ${server.pid}`);
  expect(stderr).toContain('nobody can be asked here; -y does it without asking');
  expect(server.exit).toBeUndefined();
});

needing('--dry-run tells what would be done and does nothing', async () => {
  const { actor, run } = await scene();
  const server = await actor('a = listener("127.0.0.1", P)');
  const { code, stdout } = await run(`free ${PORT} --dry-run`);
  expect(code).toBe(1);
  expect(stdout).toContain(`1. SIGTERM to pid ${server.pid}`);
  expect(server.exit).toBeUndefined();
});

testNeeding(['netns', 'python3', 'script'])(
  'on a terminal it asks, and does nothing at any other answer than yes',
  async () => {
    const { actor, netns } = await scene();
    const server = await actor('a = listener("127.0.0.1", P)');
    const line = `exec ${shellWords([...holdfast, 'free', `${PORT}`])}`;
    const answered = async (answer: string): Promise<number | null> => {
      const terminal = start(netns.command(onTerminal(line)), { stdio: ['pipe', 'pipe', 'pipe'] });
      await terminal.line(/SIGTERM to pid/);
      terminal.child.stdin?.write(`${answer}\n`);
      return (await terminal.end()).code;
    };
    expect(await answered('n')).toBe(1);
    expect(server.exit).toBeUndefined();
    expect(await answered('y')).toBe(0);
    expect(await server.exited).toMatchObject({ signal: 'SIGTERM' });
  },
);

needing('a process that ignores SIGTERM is killed after the time that was given', async () => {
  const { actor, run } = await scene();
  const server = await actor('signal.signal(signal.SIGTERM, signal.SIG_IGN)\na = listener("127.0.0.1", P)');
  const { code, stdout } = await run(`free ${PORT} -y --timeout 200ms --json`);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ freed: 'yes', ended: [{ pid: server.pid, by: 'SIGKILL' }] });
});

needing('clients of the port are left alone', async () => {
  const { actor, run } = await scene();
  const server = await actor('a = listener("127.0.0.1", P, reuse=1)');
  const browser = await actor('c = [client("127.0.0.1", P) for _ in range(3)]');
  const { stdout } = await run(`free ${PORT} -y --json`);
  const { ended } = JSON.parse(stdout) as { ended: { pid: number }[] };
  expect(ended.map(({ pid }) => pid)).toEqual([server.pid]);
  expect(browser.exit).toBeUndefined();
});

needing('a server and its workers end, the parent first', async () => {
  const { actor, run } = await scene();
  const server = await actor(`
a = listener("127.0.0.1", P, reuse=1)
for _ in range(2):
    if os.fork() == 0:
        while True: signal.pause()`);
  const { code, stdout } = await run(`free ${PORT} -y --json`);
  const { ended, freed } = JSON.parse(stdout) as { freed: string; ended: { pid: number }[] };
  expect({ code, freed }).toEqual({ code: 0, freed: 'yes' });
  expect(ended).toHaveLength(3);
  expect(ended[0]?.pid).toBe(server.pid);
});

rootNeeding('what a server leaves in TIME_WAIT is told, and removed with --time-wait', async () => {
  const busy = `
a = listener("127.0.0.1", P, reuse=1)
for _ in range(3):
    c = client("127.0.0.1", P)
    s, _peer = a.accept()
    s.close()
    c.close()`;
  const first = await scene();
  await first.actor(busy);
  const left = await first.run(`free ${PORT} -y`);
  expect(left.code).toBe(0);
  expect(left.stdout).toContain('A server that sets SO_REUSEADDR can bind now.');
  const second = await scene();
  await second.actor(busy);
  const removed = await second.run(`free ${PORT} -y --time-wait --json`);
  expect(JSON.parse(removed.stdout)).toMatchObject({
    freed: 'yes',
    destroyed: 3,
    report: { verdict: 'free' },
  });
});

rootNeeding('--connection resets a client’s connection and leaves its process alone', async () => {
  const { actor, run } = await scene({ 'net.ipv4.ip_local_port_range': `${PORT} ${PORT}` });
  const client = await actor('a = listener("127.0.0.1", P + 9)\nc = client("127.0.0.1", P + 9)');
  const { code, stdout } = await run(`free ${PORT} -y --connection --json`);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ freed: 'yes', destroyed: 1, ended: [] });
  expect(client.exit).toBeUndefined();
});

rootNeeding('a connection in CLOSE_WAIT is removed, and its process goes on', async () => {
  const { actor, run } = await scene();
  const server = await actor(`
a = listener("127.0.0.1", P, reuse=1)
c = client("127.0.0.1", P)
s, _peer = a.accept()
c.close()
a.close()`);
  const { code, stdout } = await run(`free ${PORT} -y --json`);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ freed: 'yes', destroyed: 1, ended: [] });
  expect(server.exit).toBeUndefined();
});

rootNeeding('an ordinary user is told what only root may do, and nothing is half done', async () => {
  const { actor, run } = await scene();
  const server = await actor('a = listener("127.0.0.1", P)');
  const held = await run(`free ${PORT} -y`, { uid: NOBODY });
  expect(held.code).toBe(1);
  expect(held.stdout).toContain('that may not be seen; run it with sudo');
  expect(server.exit).toBeUndefined();
  const other = await scene();
  await other.actor(`
a = listener("127.0.0.1", P, reuse=1)
c = client("127.0.0.1", P)
s, _peer = a.accept()
s.close()
c.close()
a.close()`);
  const left = await other.run(`free ${PORT} -y`, { uid: NOBODY });
  expect(left.stdout).toContain('can be removed by root alone');
});

needing('a port of a keeper goes through the keeper, which ends with its server', async () => {
  const { netns, run } = await scene();
  const keeper = startKeeper(nodeHttp.command(PORT), { around: (line) => netns.command(line) });
  await keeper.holding();
  const worker = keeper.worker();
  const told = await run(`why ${PORT}`, { env: keeper.env });
  expect(told.stdout).toMatch(/is held by the keeper "app" and its server/);
  const { code, stdout } = await run(`free ${PORT} -y --json`, { env: keeper.env });
  const { ended } = JSON.parse(stdout) as { ended: { pid: number; by: string }[] };
  expect(code).toBe(0);
  expect(ended).toContainEqual(expect.objectContaining({ pid: worker, by: 'command' }));
  expect(await keeper.process.exited).toMatchObject({ code: 143 });
});

needing('a free port stays free, with exit 0 and nothing asked', async () => {
  const { run } = await scene();
  expect(await run(`free ${PORT}`)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(`Port ${PORT} is free: a bind is expected to succeed`),
  });
});

rootNeeding(
  'of leftovers at two addresses only those of the address that was asked for are removed',
  async () => {
    const { actor, run, why } = await scene();
    await actor(`
a = listener("0.0.0.0", P, reuse=1)
for host in ["127.0.0.1", "127.0.0.1", "127.0.0.2"]:
    c = client(host, P)
    s, _peer = a.accept()
    s.close()
    c.close()
a.close()`);
    const { code, stdout } = await run(`free 127.0.0.1:${PORT} -y --json`);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ freed: 'yes', destroyed: 2 });
    const { report } = await why(`${PORT}`);
    expect(report.groups).toMatchObject([{ local: `127.0.0.2:${PORT}`, count: 1 }]);
  },
);

/** An app of pm2: the parent has the title of pm2's daemon, and a `pm2` that stands in for its client is on PATH. */
async function pm2App(
  exitCode: number,
): Promise<{ readonly run: () => Promise<Ended>; readonly app: number }> {
  const { actor, run } = await scene();
  const folder = temporaryFolder();
  const app = join(folder, 'app.py');
  const daemon = join(folder, 'daemon.py');
  writeFileSync(
    app,
    `import signal, socket\ns = socket.create_server(("127.0.0.1", ${PORT}))\nprint("app listens", flush=True)\nsignal.pause()\n`,
  );
  writeFileSync(
    daemon,
    `import os, signal, subprocess\nchild = subprocess.Popen(["${binaryOf('python3')}", "${app}"], env={**os.environ, "name": "shop"})\nprint("app", child.pid, flush=True)\nchild.wait()\nsignal.pause()\n`,
  );
  const parent = await actor(
    `if os.fork() == 0: os.execv("${binaryOf('python3')}", ["PM2 v5.3.0: God Daemon (/root/.pm2)", "${daemon}"])`,
  );
  const [, pid = ''] = await parent.line(/^app (\d+)$/);
  await parent.line(/^app listens$/);
  const client = `#!/bin/sh\n[ "$1 $2" = "stop shop" ] && [ ${exitCode} = 0 ] && kill ${pid}\nexit ${exitCode}\n`;
  writeFileSync(join(folder, 'pm2'), client, { mode: 0o755 });
  const env = { PATH: `${folder}:${process.env.PATH}` };
  return { app: Number(pid), run: () => run(`free ${PORT} -y --json`, { env }) };
}

needing('what a process manager would start again is stopped by that manager', async () => {
  const { run, app } = await pm2App(0);
  const { code, stdout } = await run();
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ freed: 'yes', ended: [{ pid: app, by: 'command' }] });
});

needing('a manager that fails is told, and nothing else is tried', async () => {
  const { run, app } = await pm2App(3);
  const { code, stdout, stderr } = await run();
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toContain('pm2 stop shop ended with 3 [ERR_HOLDFAST_NOT_FREED]');
  expect(processStat(app)?.state).not.toBe('Z');
});

testNeeding('python3')('who has a pid that was planned for somebody else is left alone', async () => {
  const port = await freePort();
  const server = start([binaryOf('python3'), '-m', 'http.server', `${port}`, '--bind', '127.0.0.1']);
  await server.listening(port);
  const { startTime = 0 } = processStat(server.pid) ?? {};
  const step = { kind: 'stop', text: '', pid: server.pid, inodes: [] } as const;
  const other = await carryOut({ steps: [{ ...step, startTicks: startTime - 1 }], refused: [] }, { port });
  expect(other).toMatchObject({ freed: 'no', ended: [] });
  // Nor is one that has the socket no more.
  const past = await carryOut(
    { steps: [{ ...step, startTicks: startTime, inodes: [1] }], refused: [] },
    { port },
  );
  expect(past).toMatchObject({ freed: 'no', ended: [] });
  expect(server.exit).toBeUndefined();
  const own = await carryOut({ steps: [{ ...step, startTicks: startTime }], refused: [] }, { port });
  expect(own).toMatchObject({ freed: 'yes', ended: [{ pid: server.pid, by: 'SIGTERM' }] });
});
