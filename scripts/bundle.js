// Puts `holdfast why` and all that it imports into one file, and compiles that: finding, reading and linking some sixty modules takes Node
// longer than the diagnosis does. So it does with what holdfast/graceful loads, while a server waits for it. Everything else stays as tsc
// wrote it, but for the page of `holdfast watch --web`, which a browser loads as one file.

import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const web = fileURLToPath(new URL('../web/', import.meta.url));
const modules = fileURLToPath(new URL('../node_modules/', import.meta.url));

/** koffi's main module looks for the package with its binary in many places, which takes longer than to load it. */
const koffiByRequire = {
  name: 'koffi by require',
  resolveId: (id) => (id === 'koffi' ? '\0koffi.cjs' : null),
  load: (id) =>
    id === '\0koffi.cjs'
      ? [
          'let koffi;',
          'try {',
          "  koffi = require('@koromix/koffi-' + process.platform + '-' + process.arch);",
          '} catch (error) {',
          "  if (error.code !== 'MODULE_NOT_FOUND') throw error;",
          "  koffi = require('koffi');",
          '}',
          'module.exports = koffi;',
        ].join('\n')
      : null,
};

// With options it is called by the program, which tells errors apart by their class: there is one of each for both.
await bundle('cli/why.js', 'cli/why.js', { format: 'esm' }, [`${dist}errors.js`]);
await bundle('cli/main.js', 'cli/main.cjs', { format: 'cjs' }, [`${dist}cli/program.js`]);
rmSync(`${dist}cli/main.js`);
await bundle('cli/why-ports.js', 'cli/why-ports.cjs', { format: 'cjs', minify: true }, []);
// It never asks the kernel: that is for closeGracefully.
const kernel = ['send-queue', 'syn-filter', 'tcp-connections', 'fd-walk', 'socket'].map(
  (name) => `${dist}kernel/${name}.js`,
);
await bundle('closing/watch.js', 'closing/watch.js', { format: 'esm' }, kernel);
await bundlePage();
const bytecode = fileURLToPath(new URL('bytecode.js', import.meta.url));
const { status } = spawnSync(process.execPath, [bytecode], { stdio: ['ignore', 'ignore', 'inherit'] });
if (status !== 0) throw new Error(`${bytecode} failed`);

/** @param {string} from @param {string} to @param {import('rolldown').OutputOptions} output @param {string[]} external */
async function bundle(from, to, output, external) {
  const build = await rolldown({
    input: `${dist}${from}`,
    external,
    platform: 'node',
    plugins: [koffiByRequire],
  });
  await build.write({ ...output, file: `${dist}${to}`, codeSplitting: false });
}

async function bundlePage() {
  mkdirSync(`${dist}web`, { recursive: true });
  const build = await rolldown({
    input: `${web}main.tsx`,
    platform: 'browser',
    resolve: { extensionAlias: { '.js': ['.ts', '.tsx', '.js'] } },
    transform: { target: 'es2022' },
  });
  const licenses = ['preact', 'uplot'].map((name) => licenseOf(name)).join('\n');
  await build.write({
    ...{ file: `${dist}web/page.js`, format: 'esm', minify: true, codeSplitting: false },
    postBanner: licenses,
  });
  const css = [`${modules}uplot/dist/uPlot.min.css`, `${web}page.css`].map((file) =>
    readFileSync(file, 'utf8'),
  );
  writeFileSync(`${dist}web/page.css`, css.join('\n'));
  for (const name of ['index.html', 'icon.svg']) copyFileSync(`${web}${name}`, `${dist}web/${name}`);
}

/** Of a package whose code is in the page. @param {string} name */
function licenseOf(name) {
  const text = readFileSync(`${modules}${name}/LICENSE`, 'utf8').trim();
  return `/*! ${name}\n\n${text}\n*/`;
}
