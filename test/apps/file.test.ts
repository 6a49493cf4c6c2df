import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runArguments } from '../../src/apps/arguments.js';
import { type App, parseAppsFile, readAppsFile } from '../../src/apps/file.js';
import { changedKeys, concernsServer, fingerprintOf } from '../../src/apps/fingerprint.js';
import { APP_KEYS, jsonSchema, OPTION_KEYS } from '../../src/apps/schema.js';
import { describeProgram } from '../../src/cli/program.js';
import { HoldfastError } from '../../src/errors.js';
import { parseListen } from '../../src/keeper/listen-address.js';
import { project } from '../cli/holdfast.js';
import { temporaryFolder } from '../support/temporary.js';

const FILE = 'holdfast.yaml';
const folder = temporaryFolder();

function parse(text: string): readonly App[] {
  return parseAppsFile(text, FILE, join(folder, FILE), parseListen).apps;
}

test('an app has its words, its folder, its variables and its options', () => {
  mkdirSync(join(folder, 'shop'), { recursive: true });
  const apps = parse(`
apps:
  shop:
    command: node 'my server.js' --port 8080
    directory: shop
    env: { PORT: 8080, VERSION: 1.10, DEBUG: true, EMPTY: '' }
    listen: [8080, '[::1]:8081,name=b']
    workers: auto
    standby: true
    hold-for: 90
    stop-timeout: 1.5s
    overlap: false
    user: 1000
  api:
    command: [node, api.js, 007]
    listen: 9090
`);
  expect(apps).toEqual([
    {
      name: 'shop',
      command: ['node', 'my server.js', '--port', '8080'],
      directory: join(folder, 'shop'),
      // As they are written: no number is rounded.
      env: { PORT: '8080', VERSION: '1.10', DEBUG: 'true', EMPTY: '' },
      options: {
        listen: ['8080', '[::1]:8081,name=b'],
        workers: 'auto',
        standby: true,
        overlap: false,
        'stop-timeout': '1.5s',
        'hold-for': 90,
        user: 1000,
      },
    },
    {
      name: 'api',
      command: ['node', 'api.js', '007'],
      directory: folder,
      env: {},
      options: { listen: ['9090'] },
    },
  ]);
});

test('an anchor is an app or a part of one', () => {
  const apps = parse(`
apps:
  one: &one
    command: node a.js
    env: &env { A: 1 }
    workers: 2
  two:
    <<: *one
    workers: 3
  three: { command: node c.js, env: *env }
`);
  expect(apps.map(({ command, env, options }) => [command.join(' '), env, options.workers])).toEqual([
    ['node a.js', { A: '1' }, 2],
    ['node a.js', { A: '1' }, 3],
    ['node c.js', { A: '1' }, undefined],
  ]);
});

