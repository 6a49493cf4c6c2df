// Puts `holdfast why` and all that it imports into one file, over the one that tsc wrote: finding, reading and linking
// some sixty modules takes Node longer than the diagnosis does. Everything else stays as tsc wrote it.

import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));

/** Half as long as an import takes. */
const koffiByRequire = {
  name: 'koffi by require',
  resolveId: (id) => (id === 'koffi' ? '\0koffi' : null),
  load: (id) =>
    id === '\0koffi'
      ? "import { createRequire } from 'node:module';\nexport default createRequire(import.meta.url)('koffi');"
      : null,
};

// With options it is called by the program, which tells errors apart by their class: there is one of each for both.
await bundle('cli/why.js', [`${dist}errors.js`]);
await bundle('cli/why-ports.js', []);

/** @param {string} name @param {string[]} external */
async function bundle(name, external) {
  const file = `${dist}${name}`;
  const build = await rolldown({ input: file, external, platform: 'node', plugins: [koffiByRequire] });
  await build.write({ file, format: 'esm', codeSplitting: false });
}
