import { chownSync, cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import type { Part, Report } from '../../src/doctor/report.js';
import { holdfast, ordinaryUser, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { inFreshNetns } from '../support/netns.js';
import type { StartOptions } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { trapPath } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { type Ended, project, run, runHoldfast } from './holdfast.js';

test('doctor prints one line per part and says that run works here', async () => {
  const { code, stdout, stderr } = await runHoldfast(['doctor'], withState());
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const lines = stdout.trimEnd().split('\n');
  expect(lines[0]).toMatch(/^holdfast \d+\.\d+\.\d+, Node v\d/);
  expect(lines.at(-1)).toBe('holdfast run works here');
  for (const line of lines.slice(1, -1)) expect(line).toMatch(/^(yes {4}|limited|no {5}) {2}\S/);
});

test('doctor --json prints what the text says', async () => {
  const options = withState();
  const { code, report } = await examine([...holdfast, 'doctor', '--json'], options);
  const { stdout } = await runHoldfast(['doctor'], options);
  expect(code).toBe(0);
  expect(report).toMatchObject({ platform: 'linux', arch: process.arch, node: process.version, runs: true });
  expect(stdout.trimEnd().split('\n').slice(1, -1)).toEqual(
    report.parts.map(({ name, works }) => expect.stringMatching(`^${works} +${name} `)),
  );
  expect(report.parts.filter((part) => part.required).map((part) => part.works)).not.toContain('no');
});

test('an ordinary user can run, without privileged programs below', async () => {
  const { code, report } = await examine([...holdfast, 'doctor', '--json'], {
    ...ordinaryUser,
    ...withState(ordinaryUser),
  });
  expect(code).toBe(0);
  expect(part(report, 'trap').works).toBe('yes');
  expect(part(report, 'privileges')).toMatchObject({
    works: 'limited',
    found: expect.stringContaining('NO_NEW_PRIVS'),
  });
});

testNeeding(['root', 'setpriv'])('so can an ordinary user without any capability', async () => {
  const command = [
    ...[binaryOf('setpriv'), '--reuid=65534', '--regid=65534', '--clear-groups', '--bounding-set=-all', '--'],
    ...[...holdfast, 'doctor', '--json'],
  ];
  const { code, report } = await examine(command, withState({ uid: 65534, gid: 65534 }));
  expect(code).toBe(0);
  expect(part(report, 'trap').works).toBe('yes');
});

test('under a keeper the trap is found taken', async () => {
  const { process: keeper } = startKeeper([...holdfast, 'doctor', '--json']);
  expect((await keeper.end()).code).toBe(0);
  const trap = part(JSON.parse(keeper.stdout) as Report, 'trap');
  expect(trap).toMatchObject({ works: 'limited', found: expect.stringContaining('EBUSY') });
});

test('where another notifier is around, run cannot work', async () => {
  // A keeper that does not look like one, as a container runtime does not.
  const { process: keeper } = startKeeper(['env', '-u', 'HOLDFAST_WORKER', ...holdfast, 'doctor']);
  expect((await keeper.end()).code).toBe(1);
  expect(keeper.stdout).toMatch(/^no +trap +.*EBUSY.*--listen/m);
  expect(keeper.stdout).toContain('holdfast run cannot work here: trap\n');
});

testNeeding('cc')('a profile that refuses pidfd_getfd is found, and what allows it is told', async () => {
  const command = [trapPath('deny'), 'pidfd_getfd', ...holdfast, 'doctor', '--json'];
  const { code, report } = await examine(command, withState());
  expect(code).toBe(0);
  expect(part(report, "server's sockets")).toMatchObject({
    works: 'limited',
    found: expect.stringContaining('EPERM'),
    remedy: expect.stringContaining('--cap-add SYS_PTRACE'),
  });
});

testNeeding('netns')("the network's settings are told", async () => {
  const sysctls = {
    'net.core.somaxconn': '16',
    'net.ipv4.ip_unprivileged_port_start': '0',
    'net.ipv6.conf.lo.disable_ipv6': '1',
  };
  const command = inFreshNetns([...holdfast, 'doctor', '--json'], { sysctls });
  const { code, report } = await examine(command, withState());
  expect(code).toBe(0);
  expect(part(report, 'accept queue')).toMatchObject({
    works: 'limited',
    found: expect.stringContaining('16 clients'),
  });
  expect(part(report, 'low ports').works).toBe('yes');
  expect(part(report, 'IPv6')).toMatchObject({
    works: 'limited',
    found: expect.stringContaining('EADDRNOTAVAIL'),
  });
});

test("a state folder that is another user's stands in the way", async () => {
  const other = process.getuid?.() === 0 ? ownedBy({ uid: 65534, gid: 65534 }) : '/';
  const { code, stdout } = await runHoldfast(['doctor'], { env: { HOLDFAST_STATE_DIR: other } });
  expect(code).toBe(1);
  expect(stdout).toMatch(/^no +state folder +.*is not a folder of user/m);
  expect(stdout).toContain('holdfast run cannot work here: state folder\n');
});

test('without koffi doctor says so', async () => {
  const { code, stdout } = await withoutKoffi(['doctor']);
  expect(code).toBe(1);
  expect(stdout).toMatch(/^no +native calls +koffi: this koffi cannot be loaded.*install holdfast again/m);
  expect((await withoutKoffi(['status'])).stderr).toContain('this koffi cannot be loaded');
});

test('elsewhere doctor says what works and what needs Linux', async () => {
  const { code, stdout, stderr } = await onDarwin(['doctor']);
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
  expect(stdout).toMatch(/^no +platform +darwin on .*need Linux/m);
  expect(stdout).toMatch(/^yes +elsewhere +help, completion, doctor/m);
  expect(stdout).toContain('holdfast run cannot work here: platform\n');
  const { stdout: json } = await onDarwin(['doctor', '--json']);
  expect(JSON.parse(json)).toMatchObject({ platform: 'darwin', runs: false });
});

test('elsewhere help, version and completion work', async () => {
  for (const args of [
    ['--help'],
    ['run', '--help'],
    ['help', 'stop'],
    ['--version'],
    ['completion', 'zsh'],
  ]) {
    expect(await onDarwin(args)).toMatchObject({ code: 0, stderr: '' });
  }
});

test('elsewhere run, status and stop refuse in one sentence', async () => {
  for (const [verb = '', ...rest] of [['run', '--', 'node', 'x.js'], ['status'], ['stop', 'shop']]) {
    const here = `this is darwin on ${process.arch}`;
    expect(await onDarwin([verb, ...rest])).toEqual({
      code: 2,
      stdout: '',
      stderr: `holdfast: holdfast ${verb} needs Linux on x64 or arm64 and ${here}; "holdfast doctor" tells what works here [ERR_HOLDFAST_UNSUPPORTED]\n`,
    });
  }
});

test('elsewhere the library can be imported and refuses to keep', async () => {
  const library = pathToFileURL(join(projectWithoutKoffi(), 'dist/index.js')).href;
  const script = `
    const { keep, version } = await import('${library}');
    console.log(version, await keep({ command: ['true'] }).catch((error) => error.code));`;
  const { stdout } = await run([process.execPath, ...DARWIN, '--input-type=module', '-e', script]);
  expect(stdout).toMatch(/^\d+\.\d+\.\d+ ERR_HOLDFAST_UNSUPPORTED\n$/);
});

/** Options of Node that make it believe to be elsewhere. */
const DARWIN = [
  '--import',
  `data:text/javascript,${encodeURIComponent("Object.defineProperty(process, 'platform', { value: 'darwin' })")}`,
];

function onDarwin(args: readonly string[]): Promise<Ended> {
  return withoutKoffi(args, DARWIN);
}

function withoutKoffi(args: readonly string[], nodeOptions: readonly string[] = []): Promise<Ended> {
  const main = join(projectWithoutKoffi(), 'dist/cli/main.cjs');
  return run([process.execPath, ...nodeOptions, main, ...args], withState());
}

/** The built project with a koffi that fails whatever loads it. */
function projectWithoutKoffi(): string {
  const folder = temporaryFolder();
  for (const path of ['dist', 'package.json', 'node_modules/commander', 'node_modules/pino']) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    cpSync(join(project, path), join(folder, path), { recursive: true });
  }
  const koffi = join(folder, 'node_modules/koffi');
  mkdirSync(koffi);
  writeFileSync(join(koffi, 'package.json'), '{ "name": "koffi", "main": "index.js" }');
  writeFileSync(join(koffi, 'index.js'), 'throw new Error("this koffi cannot be loaded");');
  return folder;
}

/** Runs `doctor --json`, however it is called. */
async function examine(
  command: readonly string[],
  options: StartOptions,
): Promise<{ code: number | null; report: Report }> {
  const { code, stdout } = await run(command, options);
  return { code, report: JSON.parse(stdout) as Report };
}

function part(report: Report, name: string): Part {
  const found = report.parts.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no part "${name}" in ${JSON.stringify(report)}`);
  return found;
}

/** A state folder of its own, for that user. */
function withState(user: Pick<StartOptions, 'uid' | 'gid'> = {}): StartOptions {
  return { env: { HOLDFAST_STATE_DIR: ownedBy(user) } };
}

function ownedBy({ uid, gid }: Pick<StartOptions, 'uid' | 'gid'>): string {
  const folder = temporaryFolder();
  if (uid !== undefined) chownSync(folder, uid, gid ?? -1);
  return folder;
}
