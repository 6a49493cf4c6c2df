import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bodyOf, pidOf } from '../support/http.js';
import { startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { testNeeding } from '../support/needing.js';
import { freePort, freePorts } from '../support/ports.js';
import { descendantsOf, isAlive, listeners } from '../support/proc.js';
import { nodeHttp, pythonHttp } from '../support/servers.js';
import { until } from '../support/wait.js';
import { newApps, SERVER } from './apps.js';

testNeeding('python3')('up starts every app as the file has it, and down stops them all', async () => {
  const [first, second] = await freePorts(2);
  const apps = newApps(`
apps:
  shop:
    command: ${process.execPath} ../server.cjs
    directory: sub
    env: { PORT: ${first}, WHO: 'a $b' }
  files:
    command: ${JSON.stringify(pythonHttp.command(second ?? 0))}
`);
  mkdirSync(join(apps.folder, 'sub'));
  apps.write('server.cjs', SERVER);
  const { code, stdout, stderr } = await apps.ask('up');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout.trimEnd().split('\n').sort()).toEqual([
    expect.stringMatching(`^files: serving at 127\\.0\\.0\\.1:${second}, keeper pid \\d+$`),
    expect.stringMatching(`^shop: serving at 127\\.0\\.0\\.1:${first}, keeper pid \\d+$`),
  ]);
  const told = JSON.parse((await bodyOf(first ?? 0)).split('\n')[1] ?? '');
  expect(told).toEqual({ cwd: join(apps.folder, 'sub'), who: 'a $b' });
  expect(await bodyOf(second ?? 0)).toContain('<html');
  expect(apps.log('shop')).toMatch(new RegExp(`^ready at ${first}$`, 'm'));
  expect(apps.log('shop')).toMatch(/^holdfast: started, pid \d+$/m);
  for (const file of ['shop.log', 'shop.app']) {
    expect(statSync(join(apps.stateFolder, file)).mode & 0o777).toBe(0o600);
  }
  const status = await apps.ask('status');
  expect(status.stdout).toMatch(/^shop: serving/m);
  expect(status.stdout).toMatch(/^files: serving/m);

  const pids = ['shop', 'files'].map((name) => apps.state(name)?.pid ?? 0);
  expect(await apps.ask('down')).toEqual({ code: 0, stdout: 'files: stopped\nshop: stopped\n', stderr: '' });
  expect(pids.filter(isAlive)).toEqual([]);
  expect([first, second].flatMap((port) => listeners(port ?? 0))).toEqual([]);
  expect(apps.stateFiles()).toEqual(['files.log', 'shop.log']);
  expect(await apps.ask('down')).toEqual({ code: 0, stdout: 'none of these apps runs\n', stderr: '' });
});

test('an app that runs as the file has it is left alone; one that has ended is started', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps(`
apps:
  one: { command: ${process.execPath} server.cjs, env: { PORT: ${first} } }
  two: { command: ${process.execPath} server.cjs, env: { PORT: ${second} } }
`);
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  const before = [await pidOf(first), await pidOf(second)];
  // Written otherwise, and the same.
  apps.write(
    'holdfast.yaml',
    `
apps:
  two: { env: { PORT: "${second}" }, command: [${process.execPath}, server.cjs] }
  one: { env: { PORT: "${first}" }, command: [${process.execPath}, server.cjs] }
`,
  );
  const again = await apps.ask('up');
  expect(again.code).toBe(0);
  expect(again.stdout.match(/: unchanged, serving at /g)).toHaveLength(2);
  expect([await pidOf(first), await pidOf(second)]).toEqual(before);

  expect((await apps.ask('stop', 'one')).code).toBe(0);
  const third = await apps.ask('up');
  expect(third.stdout).toMatch(/^one: serving/m);
  expect(third.stdout).toMatch(/^two: unchanged/m);
  expect(await pidOf(second)).toBe(before[1]);
  expect(await pidOf(first)).not.toBe(before[0]);
});