const WRONG: readonly (readonly [what: string, text: string, ...says: string[]])[] = [
  [
    'is no YAML',
    'apps:\n  shop: {command: [a}',
    `${FILE}:2:21: Flow sequence in block collection must be sufficiently indented and end with a ]`,
  ],
  ['has a key twice', 'apps:\n  a: {command: x}\n  a: {command: x}', `${FILE}:3:3: the key a is there twice`],
  ['is empty', '', `${FILE}:1:`, 'the file is a mapping with the key apps'],
  ['is a word', 'apps', `${FILE}:1:1: the file is a mapping with the key apps`],
  ['has no apps', 'x: 1', `${FILE}:1:1: x is no key here; there are apps`, 'apps is missing'],
  ['has apps that are a list', 'apps:\n  - a', `${FILE}:2:3: apps maps names to apps`],
  ['has apps without any', 'apps:', `${FILE}:1:`, 'apps maps names to apps, not null'],
  ['has a bad name', 'apps:\n  a/b: { command: x }', `${FILE}:2:3: apps.a/b is no name of an app: 1 to 64`],
  [
    'has an app that is a word',
    'apps:\n  a: node',
    `${FILE}:2:6: apps.a maps keys to values, with command at least`,
  ],
  ['has an app without a command', 'apps:\n  a:\n    workers: 1', `${FILE}:2:3: apps.a.command is missing`],
  [
    'has an unknown key',
    'apps:\n  a:\n    command: x\n    worker: 2',
    `${FILE}:4:5: apps.a.worker is no key here; there are command, directory`,
  ],
  [
    'has an empty command',
    app("command: ''"),
    `${FILE}:3:14: apps.a.command is a list of words, or a line of them, not ""`,
  ],
  ['has no word of a command', app('command: []'), `${FILE}:3:14: apps.a.command is a list of words`],
  ['has a word that is a map', app('command: [x, {a: 1}]'), `${FILE}:3:14: apps.a.command`],
  [
    'has a command for a shell',
    app('command: a && b'),
    `${FILE}:3:14: apps.a.command cannot be split into words: "&" is for a shell`,
  ],
  [
    'has an open quote',
    app(`command: a "b'`),
    `${FILE}:3:14: apps.a.command cannot be split into words: a " is not closed`,
  ],
  [
    'has no such folder',
    app('command: x', 'directory: nowhere'),
    `${FILE}:4:16: apps.a.directory is no folder: ${join(folder, 'nowhere')}`,
  ],
  ['has env as a list', app('command: x', 'env: [A=1]'), `${FILE}:4:10: apps.a.env maps variables to values`],
  [
    'has a variable without a value',
    app('command: x', 'env:', '  A:'),
    `${FILE}:5:`,
    'apps.a.env.A is a text, a number, true or false',
  ],
  [
    'has a bad variable',
    app('command: x', 'env:', '  A=B: 1'),
    `${FILE}:5:7: apps.a.env.A=B is no name of a variable`,
  ],
  ['has a bad port', app('command: x', 'listen: [80, 99999]'), `${FILE}:4:`, 'apps.a.listen'],
  [
    'has a bad address in a list',
    app('command: x', "listen: [80, '1.2.3:80']"),
    `${FILE}:4:18: apps.a.listen.1 is wrong: --listen 1.2.3:80: `,
  ],
  ['has an alias without an anchor', app('command: *x'), FILE, 'Unresolved alias'],
  [
    'has a bad host',
    app('command: x', "listen: 'somewhere'"),
    `${FILE}:4:13: apps.a.listen is wrong: --listen somewhere: `,
  ],
  [
    'has no workers',
    app('command: x', 'workers: 0'),
    `${FILE}:4:14: apps.a.workers is a whole number from 1 to 999, or auto, not 0`,
  ],
  [
    'has half a worker',
    app('command: x', 'workers: 1.5'),
    `${FILE}:4:14: apps.a.workers is a whole number from 1 to 999, or auto, not 1.5`,
  ],
  [
    'has many workers',
    app('command: x', 'workers: many'),
    `${FILE}:4:14: apps.a.workers is a whole number from 1 to 999, or auto, not "many"`,
  ],
  [
    'has a bad standby',
    app('command: x', 'standby: -1'),
    `${FILE}:4:14: apps.a.standby is true, false, or a whole number`,
  ],
  [
    'has a bad time',
    app('command: x', 'hold-for: soon'),
    `${FILE}:4:15: apps.a.hold-for is a time such as 500ms, 10s, 2m or 1h, not "soon"`,
  ],
  [
    'has a time before now',
    app('command: x', 'hold-for: -1'),
    `${FILE}:4:15: apps.a.hold-for is a time such as`,
  ],
  [
    'has a bad signal',
    app('command: x', 'stop-signal: TERM'),
    `${FILE}:4:18: apps.a.stop-signal is one of SIGTERM, SIGINT`,
  ],
  [
    'has a bad policy',
    app('command: x', 'restart: sometimes'),
    `${FILE}:4:14: apps.a.restart is one of always, on-failure, never, not "sometimes"`,
  ],
  [
    'has a bad check',
    app('command: x', 'ready: https:/'),
    `${FILE}:4:12: apps.a.ready is listen, notify, ipc, http:/path`,
  ],
  [
    'has a switch that is a word',
    app('command: x', "trap: 'no'"),
    `${FILE}:4:11: apps.a.trap is true or false, not "no"`,
  ],
  [
    'has another word for the overlap than none',
    app('command: x', 'overlap: some'),
    `${FILE}:4:14: apps.a.overlap is true, false or none, not "some"`,
  ],
  [
    'has two faults',
    app('command: x', 'workers: 0', 'restart: x'),
    `${FILE}:4:14: apps.a.workers`,
    `\n${FILE}:5:14: apps.a.restart`,
  ],
];

test.each(WRONG)('a file that %s is refused with line, column and key', (_what, text, ...says) => {
  const error = refusalOf(() => parse(text));
  expect(error.code).toBe('ERR_HOLDFAST_APPS_FILE');
  for (const part of says) expect(error.message).toContain(part);
});

