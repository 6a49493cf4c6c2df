import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { project, run } from './cli/holdfast.js';
import { testNeeding } from './support/needing.js';
import { type Netns, openNetns } from './support/netns.js';
import { freePort } from './support/ports.js';
import { descendantsOf, isAlive } from './support/proc.js';
import { type Started, start } from './support/process.js';
import { binaryOf } from './support/requirement.js';
import { temporaryFolder } from './support/temporary.js';

/** A fenced block of a page. */
interface Block {
  readonly language: string;
  readonly code: string;
}

const readme = readFileSync(join(project, 'README.md'), 'utf8');
const INSTALL_MS = 400_000;
const KEEPS = /keeps 127\.0\.0\.1:8080 for pid/;

/** The lines that were run, of every language. At the end none may be left over. */
const ran = new Set<string>();

/** Removed at the end. */
const copies: string[] = [];

/** A copy of the project's sources, as from a fresh clone; its packages are there, as links. */
let clone: string;
/** Where `npm install --global` installs to. */
let prefix: string;
let env: NodeJS.ProcessEnv;

beforeAll(() => {
  clone = copyProject();
  prefix = temporaryFolder();
  env = environment();
});

afterAll(() => {
  for (const copy of copies) rmSync(copy, { recursive: true, force: true });
});

testNeeding(['netns', 'curl'])(
  'npm start runs the example, and it survives what the README does to it',
  async () => {
    const netns = await openNetns();
    const [begin, attack] = blocksUnder('Try it', 'sh');
    const keeper = await startBlock(begin, { cwd: clone, netns });
    const { code, stdout, stderr } = await runBlock(attack, { cwd: clone, netns });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const answers = stdout.trimEnd().split('\n');
    expect(answers).toHaveLength(5);
    for (const answer of answers) expect(answer).toMatch(/^pid \d+ answer 1$/);
    expect(new Set(answers).size).toBe(5);
    await interrupt(keeper);
  },
  INSTALL_MS,
);

test(
  'npm test installs, builds and runs the tests',
  async () => {
    // Nothing is installed, and one small test is there: all of them, this among them, are run by the same command.
    const fresh = copyProject({ packages: false });
    rmSync(join(fresh, 'test'), { recursive: true });
    cpSync(join(project, 'test/layers.test.ts'), join(fresh, 'test/layers.test.ts'));
    writeFileSync(join(fresh, 'vitest.config.ts'), 'export default {};\n');
    const [, , tests] = blocksUnder('Try it', 'sh');
    const { code, stdout, stderr } = await runBlock(tests, { cwd: fresh });
    expect(code, stdout + stderr).toBe(0);
    expect(stdout).toContain('layers.test.ts');
    expect(readFileSync(join(project, '.ci/run'), 'utf8').split('\n')).toContain(tests?.code.trim());
  },
  INSTALL_MS,
);

test(
  'the package is packed, installed, upgraded and has what it should',
  async () => {
    const [install, upgrade] = blocksUnder('Install', 'sh');
    const first = await runBlock(install, { cwd: clone });
    expect(first).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/m) });
    expect((await runBlock(upgrade, { cwd: clone })).code).toBe(0);
    const { stdout } = await run(['sh', '-c', 'tar -tzf holdfast-*.tgz'], { cwd: clone });
    const folders = stdout
      .trimEnd()
      .split('\n')
      .map((file) => file.split('/')[1]);
    const expected = ['CHANGELOG.md', 'LICENSE', 'README.md', 'dist', 'docs', 'package.json', 'scenarios'];
    expect([...new Set(folders)].sort()).toEqual([...expected, 'schema']);
  },
  INSTALL_MS,
);