test('an app whose definition has changed is replaced without a failed request', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const yaml = (who: string, more = ''): string => `
apps:
  one: { command: ${process.execPath} server.cjs, env: { PORT: ${first}, WHO: ${who} }${more} }
  two: { command: ${process.execPath} server.cjs, env: { PORT: ${second} } }
`;
  const apps = newApps(yaml('old'));
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  const other = await pidOf(second);
  const load = startLoad({ port: first, ratePerSecond: 100 });
  await until('answers', () => load.counts().ok > 10);
  apps.write('holdfast.yaml', yaml('new'));
  const changed = await apps.ask('up');
  expect(changed).toMatchObject({ code: 0, stderr: '' });
  expect(changed.stdout).toMatch(/^one: replaced \(env\), serving at/m);
  expect(changed.stdout).toMatch(/^two: unchanged/m);
  expect(await bodyOf(first)).toContain('"who":"new"');
  const { refused, hung } = await load.stop();
  expect({ refused, hung }).toEqual({ refused: 0, hung: 0 });
  expect(await pidOf(second)).toBe(other);
  // What concerns the keeper alone leaves the server as it is.
  const server = await pidOf(first);
  apps.write('holdfast.yaml', yaml('new', ', stop-timeout: 5s'));
  expect((await apps.ask('up')).stdout).toMatch(/^one: replaced \(stop-timeout\), serving at/m);
  expect(await pidOf(first)).toBe(server);
  expect((await apps.ask('up')).stdout).toMatch(/^one: unchanged/m);
  expect((await apps.ask('down')).code).toBe(0);
}, 90_000);

test('a new definition that fails is told, the former server goes on, and the next up tries again', async () => {
  const port = await freePort();
  const yaml = (who: string): string =>
    `apps: { one: { command: ${process.execPath} server.cjs, env: { PORT: ${port}, WHO: ${who} } } }`;
  const apps = newApps(yaml('old'));
  apps.write('server.cjs', `if (process.env.WHO === 'bad') process.exit(3); ${SERVER}`);
  expect((await apps.ask('up')).code).toBe(0);
  const server = await pidOf(port);
  apps.write('holdfast.yaml', yaml('bad'));
  for (let times = 0; times < 2; times++) {
    const bad = await apps.ask('up');
    expect(bad).toMatchObject({ code: 1, stdout: '' });
    expect(bad.stderr).toMatch(/^holdfast: one goes on as before, the new server failed: .*exited with 3/);
    expect(await pidOf(port)).toBe(server);
  }
  // Nor is the former definition taken for what runs.
  apps.write('holdfast.yaml', yaml('old'));
  expect((await apps.ask('up')).stdout).toMatch(/^one: replaced \(env\), serving/);
  expect(await bodyOf(port)).toContain('"who":"old"');
  expect((await apps.ask('up')).stdout).toMatch(/^one: unchanged/);
}, 90_000);

test('an app whose new definition listens elsewhere moves there', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const yaml = (port: number): string =>
    `apps: { one: { command: ${process.execPath} server.cjs, env: { PORT: ${port} } } }`;
  const apps = newApps(yaml(first));
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  apps.write('holdfast.yaml', yaml(second));
  expect((await apps.ask('up')).stdout).toMatch(`one: replaced (env), serving at 127.0.0.1:${second}, `);
  expect(await pidOf(second)).toBeGreaterThan(0);
  await until('the former address is free', () => listeners(first).length === 0, { timeoutMs: 30_000 });
}, 90_000);

test('two up at once start an app once, and both find it serving; so with a change', async () => {
  const port = await freePort();
  const yaml = (who: string): string =>
    `apps: { one: { command: ${process.execPath} server.cjs, env: { PORT: ${port}, WHO: ${who} } } }`;
  const apps = newApps(yaml('old'));
  apps.write('server.cjs', SERVER);
  for (const who of ['old', 'new']) {
    apps.write('holdfast.yaml', yaml(who));
    const both = await Promise.all([apps.ask('up'), apps.ask('up')]);
    expect(both.map(({ code, stderr }) => ({ code, stderr }))).toEqual([
      { code: 0, stderr: '' },
      { code: 0, stderr: '' },
    ]);
    expect(both.map(({ stdout }) => stdout).filter((text) => text.startsWith('one: unchanged'))).toHaveLength(
      1,
    );
    expect(await bodyOf(port)).toContain(`"who":"${who}"`);
    expect(apps.stateFiles()).toContain('one.app');
    expect(apps.stateFiles()).not.toContain('one.up');
  }
  expect((await apps.ask('down')).stdout).toBe('one: stopped\n');
});

