import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bodyOf } from '../support/http.js';
import { freePort } from '../support/ports.js';
import { startSystemd } from '../support/systemd.js';
import { temporaryFolder } from '../support/temporary.js';
import { allOf, lastOf, readCommand, readPrinted, readUnit } from '../support/unit-file.js';
import { run, runHoldfast } from './holdfast.js';

/** A test asks the real one where it is installed. */
const analyze = ['/usr/bin/systemd-analyze', '/bin/systemd-analyze'].find((path) => existsSync(path));
/** What systemd has got since version 252; an older one passes over it. */
const NEWER = /FileDescriptorStorePreserve/;

const SERVER = `
import { createServer } from 'node:http';
const [port, ...words] = process.argv.slice(2);
createServer((_, response) => response.end(JSON.stringify({ words, cwd: process.cwd() }))).listen(port, '127.0.0.1');`;

test('what ExecStart says is a keeper of this server, which systemd starts, reloads and stops', async () => {
  const folder = join(temporaryFolder(), 'odd $HOME %n "folder"');
  mkdirSync(folder);
  writeFileSync(join(folder, 'my server.mjs'), SERVER);
  const port = await freePort();
  const words = ['100%', `$HOME \${PATH}`, `it's "quoted"`, 'back\\slash', ';', '', 'a\nb'];
  const args = ['--name', 'shop', '--drain-quiet', '200ms', '--workers', '2', '--no-overlap'];
  const { code, stdout, stderr } = await runHoldfast(
    ['systemd', ...args, '--', 'node', 'my server.mjs', `${port}`, ...words],
    { cwd: folder },
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const unit = readUnit(readPrinted(stdout)['shop.service'] ?? '');
  const command = readCommand(rawOf(unit, 'ExecStart'));
  expect(command.slice(2, 7)).toEqual([
    ...['run', '--name=shop', '--drain-quiet=200ms', '--workers=2', '--no-overlap'],
  ]);
  const cwd = lastOf(unit, 'Service', 'WorkingDirectory');
  expect(cwd).toBe(folder);

  const systemd = startSystemd();
  const HOLDFAST_STATE_DIR = temporaryFolder();
  const keeper = systemd.start(command, { cwd, env: { HOLDFAST_STATE_DIR } });
  await systemd.told(/^READY=1$/);
  expect(JSON.parse(await bodyOf(port))).toEqual({ words, cwd: folder });
  const reload = readCommand(rawOf(unit, 'ExecReload'));
  const reloaded = run(reload, { cwd, env: { HOLDFAST_STATE_DIR } });
  const [, usec] = await systemd.told(/^RELOADING=1$/);
  expect(usec).toMatch(/^MONOTONIC_USEC=/);
  await systemd.told(/^READY=1$/, 1);
  await systemd.told(/generation 2/);
  expect(await reloaded).toMatchObject({ code: 0, stderr: '' });
  keeper.kill('SIGTERM');
  expect(await keeper.end()).toEqual({
    code: Number(lastOf(unit, 'Service', 'SuccessExitStatus')),
    signal: null,
  });
  await systemd.told(/^STOPPING=1$/);
});

test('--write writes the units, again too, and leaves others alone', async () => {
  const folder = join(temporaryFolder(), 'units');
  const args = [
    'systemd',
    '--name',
    'shop',
    '--socket',
    '127.0.0.1:8080',
    '--write',
    folder,
    '--',
    'node',
    'server.js',
  ];
  for (let time = 0; time < 2; time++) {
    expect(await runHoldfast(args)).toEqual({
      code: 0,
      stderr: '',
      stdout: [
        `wrote ${folder}/shop.service`,
        `wrote ${folder}/shop.socket`,
        'next: systemctl daemon-reload && systemctl enable --now shop.socket shop.service\n',
      ].join('\n'),
    });
  }
  const service = readUnit(readFileSync(join(folder, 'shop.service'), 'utf8'));
  expect(lastOf(service, 'Service', 'Sockets')).toBe('shop.socket');
  writeFileSync(join(folder, 'shop.service'), '[Service]\n');
  const { code, stderr } = await runHoldfast(args);
  expect({ code, stderr }).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('was not written by holdfast'),
  });
  expect(readFileSync(join(folder, 'shop.service'), 'utf8')).toBe('[Service]\n');
});

test("a user is the unit's, not an option of the keeper in it", async () => {
  const args = ['--user', 'www-data', '--listen', '80', '--', 'node', 'server.js'];
  const { stdout } = await runHoldfast(['systemd', '--name', 'shop', ...args]);
  const unit = readUnit(readPrinted(stdout)['shop.service'] ?? '');
  expect(lastOf(unit, 'Service', 'User')).toBe('www-data');
  expect(readCommand(rawOf(unit, 'ExecStart'))).not.toContain('--user');
  const own = await runHoldfast(['systemd', '--user-unit', '--name', 'shop', '--', 'node', 'server.js']);
  const ownUnit = readUnit(readPrinted(own.stdout)['shop.service'] ?? '');
  expect(lastOf(ownUnit, 'Install', 'WantedBy')).toBe('default.target');
});

const WRONG: Readonly<Record<string, readonly string[]>> = {
  'there is no command to run': [],
  'run as their user': ['--user-unit', '--user', 'www-data', '--', 'node'],
  'readiness "soon"': ['--ready', 'soon', '--', 'node'],
  'cannot be a keeper': ['--name', 'a/b', '--', 'node'],
  'a port is a number': ['--socket', '99999', '--', 'node'],
};

for (const [says, args] of Object.entries(WRONG)) {
  test(`what run would refuse is refused now: ${args.join(' ')}`, async () => {
    const { code, stdout, stderr } = await runHoldfast(['systemd', ...args]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(says);
  });
}

test.skipIf(analyze === undefined)('systemd-analyze verify has nothing against the units', async () => {
  const folder = temporaryFolder();
  const args = ['--name', 'shop', '--socket', '127.0.0.1:18080,name=web', '--socket', 'unix:/run/shop.sock'];
  const more = [
    '--user',
    'www-data',
    '--listen',
    '80',
    '--write',
    folder,
    '--',
    'node',
    'a b.js',
    '100%',
    '$x',
  ];
  expect((await runHoldfast(['systemd', ...args, ...more])).code).toBe(0);
  const units = ['shop.service', 'shop.socket', 'shop-2.socket'].map((name) => join(folder, name));
  const { stdout, stderr } = await run([analyze ?? '', 'verify', ...units]);
  const faults = `${stdout}${stderr}`
    .split('\n')
    .filter((line) => line.includes('shop') && !NEWER.test(line));
  expect(faults).toEqual([]);
});

/** As it stands in the file. */
function rawOf(unit: ReturnType<typeof readUnit>, key: string): string {
  return allOf(unit, 'Service', key)[0] ?? '';
}
