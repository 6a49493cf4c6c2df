import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { start } from './process.js';
import { temporaryFolder } from './temporary.js';

export const project: string = fileURLToPath(new URL('../../', import.meta.url));

/** Runs test files, given by their content, in a vitest of their own: for tests of what tests are written with. */
export async function innerVitest(
  files: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
): Promise<{ readonly code: number | null; readonly output: string }> {
  const folder = temporaryFolder();
  files.forEach((content, i) => {
    writeFileSync(join(folder, `inner-${i}.test.ts`), content);
  });
  const main = join(project, 'node_modules/vitest/vitest.mjs');
  const args = ['run', '--root', folder, '--dir', folder, '--reporter=verbose', '--no-color'];
  const inner = start([process.execPath, main, ...args], { cwd: project, env });
  const { code } = await inner.end(25_000);
  await inner.stop();
  return { code, output: inner.stdout + inner.stderr };
}
