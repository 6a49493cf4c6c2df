import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { build, type Recipe } from './build.js';
import { innerVitest, project } from './inner-vitest.js';
import { temporaryFolder } from './temporary.js';

/** A "compiler" that counts its runs: `python3 -c ...`, so that no real one has to be there. */
function recipe(folder: string, content: string): Recipe {
  const source = join(folder, 'source');
  writeFileSync(source, content);
  const code = `
import sys
open(sys.argv[1], 'w').write(open(sys.argv[2]).read())
open(sys.argv[3], 'a').write('x')`;
  return {
    name: 'copy',
    needs: 'python3',
    sources: [source],
    command: ['-c', code, '@OUT@', source, join(folder, 'runs')],
  };
}

test('what is built is not built again until its source changes', () => {
  const folder = temporaryFolder();
  const out = join(folder, 'out');
  const first = build(recipe(folder, 'one'), out);
  expect(build(recipe(folder, 'one'), out)).toBe(first);
  expect(readFileSync(join(folder, 'runs'), 'utf8')).toBe('x');
  const second = build(recipe(folder, 'two'), out);
  expect(readFileSync(second, 'utf8')).toBe('two');
  expect(existsSync(first)).toBe(false);
  expect(readdirSync(out)).toHaveLength(1); // no lock and no temporary file is left
});

test('of several processes that ask at the same time one builds', async () => {
  const folder = temporaryFolder();
  const slow = recipe(folder, 'slow');
  const given = JSON.stringify({
    ...slow,
    command: ['-c', `import time; time.sleep(1)\n${slow.command[1]}`, ...slow.command.slice(2)],
  });
  const file = `
    import { existsSync } from 'node:fs';
    import { expect, test } from 'vitest';
    import { build } from '${project}test/support/build.ts';
    test('build', () => expect(existsSync(build(${given}, '${folder}/out'))).toBe(true));`;
  const { code, output } = await innerVitest([file, file, file]);
  expect(output).toContain('3 passed');
  expect(code).toBe(0);
  expect(readFileSync(join(folder, 'runs'), 'utf8')).toBe('x');
  expect(readdirSync(join(folder, 'out'))).toHaveLength(1);
});

test('the lock of a dead builder is broken', () => {
  const folder = temporaryFolder();
  const out = join(folder, 'out');
  const target = build(recipe(folder, 'one'), out);
  const other = recipe(folder, 'two');
  const expected = build(other, join(folder, 'elsewhere')).replace('elsewhere', 'out');
  writeFileSync(`${expected}.lock`, '999999999');
  expect(build(other, out)).toBe(expected);
  expect(target).not.toBe(expected);
});

test('a failing compiler is told with its words, and leaves nothing', () => {
  const folder = temporaryFolder();
  const out = join(folder, 'out');
  const failing = { ...recipe(folder, ''), command: ['-c', 'raise SystemExit("broken source")', '@OUT@'] };
  expect(() => build(failing, out)).toThrow('broken source');
  expect(readdirSync(out)).toEqual([]);
});