test('down beside an up that replaces: each does its own, one after the other', async () => {
  const port = await freePort();
  const yaml = (who: string): string =>
    `apps: { one: { command: ${process.execPath} server.cjs, env: { PORT: ${port}, WHO: ${who} } } }`;
  const apps = newApps(yaml('old'));
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  apps.write('holdfast.yaml', yaml('new'));
  const both = await Promise.all([apps.ask('up'), apps.ask('down')]);
  expect(both.map(({ code, stderr }) => ({ code, stderr }))).toEqual([
    { code: 0, stderr: '' },
    { code: 0, stderr: '' },
  ]);
  expect((await apps.ask('down')).code).toBe(0);
  expect(apps.stateFiles().filter((file) => !file.endsWith('.log'))).toEqual([]);
});

test('of an app whose keeper was killed down and reload say so, and up takes it over', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const app = (port: number): string => `{ command: ${process.execPath} server.cjs, env: { PORT: ${port} } }`;
  const apps = newApps(`apps: { one: ${app(first)}, two: ${app(second)} }`);
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  const server = await pidOf(first);
  const keeper = apps.state('one')?.pid ?? 0;
  process.kill(keeper, 'SIGKILL');
  await until('its end', () => !isAlive(keeper));
  const says = new RegExp(
    `^holdfast: one: its keeper was killed; its server, pid ${server}, goes on without one; .*\\(or holdfast up\\)$`,
    'm',
  );
  const reload = await apps.ask('reload');
  expect(reload).toMatchObject({ code: 1, stderr: expect.stringMatching(says) });
  expect(reload.stdout).toMatch(/^two: generation 2 has taken over/);
  const down = await apps.ask('down');
  expect(down).toMatchObject({ code: 1, stdout: 'two: stopped\n', stderr: expect.stringMatching(says) });
  expect(await pidOf(first)).toBe(server);
  const adopt = await apps.ask('adopt', `${first}`);
  expect(adopt.stderr).toContain(
    `port ${first} is kept as "one", whose keeper was killed; go on with it by holdfast run`,
  );
  expect((await apps.ask('up')).code).toBe(0);
  expect(await pidOf(first)).toBe(server);
  expect((await apps.ask('down')).code).toBe(0);
});

test('fewer workers that failed once come when the file is tried again', async () => {
  const port = await freePort();
  const yaml = (workers: number): string =>
    `apps: { one: { command: ${process.execPath} server.cjs, workers: ${workers}, env: { PORT: ${port} } } }`;
  const apps = newApps(yaml(3));
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  apps.write('holdfast.yaml', yaml(1));
  apps.write('server.cjs', 'process.exit(3)');
  expect((await apps.ask('up')).code).toBe(1);
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  await until('one worker', () => apps.state('one')?.workers.length === 1, { timeoutMs: 40_000 });
}, 90_000);

test('an app that is no longer in the file is told of, and stopped when that is asked', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const one = `  one: { command: ${process.execPath} server.cjs, env: { PORT: ${first} } }`;
  const two = `  two: { command: ${process.execPath} server.cjs, env: { PORT: ${second} } }`;
  const apps = newApps(['apps:', one, two].join('\n'));
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  apps.write('holdfast.yaml', ['apps:', one].join('\n'));
  const told = await apps.ask('up');
  expect(told).toMatchObject({ code: 0, stderr: '' });
  expect(told.stdout).toMatch(
    /^two: runs \(pid \d+\) and is no longer in holdfast\.yaml; --remove-orphans stops it$/m,
  );
  const { stdout } = await apps.ask('down', 'one');
  expect(stdout).toMatch(/^two: runs .* --remove-orphans stops it$/m);
  expect(await pidOf(second)).toBeGreaterThan(0);
  expect((await apps.ask('up', '--remove-orphans')).stdout).toMatch(
    /^two: stopped, it is no longer in holdfast\.yaml$/m,
  );
  expect(listeners(second)).toEqual([]);
  apps.write('holdfast.yaml', ['apps:', two].join('\n'));
  const down = await apps.ask('down', '--remove-orphans');
  expect(down).toMatchObject({ code: 0, stderr: '' });
  expect(down.stdout).toContain('one: stopped\n');
  expect(listeners(first)).toEqual([]);
});

