import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Script } from 'node:vm';
import { expect, test } from 'vitest';
import { describeStart, measureStart } from '../../bench/start.js';
import { bytecodeOf, compile, runIn } from '../../src/cli/compiled.js';
import { holdfast } from '../support/keeper.js';
import { project, run } from './holdfast.js';

const TARGET = 1.3;

test(`holdfast --version takes at most ${TARGET} times what node -e 0 takes`, () => {
  const figures = measureStart(20);
  console.log(describeStart(figures));
  expect(figures.ratio).toBeLessThanOrEqual(TARGET);
}, 120_000);

test('--version loads nothing but itself', async () => {
  expect(await loadedBy('--version')).toEqual(['dist/cli/main.cjs']);
});

test('help loads the description of the commands and nothing that runs one', async () => {
  const own = [
    ...['cli/failure.js', 'cli/main.cjs', 'cli/program.js'],
    ...['errors.js', 'model/batch.js', 'model/duration.js', 'model/signals.js'],
    ...['platform.js', 'version.js'],
  ];
  for (const args of [['--help'], ['run', '--help'], ['help', 'stop']]) {
    const loaded = await loadedBy(...args);
    expect(loaded.filter((file) => file.startsWith('dist/'))).toEqual(own.map((file) => `dist/${file}`));
    const packages = loaded.filter((file) => !file.startsWith('dist/'));
    expect(new Set(packages.map((file) => file.split('/')[1]))).toEqual(new Set(['commander']));
  }
});

test('status loads no log and no doctor', async () => {
  const loaded = await loadedBy('status', 'nobody');
  expect(loaded.filter((file) => /\/koffi\//.test(file))).not.toEqual([]);
  expect(loaded.filter((file) => /pino|dist\/(doctor|cli\/(run|stop|doctor|completion))/.test(file))).toEqual(
    [],
  );
});

test('watch without a terminal loads nothing that draws', async () => {
  const loaded = await loadedBy('watch', '--count', '1');
  expect(loaded).toContain('dist/watch/sampler.js');
  expect(
    loaded.filter((file) =>
      /node_modules\/(ink|react|yoga|fastify)|watch-(terminal|page)|diagnosis/.test(file),
    ),
  ).toEqual([]);
});

test('holdfast why runs from bytecode that this V8 accepts', () => {
  const file = join(project, 'dist/cli/why-ports.cjs');
  expect(compile(file, readFileSync(bytecodeOf(file))).cachedDataRejected).toBe(false);
});

test('bytecode of another program is compiled anew', () => {
  const file = join(project, 'dist/cli/why-ports.cjs');
  const other = new Script('1 + 1').createCachedData();
  const script = compile(file, other);
  expect(script.cachedDataRejected).toBe(true);
  expect(runIn(file, script)).toHaveProperty('whyPorts');
});

test('a reader of holdfast why that has seen enough is no failure', async () => {
  const [node = '', main = ''] = holdfast;
  const { stdout, stderr } = await run([
    'sh',
    '-c',
    `{ "${node}" "${main}" why 1; echo "exit $?" >&2; } | true`,
  ]);
  expect(stdout).toBe('');
  expect(stderr).toMatch(/^exit [01]\n$/);
});

/** Names on stderr every module that is loaded. */
const HOOKS = `
import { writeSync } from 'node:fs';
export async function load(url, context, next) {
  if (url.startsWith('file:')) writeSync(2, 'loads ' + url + '\\n');
  return next(url, context);
}`;
const REGISTER = `import { register } from 'node:module'; register(${JSON.stringify(dataUrl(HOOKS))});`;

/** The files that the command loads, within the project, sorted. */
async function loadedBy(...args: readonly string[]): Promise<readonly string[]> {
  const [node = '', main = ''] = holdfast;
  const { stderr } = await run([node, '--import', dataUrl(REGISTER), main, ...args]);
  const files = [...stderr.matchAll(/^loads file:\/\/(.*)$/gm)].map(([, path = '']) => path);
  return files.map((file) => decodeURI(file).replace(project, '')).sort();
}

function dataUrl(script: string): string {
  return `data:text/javascript,${encodeURIComponent(script)}`;
}
