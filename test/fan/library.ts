import { LIBRARY } from '../ports/told.js';
import { type Started, start } from '../support/process.js';
import type { Bed } from './bed.js';

/** Starts a module on the client's machine that has `fan()`, and `tell()` for what is awaited. */
export function startLibrary(bed: Bed, code: string, env: Readonly<Record<string, string>> = {}): Started {
  const program = `const { fan } = await import(${JSON.stringify(LIBRARY)});
    const tell = (what) => console.log('told ' + JSON.stringify(what));\n${code}`;
  return start(bed.client([process.execPath, '--input-type=module', '-e', program]), { env });
}

/** What it tells. */
export async function told(library: Started, timeoutMs = 60_000): Promise<unknown> {
  return JSON.parse((await library.line(/^told (.*)$/, { timeoutMs }))[1] ?? '');
}

export async function runLibrary(bed: Bed, code: string, timeoutMs?: number): Promise<unknown> {
  const library = startLibrary(bed, code);
  const what = await told(library, timeoutMs);
  await library.end();
  return what;
}
