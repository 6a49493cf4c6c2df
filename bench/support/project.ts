import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = findRoot();

/** Where benches build, install and write; git ignores it. */
export const benchFolder: string = join(root, '.cache', 'bench');

/** A path of the project, wherever the compiled bench itself is. */
export function fromProject(...path: readonly string[]): string {
  return join(root, ...path);
}

function findRoot(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    if (nameOf(join(folder, 'package.json')) === 'holdfast') return folder;
    if (folder === dirname(folder)) throw new Error('the bench is outside its project');
  }
}

function nameOf(file: string): string | undefined {
  if (!existsSync(file)) return undefined;
  return (JSON.parse(readFileSync(file, 'utf8')) as { readonly name?: string }).name;
}