testNeeding('netns')(
  'the installed commands do what the README says',
  async () => {
    const netns = await openNetns();
    const [
      simple,
      reload,
      workers,
      scale,
      look,
      adopt,
      listen,
      doctor,
      why,
      sockets,
      port,
      fan,
      fleet,
      predict,
      lab,
      watched,
      watch,
      systemd,
    ] = blocksUnder('Commands', 'sh');
    const folder = temporaryFolder();
    copyServer(folder);
    const keeper = await startBlock(simple, { cwd: folder, netns });
    expect(await runBlock(reload, { cwd: folder, netns })).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^generation 2 has taken over/),
    });
    const { code, stdout } = await runBlock(look, { cwd: folder, netns });
    expect(code).toBe(0);
    expect(stdout).toContain('  127.0.0.1:8080  served, 0 waiting\n');
    expect((await keeper.end()).code).toBe(143);
    const several = await startBlock(workers, { cwd: folder, netns });
    const scaled = await runBlock(scale, { cwd: folder, netns });
    expect(scaled).toMatchObject({ code: 0, stdout: 'scaled to 4\n' });
    await interrupt(several);
    const bare = start(netns.command([process.execPath, 'server.js']), { cwd: folder, env });
    await bare.listening(8080);
    const adopted = await startBlock(adopt, {
      ...{ cwd: folder, netns, line: /took over the server, pid \d+, and 127\.0\.0\.1:8080/ },
    });
    await bare.stop();
    await adopted.line(/is served again/);
    await interrupt(adopted);
    const shop = await startBlock(listen, { cwd: folder, netns });
    const shops = await run(netns.command(['holdfast', 'status', 'shop']), { cwd: folder, env });
    expect(shops.stdout).toMatch(/^shop: serving/);
    await interrupt(shop);
    expect((await runBlock(doctor, { cwd: folder, netns })).stdout).toContain('holdfast run works here');
    const free = await runBlock(why, { cwd: folder, netns });
    expect(free).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Port 8080 is free/) });
    const seen = await runBlock(sockets, { cwd: folder, netns });
    expect(seen).toMatchObject({ code: 0, stdout: expect.stringMatching(/^[\dT:.-]+Z .+\n$/) });
    const reserved = await runBlock(port, { cwd: folder, netns });
    expect(reserved).toMatchObject({ code: 0, stdout: expect.stringMatching(/^the tests have port \d+\n$/) });
    const hosts = await runBlock(fan, { cwd: folder, netns });
    expect(hosts).toMatchObject({ code: 0, stdout: '20 hosts: web[01-06,08-20],db1\n' });
    const batches = await runBlock(fleet, { cwd: folder, netns });
    expect(batches).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/\nbatch 10 of 10: web\[19-20\]\n$/),
    });
    expect((await runBlock(predict, { cwd: folder, netns })).stdout).toContain('would succeed [port-free]');
    const tried = await runBlock(lab, { cwd: folder, netns });
    expect(tried.code).toBe(0);
    expect(tried.stdout).toMatch(/Q-f: .*\n {2}does not hold here/);
    expect(tried.stdout).toContain('model and kernel disagree in 0');
    const unit = await runBlock(systemd, { cwd: folder, netns });
    expect(unit).toMatchObject({ code: 0, stdout: expect.stringMatching(/^# shop\.service\n/) });
    const logged = await startBlock(watched, { cwd: folder, netns });
    const told = await runBlock(watch, { cwd: folder, netns });
    expect(told).toMatchObject({ code: 0, stderr: '' });
    expect(told.stdout).toMatch(/Z started, pid \d+\n.*Z keeps 127\.0\.0\.1:8080 for pid \d+\n.*8080/s);
    await interrupt(logged);
  },
  120_000,
);

testNeeding('netns')('the file of several apps is one that up and down take', async () => {
  const netns = await openNetns();
  const folder = temporaryFolder();
  copyServer(folder);
  const [file] = blocksUnder('Several apps in one file', 'yaml');
  writeFileSync(join(folder, 'holdfast.yaml'), file?.code ?? '');
  const [up, down] = blocksUnder('Several apps in one file', 'sh');
  const started = start(netns.command(shellCommand(up)), { cwd: folder, env });
  expect({ ...(await started.end(60_000)), stderr: started.stderr }).toMatchObject({ code: 0, stderr: '' });
  expect(started.stdout).toMatch(/^shop: serving at 127\.0\.0\.1:8080, keeper pid \d+$/m);
  expect(started.stdout).toMatch(/^api: serving at 127\.0\.0\.1:8081, keeper pid \d+$/m);
  expect(await runBlock(down, { cwd: folder, netns })).toEqual({
    code: 0,
    stdout: 'api: stopped\nshop: stopped\n',
    stderr: '',
  });
});

const COMPLETES: Readonly<Record<string, { readonly before: string; readonly asked: string }>> = {
  bash: { before: '', asked: 'complete -p holdfast' },
  zsh: { before: 'autoload -Uz compinit && compinit -u -D', asked: 'print $_comps[holdfast]' },
  fish: { before: '', asked: 'complete -C "holdfast stat"' },
};

for (const shell of ['bash', 'zsh', 'fish'] as const) {
  testNeeding(shell)(`the line for ${shell} loads the completion`, async () => {
    const [block] = blocksUnder('Commands', shell);
    const { before, asked } = COMPLETES[shell] ?? { before: '', asked: '' };
    const script = [before, block?.code, asked].join('\n');
    ran.add(block?.code.trim() ?? '');
    const { code, stdout, stderr } = await run([binaryOf(shell), '-c', script], { env });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain(shell === 'fish' ? 'status' : '_holdfast');
  });
}

test('the examples of the library compile and run', async () => {
  const folder = temporaryFolder();
  const port = await freePort();
  copyServer(folder);
  mkdirSync(join(folder, 'node_modules'));
  cpSync(join(prefix, 'lib/node_modules/holdfast'), join(folder, 'node_modules/holdfast'), {
    recursive: true,
  });
  const [example, diagnosis, ports] = blocksUnder('Library', 'js');
  const [reserving, connecting] = blocksOf(readFileSync(join(project, 'docs/ports.md'), 'utf8'), 'js');
  const [fanning, fleet] = blocksOf(readFileSync(join(project, 'docs/fan.md'), 'utf8'), 'js');
  const [watching] = blocksOf(readFileSync(join(project, 'docs/watch.md'), 'utf8'), 'js');
  const [using] = blocksUnder('Library', 'ts');
  const [short] = blocksOf(readFileSync(join(project, 'docs/keeper.md'), 'utf8'), 'js');
  for (const [name, block] of Object.entries({
    ...{ example, diagnosis, ports, using, short },
    ...{ reserving, connecting, fanning, fleet, watching },
  })) {
    expect(block?.code).toContain("from 'holdfast'");
    writeFileSync(join(folder, `${name}.ts`), block?.code ?? '');
  }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: COMPILER }));
  const tsc = join(project, 'node_modules/.bin/tsc');
  expect(await run([tsc], { cwd: folder })).toEqual({ code: 0, stdout: '', stderr: '' });

  const node = (file: string) =>
    run([process.execPath, file], { cwd: folder, env: { ...env, PORT: String(port) } });
  const one = await node('example.js');
  expect(one).toMatchObject({ code: 0, stderr: '' });
  expect(one.stdout).toContain(`127.0.0.1:${port} is kept\nthe server ended with 143\n`);
  const two = await node('using.js');
  expect(two).toMatchObject({ code: 0, stderr: '' });
  expect(two.stdout).toMatch(/^starting$/m);

  const holder = start([process.execPath, 'server.js'], { cwd: folder, env: { ...env, PORT: String(port) } });
  await holder.listening(port);
  const connected = await node('connecting.js');
  expect(connected).toEqual({ code: 0, stdout: `to ${port}\n`, stderr: '' });
  const [preload, graceful] = blocksUnder('Library', 'sh');
  const dying = await run(shellCommand(preload), { cwd: folder, env: { ...env, PORT: String(port) } });
  expect(dying.stderr).toContain(`(pid ${holder.pid})`);
  expect(dying.stderr).toContain('Error: listen EADDRINUSE');
  const three = await node('diagnosis.js');
  expect(three).toMatchObject({ code: 0, stderr: '' });
  expect(three.stdout).toContain(`held Port ${port} on 127.0.0.1 is held by `);
  expect(three.stdout).toContain('What a bind does');
  expect(three.stdout).toMatch(/yes 1\ntrue\n$/);
  await holder.end();

  expect(await node('ports.js')).toEqual({ code: 0, stdout: 'from 127.0.0.2 to true\n', stderr: '' });
  const reserved = await node('reserving.js');
  expect(reserved).toMatchObject({ code: 0, stderr: '' });
  expect(reserved.stdout).toMatch(/^\d+ 21\d{3} 21\d{3} 21\d{3}\nreserved for (60000|59\d{3}) ms more\n$/);

  const leaving = start(shellCommand(graceful), { cwd: folder, env: { ...env, PORT: String(port) } });
  await leaving.listening(port);
  const [server] = [leaving.pid, ...descendantsOf(leaving.pid)].slice(-1);
  process.kill(server ?? 0, 'SIGTERM');
  const { code, signal } = await leaving.end();
  expect(signal ?? code).toBeOneOf(['SIGTERM', 143]); // the shell may have become the server
});