test('an app that ends before it serves is told with the end of its log, and the others serve', async () => {
  const port = await freePort();
  const apps = newApps(`
apps:
  good: { command: ${process.execPath} server.cjs, env: { PORT: ${port} } }
  bad: { command: [${process.execPath}, -e, 'console.error("the database is away"); process.exit(3)'] }
  none: { command: no-such-program }
`);
  apps.write('server.cjs', SERVER);
  const { code, stdout, stderr } = await apps.ask('up');
  expect(code).toBe(1);
  expect(stdout).toMatch(/^good: serving/m);
  expect(stderr).toMatch(
    /^holdfast: bad ended with 3 and never served; the end of .*bad\.log:\n( {2}.*\n)* {2}the database is away$/m,
  );
  expect(stderr).toMatch(
    /^holdfast: none ended with 127 and never served;.*\n( {2}.*\n)* {2}holdfast: there is no program "no-such-program"/m,
  );
  expect(apps.stateFiles().filter((name) => name.endsWith('.app'))).toEqual(['good.app']);
  // The former end is not told again.
  apps.write('holdfast.yaml', `apps: { bad: { command: [${process.execPath}, -e, 'process.exit(4)'] } }`);
  const again = await apps.ask('up');
  expect(again.stderr).toContain('bad ended with 4');
  expect(again.stderr).not.toContain('the database is away');
});

test('an app that does not serve in time is told, and goes on', async () => {
  const port = await freePort();
  const apps = newApps(
    `apps: { slow: { command: [${process.execPath}, server.cjs], env: { PORT: ${port} } } }`,
  );
  apps.write(
    'server.cjs',
    `process.once('SIGUSR2', () => { ${SERVER} }); setInterval(() => {}, 1000); console.log('hears');`,
  );
  const late = await apps.ask('up', '--wait', '500ms');
  expect(late).toMatchObject({ code: 1, stdout: '' });
  expect(late.stderr).toMatch(
    /slow does not serve after 500 ms \((starting|its keeper does not answer)\); it goes on/,
  );
  const server = await until('the start', () => apps.state('slow')?.worker?.pid);
  await until('it hears the signal', () => apps.log('slow').includes('hears'));
  const again = apps.start(['up']);
  process.kill(server, 'SIGUSR2');
  expect((await again.end()).code).toBe(0);
  expect(again.stdout).toMatch(/^slow: unchanged, serving/);
});

test('a name that another keeper has is refused before anything is started', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps(`
apps:
  one: { command: ${process.execPath} server.cjs, env: { PORT: ${first} } }
  app: { command: ${process.execPath} server.cjs, env: { PORT: ${second} } }
`);
  apps.write('server.cjs', SERVER);
  const keeper = startKeeper(nodeHttp.command(second), { env: apps.env });
  await keeper.holding();
  const state = { env: keeper.env };
  const refused = apps.start(['up'], state);
  expect((await refused.end()).code).toBe(2);
  expect(refused.stderr).toMatch(
    /a keeper named "app" runs that holdfast up did not start .*ERR_HOLDFAST_NAME_TAKEN/,
  );
  expect(listeners(first)).toEqual([]);
  const down = apps.start(['down'], state);
  expect((await down.end()).code).toBe(0);
  expect(isAlive(keeper.process.pid)).toBe(true);
});

