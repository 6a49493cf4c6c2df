import { fileURLToPath } from 'node:url';
import { inFreshNetns, type NetnsOptions } from '../support/netns.js';
import { start } from '../support/process.js';

/**
 * Runs code in a process of its own in a fresh network namespace with `lo` up, and gives what it tells. `kernel` has
 * the built modules of src/kernel that are named, all in one; `codeOf` gives `ok` or the code of the error. It stays
 * on one CPU, on which what it sends has arrived when the call is over.
 */
export async function inside(
  modules: readonly string[],
  code: string,
  options?: NetnsOptions,
): Promise<unknown> {
  const program = `
    const kernel = Object.assign({}, ...(await Promise.all([${modules.map(kernelFile).join(', ')}].map((file) => import(file)))));
    const { pinThread } = await import(${kernelFile('affinity')});
    pinThread(0);
    const tell = (value) => console.log('told ' + JSON.stringify(value));
    const codeOf = (work) => { try { work(); return 'ok'; } catch ({ code }) { return code; } };
    ${code}`;
  const child = start(inFreshNetns([process.execPath, '--input-type=module', '-e', program], options));
  return JSON.parse((await child.line(/^told (.*)$/))[1] ?? '');
}

/** The built module of src/kernel, quoted for code that imports it. */
export function kernelFile(module: string): string {
  return JSON.stringify(fileURLToPath(new URL(`../../dist/kernel/${module}.js`, import.meta.url)));
}