test('uninstalling leaves nothing', async () => {
  const [, , uninstall] = blocksUnder('Install', 'sh');
  expect(existsSync(join(prefix, 'bin/holdfast'))).toBe(true);
  expect((await runBlock(uninstall, { cwd: clone })).code).toBe(0);
  expect(existsSync(join(prefix, 'bin/holdfast'))).toBe(false);
  expect(existsSync(join(prefix, 'lib/node_modules/holdfast'))).toBe(false);
});

test('every command line of the README was run', () => {
  const lines = ['sh', 'bash', 'zsh', 'fish'].flatMap((language) =>
    blocksOf(readme, language).map((block) => block.code.trim()),
  );
  expect(lines.length).toBeGreaterThan(8);
  expect(lines.filter((code) => !ran.has(code))).toEqual([]);
  const known = ['sh', 'bash', 'zsh', 'fish', 'js', 'ts', 'yaml'];
  expect(blocksOf(readme).filter(({ language }) => !known.includes(language))).toEqual([]);
});

const PAGES = [
  'keeper',
  'monitoring',
  'graceful',
  'up',
  'systemd',
  'containers',
  'ports',
  'fan',
  'closing',
].map((name) => `docs/${name}.md`);
for (const page of ['README.md', 'CHANGELOG.md', ...PAGES]) {
  test(`every link of ${page} to a file leads somewhere`, () => {
    const text = readFileSync(join(project, page), 'utf8');
    const targets = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, target = '']) => target);
    expect(targets.filter((target) => !existsSync(join(project, page, '..', target)))).toEqual([]);
  });
}

