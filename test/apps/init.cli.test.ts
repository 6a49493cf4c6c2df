import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseAppsFile } from '../../src/apps/file.js';
import { appsFromPm2 } from '../../src/apps/pm2.js';
import { writeApps } from '../../src/apps/write.js';
import { parseListen } from '../../src/keeper/listen-address.js';
import { pidOf } from '../support/http.js';
import { holdfast } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { openNetns } from '../support/netns.js';
import { freePorts } from '../support/ports.js';
import { listeners } from '../support/proc.js';
import { start } from '../support/process.js';
import { nodeHttp, pythonThreads } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { newApps, SERVER } from './apps.js';

testNeeding(['netns', 'python3'])(
  'init writes the servers that run, without their variables, and up takes the file',
  async () => {
    const netns = await openNetns();
    const apps = newApps('', (command) => netns.command(command));
    const [shop, other, kept] = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
    writeFileSync(join(shop, 'server.cjs'), SERVER);
    const env = { PORT: '8080', SECRET: 'abc123' };
    const node = start(netns.command([process.execPath, 'server.cjs']), { cwd: shop, env });
    const python = start(netns.command(pythonThreads.command(8081)), { cwd: other });
    const keeper = start(
      netns.command([...holdfast, 'run', '--name', 'kept', '--', ...nodeHttp.command(8082)]),
      {
        cwd: kept,
        env: apps.env,
      },
    );
    await keeper.line(/keeps .* for pid/);
    for (const [process, port] of [
      [node, 8080],
      [python, 8081],
    ] as const)
      await process.listening(port);

    const refused = await apps.ask('init');
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(
      /holdfast\.yaml is there already; --force overwrites it, -o names another file/,
    );
    const { code, stdout, stderr } = await apps.ask('init', '--force');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^holdfast\.yaml: .*\. Look it through, then: holdfast up\n$/);
    const text = readFileSync(join(apps.folder, 'holdfast.yaml'), 'utf8');
    expect(text).not.toContain('abc123');
    expect(text).toMatch(/^# yaml-language-server: \$schema=.*schema\/holdfast\.json$/m);
    expect(text).toContain('environments were not copied');
    expect(text).toMatch(/^# Left out: .*, which holdfast runs as "kept"\.$/m);
    expect(text).toMatch(/^ {4}# Listens at 127\.0\.0\.1:8080 \(pid \d+\); end it before holdfast up\.$/m);
    const written = parse(text) as { apps: Record<string, { command: string[]; directory: string }> };
    expect(Object.values(written.apps).map(({ command, directory }) => [command, directory])).toEqual([
      [[process.execPath, 'server.cjs'], shop],
      [pythonThreads.command(8081), other],
    ]);

    await Promise.all([node, python].map((one) => one.stop()));
    const [first = ''] = Object.keys(written.apps);
    apps.write('holdfast.yaml', text.replace('  command: [', `  env: { PORT: 8080 }\n    command: [`));
    const up = await apps.ask('up');
    expect(up).toMatchObject({ code: 0, stderr: '' });
    expect(up.stdout).toContain(`${first}: serving at 127.0.0.1:8080`);
    expect(listeners(8081, netns.pid)).toHaveLength(1);
    expect((await apps.ask('down')).code).toBe(0);
  },
);

testNeeding('netns')('init without a server to write down exits with 1 and writes nothing', async () => {
  const netns = await openNetns();
  const apps = newApps('', (command) => netns.command(command));
  const { code, stdout, stderr } = await apps.ask('init', '-o', 'new.yaml');
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toBe('holdfast: no server of this user listens that could be written down\n');
  expect((await apps.ask('up', '-f', 'new.yaml')).stderr).toContain(
    'there is no new.yaml; holdfast init writes one',
  );
});

test('init takes a file of pm2, and up takes what it writes', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps('');
  apps.write('server.cjs', `${SERVER}; process.send?.('ready')`);
  apps.write(
    'ecosystem.config.cjs',
    `module.exports = { apps: [
      { name: 'shop api', script: './server.cjs', instances: 2, exec_mode: 'cluster', kill_timeout: 3000, wait_ready: true,
        listen_timeout: 8500, max_restarts: 5, watch: true, cron_restart: '0 0 * * *', env: { PORT: ${first}, WHO: 'it is "me"' } },
      { script: 'server.cjs', interpreter: ${JSON.stringify(process.execPath)}, node_args: '--no-warnings', args: ['-x', 'a b'],
        autorestart: false, env: { PORT: ${second} }, env_production: { NODE_ENV: 'production' } },
    ] };`,
  );
  const { code, stderr } = await apps.ask('init', '--from', 'ecosystem.config.cjs', '--force');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const text = readFileSync(join(apps.folder, 'holdfast.yaml'), 'utf8');
  expect(parse(text)).toEqual({
    apps: {
      'shop-api': {
        command: ['node', './server.cjs'],
        env: { PORT: `${first}`, WHO: 'it is "me"' },
        workers: 2,
        ready: 'ipc',
        'ready-timeout': '8500ms',
        'stop-signal': 'SIGINT',
        'stop-timeout': '3s',
        restart: 'always',
      },
      server: {
        command: [process.execPath, '--no-warnings', 'server.cjs', '-x', 'a b'],
        env: { PORT: `${second}` },
        'stop-signal': 'SIGINT',
        restart: 'never',
      },
    },
  });
  expect(text).toMatch(/^ {4}# Not carried over: max_restarts; /m);
  expect(text).toMatch(/^ {4}# Not carried over: watch, cron_restart\.$/m);
  expect(text).toMatch(/^ {4}# Not carried over: env_production; /m);
  const node = { PATH: `${dirname(process.execPath)}:${process.env.PATH}` };
  const up = apps.start(['up'], { env: node });
  expect({ ...(await up.end(60_000)), stderr: up.stderr }).toMatchObject({ code: 0, stderr: '' });
  expect(await pidOf(first)).toBeGreaterThan(0);
  expect(await pidOf(second)).toBeGreaterThan(0);
  expect((await apps.ask('down')).code).toBe(0);
});

const folder = temporaryFolder();

/** What the one app of a file of pm2 comes to, as YAML. */
async function appFromPm2(app: object): Promise<Record<string, unknown>> {
  const path = join(folder, 'ecosystem.json');
  writeFileSync(path, JSON.stringify([app]));
  const { drafts, notes } = await appsFromPm2(path, folder);
  const text = writeApps(drafts, { schema: 'schema.json', notes });
  parseAppsFile(text, 'holdfast.yaml', join(folder, 'holdfast.yaml'), parseListen);
  return Object.values((parse(text) as { apps: Record<string, Record<string, unknown>> }).apps)[0] ?? {};
}

test.each<[app: object, command: readonly string[]]>([
  [{ script: 'app.py' }, ['python3', 'app.py']],
  [{ script: './run.sh', args: `-a 'b c'` }, ['bash', './run.sh', '-a', 'b c']],
  [{ script: 'npm', args: 'start' }, ['npm', 'start']],
  [{ script: 'bin/www' }, ['node', 'bin/www']],
  [{ script: 'a.js', interpreter: 'deno', interpreter_args: 'run -A' }, ['deno', 'run', '-A', 'a.js']],
  [{ script: '/opt/server', interpreter: 'none' }, ['/opt/server']],
  [{ script: 'a.js', source_map_support: true }, ['node', '--enable-source-maps', 'a.js']],
])('pm2: %j is the command %j', async (app, command) => {
  expect((await appFromPm2(app)).command).toEqual(command);
});

test.each<[app: object, has: object]>([
  [{ instances: 'max' }, { workers: 'auto' }],
  [{ instances: 0 }, { workers: 'auto' }],
  [{ instances: '4' }, { workers: 4 }],
  [{ instances: 1 }, {}],
  [{ instances: -1 }, {}],
  [{ kill_timeout: '5s' }, { 'stop-timeout': '5s' }],
  [{ port: 3000 }, { env: { PORT: '3000' } }],
  [{ env: { A: 1, B: { c: 2 }, C: null } }, { env: { A: '1', B: '{"c":2}' } }],
  [
    { uid: 'www-data', gid: 33 },
    { user: 'www-data', group: 33 },
  ],
  [{ cwd: '/' }, { directory: '/' }],
])('pm2: %j gives %j', async (app, has) => {
  expect(await appFromPm2({ script: 'a.js', ...app })).toEqual({
    command: ['node', 'a.js'],
    'stop-signal': 'SIGINT',
    restart: 'always',
    ...has,
  });
});

test.each([
  ['none.config.js', undefined, /cannot be read/],
  ['empty.json', '{}', /it has no apps/],
  ['none.json', '{ "apps": [] }', /it has no apps/],
  ['no-script.json', '{ "apps": [{ "name": "a" }] }', /app 1 has no script/],
  ['number.json', '{ "apps": [{ "script": "a.js" }, 5] }', /app 2 has no script/],
  ['thrown.cjs', 'throw new Error("no such setting")', /cannot be read: no such setting/],
])('a file of pm2 that is no such file is refused: %s', async (name, content, says) => {
  if (content !== undefined) writeFileSync(join(folder, name), content);
  await expect(appsFromPm2(join(folder, name), folder)).rejects.toMatchObject({
    code: 'ERR_HOLDFAST_PM2_FILE',
    message: expect.stringMatching(says),
  });
});
