import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bodyOf, pidOf } from '../support/http.js';
import { startLoad } from '../support/load.js';
import { freePort, freePorts } from '../support/ports.js';
import { isAlive, listeners } from '../support/proc.js';
import { until } from '../support/wait.js';
import { newApps, SERVER } from './apps.js';

const WRONG =
  'holdfast.yaml:4:14: apps.one.workers is a whole number from 1 to 999, or auto, not "none" [ERR_HOLDFAST_APPS_FILE]\n';
const wrongFile = 'apps:\n  one:\n    command: sleep 100\n    workers: none\n';

function two(first: number, second: number, more = '', who = 'old'): string {
  return `
apps:
  one: { command: ${process.execPath} server.cjs, env: { PORT: ${first}, WHO: ${who} }${more} }
  two: { command: ${process.execPath} server.cjs, env: { PORT: ${second} } }
`;
}

test('a reload reads the file again: what has changed is replaced, without a failed request', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps(two(first, second));
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  const other = await pidOf(second);
  const load = startLoad({ port: first, ratePerSecond: 100 });
  await until('answers', () => load.counts().ok > 10);
  apps.write('holdfast.yaml', two(first, second, '', 'new'));
  const changed = await apps.ask('reload', 'one');
  expect(changed).toMatchObject({ code: 0, stderr: '' });
  expect(changed.stdout).toMatch(/^one: replaced \(env\), serving at .*\n$/);
  expect(await bodyOf(first)).toContain('"who":"new"');
  const { refused, hung } = await load.stop();
  expect({ refused, hung }).toEqual({ refused: 0, hung: 0 });
  expect(await pidOf(second)).toBe(other);
  expect((await apps.ask('up')).stdout.match(/: unchanged, /g)).toHaveLength(2);

  // What has not changed has a new copy all the same, under the same keeper.
  const keeper = apps.state('one')?.pid;
  const server = await pidOf(first);
  const plain = await apps.ask('reload', 'one');
  expect(plain).toMatchObject({ code: 0, stderr: '' });
  expect(plain.stdout).toMatch(/^generation \d+ has taken over after /);
  expect(await pidOf(first)).not.toBe(server);
  expect(apps.state('one')?.pid).toBe(keeper);
  expect((await apps.ask('down')).code).toBe(0);
}, 90_000);

test('a reload with a change of the keeper alone has a new copy of the server too', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps(two(first, second));
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  const server = await pidOf(first);
  apps.write('holdfast.yaml', two(first, second, ', stop-timeout: 5s'));
  const { code, stdout } = await apps.ask('reload', 'one', '--json');
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual({ ok: true, generation: 2, tookMs: expect.any(Number) });
  expect(await pidOf(first)).not.toBe(server);
  expect((await apps.ask('up')).stdout).toMatch(/^one: unchanged/m);
});

test('without a name it is about the apps of the file in this folder that run', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps(two(first, second));
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  const before = [await pidOf(first), await pidOf(second)];
  const keepers = [apps.state('one')?.pid, apps.state('two')?.pid];
  apps.write('holdfast.yaml', `${two(first, second, '', 'new')}  three: { command: sleep 100 }\n`);
  const { code, stdout, stderr } = await apps.ask('reload');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(
    /^one: replaced \(env\), serving at .*\ntwo: generation 2 has taken over after .*\n$/,
  );
  expect(await bodyOf(first)).toContain('"who":"new"');
  expect(await pidOf(second)).not.toBe(before[1]);
  expect(apps.state('one')?.pid).not.toBe(keepers[0]);
  expect(apps.state('two')?.pid).toBe(keepers[1]);
  expect(apps.state('three')).toBe(undefined);

  apps.write('holdfast.yaml', two(first, second, '', 'new').replace(/^ {2}two.*\n/m, ''));
  const orphan = await apps.ask('reload', '--json');
  expect(orphan.code).toBe(0);
  expect(orphan.stderr).toMatch(/^holdfast: two is no longer in .*holdfast\.yaml: reloaded as it runs$/m);
  const outcomes = orphan.stdout.trimEnd().split('\n');
  expect(outcomes.map((line) => JSON.parse(line)).map(({ name, ok }) => [name, ok])).toEqual([
    ['two', true],
    ['one', true],
  ]);

  rmSync(join(apps.folder, 'holdfast.yaml'));
  const gone = await apps.ask('reload', 'one');
  expect(gone.code).toBe(0);
  expect(gone.stderr).toMatch(/^holdfast: one is no longer in .*holdfast\.yaml: reloaded as it runs$/m);
  expect(gone.stdout).toMatch(/^generation \d+ has taken over after /);
});

test('a wrong file is told with line and key at a reload, and nothing is touched', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps(two(first, second));
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  const before = [await pidOf(first), await pidOf(second), apps.state('one')?.pid, apps.state('two')?.pid];
  apps.write('holdfast.yaml', wrongFile);
  expect(await apps.ask('reload')).toEqual({ code: 2, stdout: '', stderr: `holdfast: ${WRONG}` });
  expect(await apps.ask('reload', 'two')).toEqual({
    ...{ code: 2, stdout: '' },
    stderr: `holdfast: ${apps.folder}/${WRONG}`,
  });
  expect(apps.state('one')).toMatchObject({ generation: 1, starts: 1 });
  expect([await pidOf(first), await pidOf(second), apps.state('one')?.pid, apps.state('two')?.pid]).toEqual(
    before,
  );
});