const COMPILER = {
  target: 'es2022',
  lib: ['es2023', 'esnext.disposable'],
  module: 'nodenext',
  strict: true,
  types: ['node'],
  typeRoots: [join(project, 'node_modules/@types')],
};

/** Runs a block to its end, every line of which must succeed. */
function runBlock(block: Block | undefined, { cwd, netns }: { cwd: string; netns?: Netns }) {
  const command = shellCommand(block);
  // Some install packages.
  return run(netns?.command(command) ?? command, { cwd, env, timeoutMs: INSTALL_MS });
}

/** Runs a block that keeps a server, and waits until it does. */
async function startBlock(
  block: Block | undefined,
  { cwd, netns, line = KEEPS }: { cwd: string; netns: Netns; line?: RegExp },
): Promise<Started> {
  const started = start(netns.command(shellCommand(block)), { cwd, env, detached: true });
  await started.line(line, { timeoutMs: 60_000 });
  return started;
}

function shellCommand(block: Block | undefined): readonly string[] {
  if (block === undefined) throw new Error('the README has no such block');
  ran.add(block.code.trim());
  return ['sh', '-e', '-c', block.code];
}

/** Ctrl-C: the signal for everything in the terminal's foreground. */
async function interrupt(started: Started): Promise<void> {
  const server = Number(started.lines(/(?:for|by) pid (\d+)/).at(-1)?.[1]);
  process.kill(-started.pid, 'SIGINT');
  await started.end();
  expect(isAlive(server)).toBe(false);
}

function blocksUnder(heading: string, language: string): readonly Block[] {
  const section = readme.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? '';
  return blocksOf(section, language);
}

function blocksOf(page: string, language?: string): readonly Block[] {
  return [...page.matchAll(/^```(?<language>\w*)\n(?<code>.*?)^```$/gms)]
    .map(({ groups }) => ({ language: groups?.language ?? '', code: groups?.code ?? '' }))
    .filter((block) => language === undefined || block.language === language);
}

/** The server that the README's commands run. */
function copyServer(folder: string): void {
  cpSync(join(project, 'examples/http-server.js'), join(folder, 'server.js'));
}

/** Beside the project's own cache, on one file system with its packages, so that those can be linked. */
function copyProject({ packages = true } = {}): string {
  mkdirSync(join(project, '.cache'), { recursive: true });
  const folder = mkdtempSync(join(project, '.cache/readme-test-'));
  copies.push(folder);
  for (const name of [
    'src',
    'web',
    'test',
    'bench',
    'scripts',
    'examples',
    'docs',
    'scenarios',
    'schema',
    '.ci',
  ])
    cpSync(join(project, name), join(folder, name), { recursive: true });
  for (const name of FILES) cpSync(join(project, name), join(folder, name));
  if (!packages) return folder;
  const linked = spawnSync('cp', ['-al', join(project, 'node_modules'), folder], { encoding: 'utf8' });
  expect(linked).toMatchObject({ status: 0, stderr: '' });
  // Older than the packages, which are not installed again then.
  utimesSync(join(folder, 'package-lock.json'), 1, 1);
  return folder;
}

const FILES = [
  ...['package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json', 'vitest.config.ts'],
  ...['README.md', 'CHANGELOG.md', 'LICENSE'],
];

/** npm's own settings of this user, and nothing else of theirs. */
function environment(): NodeJS.ProcessEnv {
  const setting = (name: string): string =>
    spawnSync('npm', ['config', 'get', name], { encoding: 'utf8' }).stdout.trim();
  const inherited = Object.keys(process.env).filter((name) =>
    /^(npm_|INIT_CWD|VITEST|NODE_ENV|TEST$)/.test(name),
  );
  return {
    ...Object.fromEntries(inherited.map((name) => [name, undefined])),
    npm_config_userconfig: setting('userconfig'),
    npm_config_cache: setting('cache'),
    npm_config_prefer_offline: 'true',
    npm_config_update_notifier: 'false',
    npm_config_prefix: prefix,
    HOME: temporaryFolder(),
    HOLDFAST_STATE_DIR: temporaryFolder(),
    HOLDFAST_SETUP: '0',
    PATH: `${join(prefix, 'bin')}${delimiter}${process.env.PATH}`,
  };
}
