import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { holdfast } from '../support/keeper.js';
import { type StartOptions, start } from '../support/process.js';
import { temporaryFolder } from '../support/temporary.js';

/** The project's folder. */
export const project: string = fileURLToPath(new URL('../../', import.meta.url));

/** What a program that has ended said. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the built command to its end. */
export function runHoldfast(args: readonly string[], options?: StartOptions): Promise<Ended> {
  return run([...holdfast, ...args], options);
}

/** Runs a program to its end. */
export async function run(
  command: readonly string[],
  { timeoutMs = 30_000, ...options }: StartOptions & { readonly timeoutMs?: number } = {},
): Promise<Ended> {
  const started = start(command, options);
  const { code } = await started.end(timeoutMs);
  await started.stop();
  return { code, stdout: started.stdout, stderr: started.stderr };
}

/** A folder with nothing but the command `holdfast` in it, for PATH. */
export function commandFolder(): string {
  const folder = temporaryFolder();
  const file = join(folder, 'holdfast');
  writeFileSync(file, `#!/bin/sh\nexec ${holdfast.map((word) => `'${word}'`).join(' ')} "$@"\n`);
  chmodSync(file, 0o755);
  return folder;
}