test('the value of a variable, which may be a secret, is in no message', () => {
  const error = refusalOf(() => parse(app('command: x', 'env: { TOKEN: [abc123] }')));
  expect(error.message).toContain('apps.a.env.TOKEN');
  expect(error.message).not.toContain('abc123');
});

test('a file that is not there is told with what makes one', () => {
  const error = refusalOf(() => readAppsFile(join(folder, 'none.yaml'), parseListen));
  expect(error.message).toMatch(/there is no .*none\.yaml; holdfast init writes one, -f names another/);
});

test('every option of holdfast run has its place in the file', () => {
  const run = describeProgram().commands.find((command) => command.name() === 'run');
  const names = run?.options.map(({ long }) => long?.replace(/^--(?:no-)?/, ''));
  // The app's name is its key, and when to replace is for `up` to say.
  const others = ['name', 'replace'];
  // One may be there with its --no- beside it.
  expect([...new Set(names)].filter((name) => name && !others.includes(name)).sort()).toEqual(
    [...OPTION_KEYS].sort(),
  );
});

test('the command line of an app', () => {
  const [one] = parse(
    app(
      ...['command: node a.js --name x', 'listen: [80, 81]', 'standby: 2', 'trap: true', 'overlap: false'],
      ...['hold-for: 5', 'ready: http:/up'],
    ),
  );
  expect(runArguments(one as App)).toEqual([
    ...['run', '--name=a', '--listen=80', '--listen=81', '--standby=2', '--ready=http:/up', '--no-overlap'],
    ...['--hold-for=5', '--', 'node', 'a.js', '--name', 'x'],
  ]);
  const [two] = parse(app('command: x', 'standby: true', 'trap: false', 'overlap: true'));
  expect(runArguments(two as App, { replace: true })).toEqual([
    ...['run', '--replace', '--name=a', '--standby', '--no-trap', '--', 'x'],
  ]);
  const [none] = parse(app('command: x', 'overlap: none'));
  expect(runArguments(none as App)).toEqual(['run', '--name=a', '--overlap=none', '--', 'x']);
  const [three] = parse(app('command: x', 'standby: false'));
  expect(runArguments(three as App)).toEqual(['run', '--name=a', '--', 'x']);
});

test('a fingerprint tells which keys have changed, and none of their values', () => {
  const of = (...lines: readonly string[]) => fingerprintOf(parse(app(...lines))[0] as App);
  const before = of('command: node a.js', 'env: { A: secret, B: 2 }', 'workers: 2');
  expect(JSON.stringify(before)).not.toContain('secret');
  expect(changedKeys(before, of('command: [node, a.js]', 'workers: 2', 'env: { B: 2, A: secret }'))).toEqual(
    [],
  );
  const changed = changedKeys(before, of('command: node a.js', 'env: { A: other, B: 2 }', 'hold-for: 5s'));
  expect([...changed].sort()).toEqual(['env', 'hold-for', 'workers']);
  expect(concernsServer(changed)).toBe(true);
  expect(concernsServer(['hold-for', 'restart'])).toBe(false);
});

test('the JSON schema for editors is what the code says', () => {
  const shipped: unknown = JSON.parse(readFileSync(join(project, 'schema/holdfast.json'), 'utf8'));
  // Otherwise: npm run build, node scripts/write-schema.js
  expect(shipped).toEqual(JSON.parse(JSON.stringify(jsonSchema())));
});

test('the page has every key that an app may have', () => {
  const page = readFileSync(join(project, 'docs/up.md'), 'utf8');
  for (const key of APP_KEYS) expect(page).toContain(`\`${key}\``);
});

test('the example of the page is a file that holdfast up takes', () => {
  const page = readFileSync(join(project, 'docs/up.md'), 'utf8');
  const example = /^```yaml\n(.*?)^```$/ms.exec(page)?.[1] ?? '';
  mkdirSync(join(folder, 'api'), { recursive: true });
  writeFileSync(join(folder, FILE), example);
  expect(readAppsFile(join(folder, FILE), parseListen).apps.map(({ name }) => name)).toEqual(['shop', 'api']);
});

/** A file with one app, `a`, of these lines; the first is line 3, and its value begins after four blanks. */
function app(...lines: readonly string[]): string {
  return ['apps:', '  a:', ...lines.map((line) => `    ${line}`), ''].join('\n');
}

function refusalOf(work: () => unknown): HoldfastError {
  try {
    work();
  } catch (error) {
    if (error instanceof HoldfastError) return error;
    throw error;
  }
  throw new Error('it was taken');
}