test('two files may not have an app of the same name at once', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const yaml = (port: number): string =>
    `apps: { web: { command: [${process.execPath}, server.cjs], env: { PORT: ${port} } } }`;
  const apps = newApps(yaml(first));
  apps.write('server.cjs', SERVER);
  apps.write('other.yaml', yaml(second));
  expect((await apps.ask('up')).code).toBe(0);
  const other = await apps.ask('up', '-f', 'other.yaml');
  expect(other).toMatchObject({ code: 2, stdout: '' });
  expect(other.stderr).toContain(`a keeper named "web" runs from ${join(apps.folder, 'holdfast.yaml')}`);
  expect(await apps.ask('down', '-f', 'other.yaml')).toMatchObject({
    code: 0,
    stdout: 'none of these apps runs\n',
  });
  expect(await pidOf(first)).toBeGreaterThan(0);
});

test('an app whose port is released is told of, replaced or not, and started by nobody', async () => {
  const port = await freePort();
  const yaml = (who: string): string =>
    `apps: { one: { command: [${process.execPath}, server.cjs], env: { PORT: ${port}, WHO: ${who} } } }`;
  const apps = newApps(yaml('old'));
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  expect((await apps.ask('release', 'one')).code).toBe(0);
  const released = {
    ...{ code: 1, stdout: '' },
    stderr: expect.stringMatching(/^holdfast: one does not serve: its port is released, holdfast take one /),
  };
  expect(await apps.ask('up')).toEqual(released);
  const keeper = apps.state('one')?.pid;
  apps.write('holdfast.yaml', yaml('new'));
  expect(await apps.ask('up')).toEqual(released);
  expect(apps.state('one')?.pid).not.toBe(keeper);
  expect(listeners(port)).toEqual([]);
  expect((await apps.ask('take', 'one')).code).toBe(0);
  expect(await bodyOf(port)).toContain('"who":"new"');
  expect((await apps.ask('up')).stdout).toMatch(/^one: unchanged/);
});

test('up and down of some of the apps', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps(`
apps:
  one: { command: ${process.execPath} server.cjs, env: { PORT: ${first} } }
  two: { command: ${process.execPath} server.cjs, env: { PORT: ${second} } }
`);
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up', 'two')).stdout).toMatch(/^two: serving.*\n$/);
  expect(listeners(first)).toEqual([]);
  const unknown = await apps.ask('up', 'three');
  expect(unknown.code).toBe(2);
  expect(unknown.stderr).toMatch(
    /there is no app "three" in .*holdfast\.yaml; it has one, two \[ERR_HOLDFAST_OPTION\]/,
  );
  expect(await apps.ask('down', 'one')).toMatchObject({ code: 0, stdout: 'none of these apps runs\n' });
  expect(await apps.ask('down', 'two')).toMatchObject({ code: 0, stdout: 'two: stopped\n' });
});

test('a wrong file is told with line and key, and nothing is started', async () => {
  const apps = newApps('apps:\n  one:\n    command: sleep 100\n    workers: none\n');
  for (const command of ['up', 'down']) {
    expect(await apps.ask(command)).toEqual({
      code: 2,
      stdout: '',
      stderr:
        'holdfast: holdfast.yaml:4:14: apps.one.workers is a whole number from 1 to 999, or auto, not "none" [ERR_HOLDFAST_APPS_FILE]\n',
    });
  }
  expect(apps.stateFiles()).toEqual([]);
});

test("variables of an app are its server's and not its keeper's; the keeper is in a session of its own", async () => {
  const port = await freePort();
  const apps = newApps(`
apps:
  one:
    command: ${process.execPath} server.cjs
    env: { PORT: ${port}, NODE_OPTIONS: --title=marked, WHO: me }
`);
  apps.write('server.cjs', SERVER);
  expect((await apps.ask('up')).code).toBe(0);
  const { pid = 0, worker } = apps.state('one') ?? {};
  const stat = sessionOf(pid);
  expect(stat).toBe(pid);
  expect(commandOf(worker?.pid ?? 0)).toMatch(/^marked/);
  expect(commandOf(pid)).not.toMatch(/^marked/);
  expect(descendantsOf(pid)).toContain(worker?.pid);
});

function sessionOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[3]);
}

function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
}
