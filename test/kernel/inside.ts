import { fileURLToPath } from 'node:url';
import { type NodeVersion, pathOf } from '../../scripts/requirements.js';
import { inFreshNetns, type NetnsOptions } from '../support/netns.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';

export interface InsideOptions extends NetnsOptions {
  /** For all that the code does. Default 10 s. */
  readonly timeoutMs?: number | undefined;
  /** Default: the Node that runs this. */
  readonly node?: NodeVersion | undefined;
}

/**
 * Runs code in a process of its own in a fresh network namespace with `lo` up, and gives what it tells. `kernel` has
 * the built modules of src/kernel that are named, all in one; `codeOf` gives `ok` or the code of the error. It stays
 * on one CPU, on which what it sends has arrived when the call is over.
 */
export async function inside(
  modules: readonly string[],
  code: string,
  { timeoutMs, node, ...options }: InsideOptions = {},
): Promise<unknown> {
  const program = `
    const kernel = Object.assign({}, ...(await Promise.all([${modules.map(kernelFile).join(', ')}].map((file) => import(file)))));
    const { pinThread } = await import(${kernelFile('affinity')});
    pinThread(0);
    const tell = (value) => console.log('told ' + JSON.stringify(value));
    const codeOf = (work) => { try { work(); return 'ok'; } catch ({ code }) { return code; } };
    ${code}`;
  const child = start(
    inFreshNetns(
      [node === undefined ? process.execPath : binaryOf(node), '--input-type=module', '-e', program],
      options,
    ),
  );
  return JSON.parse((await child.line(/^told (.*)$/, { timeoutMs }))[1] ?? '');
}

/** Code for `inside`: gives `lo` another address. The kernel lets nobody bind an IPv6 one before it has looked at it. */
export const ADD_ADDRESS: string = `
  const { execFileSync } = await import('node:child_process');
  const ip = ${JSON.stringify(pathOf('ip') ?? 'ip')};
  const addAddress = (address) => {
    execFileSync(ip, ['addr', 'add', address, 'dev', 'lo']);
    while (execFileSync(ip, ['addr', 'show', 'dev', 'lo', 'tentative']).length > 0);
  };`;

/** The built module of src/kernel, quoted for code that imports it. */
export function kernelFile(module: string): string {
  return JSON.stringify(fileURLToPath(new URL(`../../dist/kernel/${module}.js`, import.meta.url)));
}