test('a changed app whose server is not to run now is refused, and so is not started by a reload', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps(two(first, second));
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  const keeper = apps.state('one')?.pid;
  apps.write('holdfast.yaml', two(first, second, '', 'new'));
  expect((await apps.ask('pause', 'one')).code).toBe(0);
  const paused = await apps.ask('reload', 'one');
  expect(paused.code).toBe(2);
  expect(paused.stderr).toMatch(
    /^holdfast: one has changed in .*, and is paused: holdfast resume one first /,
  );
  expect((await apps.ask('resume', 'one')).code).toBe(0);
  expect((await apps.ask('release', 'one')).code).toBe(0);
  const released = await apps.ask('reload', 'one');
  expect(released.code).toBe(2);
  expect(released.stderr).toMatch(/, and its port is released: holdfast take one first /);
  expect(apps.state('one')?.pid).toBe(keeper);
  expect(listeners(first)).toEqual([]);
});

test('a new definition that fails at a reload is told, and the former server goes on', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps(two(first, second));
  apps.write('server.cjs', `if (process.env.WHO === 'bad') process.exit(3);\n${SERVER}`);
  expect((await apps.ask('up')).code).toBe(0);
  const server = await pidOf(first);
  apps.write('holdfast.yaml', two(first, second, '', 'bad'));
  const { code, stderr } = await apps.ask('reload', 'one');
  expect(code).toBe(1);
  expect(stderr).toMatch(/^holdfast: one goes on as before, the new server failed: it exited with 3 before /);
  expect(await pidOf(first)).toBe(server);
});

test('in the foreground SIGHUP reads the file again', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps(two(first, second));
  apps.write('server.cjs', SERVER);
  // A session of its own has no terminal.
  const up = apps.start(['up', '--foreground'], { detached: true });
  await up.line(/^one \| holdfast: keeps/);
  await up.line(/^two \| holdfast: keeps/);
  const keepers = [apps.state('one')?.pid ?? 0, apps.state('two')?.pid ?? 0];
  apps.write('holdfast.yaml', wrongFile);
  up.kill('SIGHUP');
  await up.line(/^holdfast: not reloaded: holdfast\.yaml:4:14: apps\.one\.workers is a whole number/);
  expect([apps.state('one')?.generation, apps.state('two')?.generation]).toEqual([1, 1]);

  apps.write('holdfast.yaml', two(first, second, '', 'new'));
  const refused = await apps.ask('reload', 'one');
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain(`reads the file again at SIGHUP: kill -HUP ${up.pid}`);
  up.kill('SIGHUP');
  await up.line(/^holdfast: one: replaced \(env\), serving at/);
  await up.line(/^two \| holdfast: generation 2 has taken over/);
  expect(await bodyOf(first)).toContain('"who":"new"');
  expect(isAlive(keepers[0] ?? 0)).toBe(false);
  expect(apps.state('two')?.pid).toBe(keepers[1]);
  // What it prints now comes with its name as before.
  expect(up.lines(new RegExp(`^one \\| ready at ${first}$`)).length).toBe(2);
  up.kill('SIGTERM');
  expect(await up.end(60_000)).toEqual({ code: 143, signal: null });
  expect([first, second].flatMap((port) => listeners(port))).toEqual([]);
  expect(apps.stateFiles()).toEqual([]);
}, 90_000);

test('in the foreground SIGHUP ends no keeper that is only about to start', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps(two(first, second));
  apps.write('server.cjs', SERVER);
  const up = apps.start(['up', '--foreground'], { detached: true });
  await until('the record of the last app', () => apps.stateFiles().includes('two.app'));
  up.kill('SIGHUP');
  await up.line(/^one \| holdfast: generation 2 has taken over/);
  await up.line(/^two \| holdfast: generation 2 has taken over/);
  up.kill('SIGTERM');
  expect(await up.end(60_000)).toEqual({ code: 143, signal: null });
});

test('in the foreground a keeper that takes over late is stopped with the rest', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps(two(first, second));
  apps.write('server.cjs', SERVER);
  const up = apps.start(['up', '--foreground', '--wait', '1ms'], { detached: true });
  await up.line(/^one \| holdfast: keeps/);
  await up.line(/^two \| holdfast: keeps/);
  const former = apps.state('one')?.pid ?? 0;
  apps.write('holdfast.yaml', two(first, second, ', stop-timeout: 5s'));
  up.kill('SIGHUP');
  await up.line(/^holdfast: one does not serve after 1 ms/);
  await until('the other keeper', () => (apps.state('one')?.pid ?? former) !== former);
  await until('the end of the former', () => !isAlive(former));
  expect(await pidOf(first)).toBe(apps.state('one')?.worker?.pid);
  up.kill('SIGTERM');
  expect(await up.end(60_000)).toEqual({ code: 143, signal: null });
  expect([first, second].flatMap((port) => listeners(port))).toEqual([]);
  expect(apps.stateFiles()).toEqual([]);
});

test('in the foreground an app that cannot be replaced goes on, and ends nobody', async () => {
  const port = await freePort();
  const yaml = (command: string): string => `apps: { one: { command: ${command}, env: { PORT: ${port} } } }`;
  const apps = newApps(yaml(`[${process.execPath}, server.cjs]`));
  apps.write('server.cjs', SERVER);
  const up = apps.start(['up', '--foreground'], { detached: true });
  await up.line(/^one \| holdfast: keeps/);
  const server = await pidOf(port);
  apps.write('holdfast.yaml', yaml('no-such-program'));
  up.kill('SIGHUP');
  await up.line(/^holdfast: one cannot be replaced, and goes on as before$/);
  expect(await pidOf(port)).toBe(server);
  apps.write('holdfast.yaml', yaml(`[${process.execPath}, server.cjs]`));
  up.kill('SIGHUP');
  await up.line(/^one \| holdfast: generation 2 has taken over/);
  up.kill('SIGTERM');
  expect(await up.end(60_000)).toEqual({ code: 143, signal: null });
});
