import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { closingMetrics } from '../../src/closing/metrics.js';
import { project, run } from '../cli/holdfast.js';
import { temporaryFolder } from '../support/temporary.js';

const page = readFileSync(join(project, 'docs/closing.md'), 'utf8');

test('the examples of docs/closing.md compile', async () => {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(project, join(folder, 'node_modules/holdfast'));
  symlinkSync(join(project, 'node_modules/fastify'), join(folder, 'node_modules/fastify'));
  const blocks = [...page.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code = '']) => code);
  expect(blocks).toHaveLength(5);
  for (const [index, code] of blocks.entries()) {
    expect(code).toContain("from 'holdfast'");
    writeFileSync(join(folder, `example-${index}.js`), code);
  }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: COMPILER, include: ['*.js'] }),
  );
  const compiled = await run([join(project, 'node_modules/.bin/tsc')], { cwd: folder });
  expect(compiled).toEqual({ code: 0, stdout: '', stderr: '' });
  // Those that end by themselves.
  for (const index of [1, 3, 4]) {
    const ran = await run([process.execPath, `example-${index}.js`], { cwd: folder });
    expect(ran).toMatchObject({ code: 0, stderr: '' });
  }
}, 60_000);

const COMPILER = {
  ...{ target: 'es2022', lib: ['es2023', 'esnext.disposable'], module: 'nodenext', types: ['node'] },
  ...{ allowJs: true, checkJs: true, noEmit: true, skipLibCheck: true, strict: true, noImplicitAny: false },
  typeRoots: [join(project, 'node_modules/@types')],
};

test('docs/closing.md has every metric with its help, and no other', async () => {
  const none = { open: 0, peerFirst: 0, weFirst: 0, reset: 0 };
  const text = await closingMetrics(none as never, { host: '127.0.0.1', port: 1 }, 0);
  const told = [...text.matchAll(/^# HELP (\S+) (.*)$/gm)].map(
    ([, name, help]) => `| \`${name}\` | ${help} |`,
  );
  const written = page.split('\n').filter((line) => line.startsWith('| `holdfast_'));
  expect(written.sort()).toEqual(told.sort());
});
