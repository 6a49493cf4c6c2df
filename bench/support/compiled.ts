import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathOf } from './plain.js';
import { run } from './process.js';
import { benchFolder, fromProject } from './project.js';

/** Builds `bench/servers/NAME.c` and gives the program's path. @throws Error with what the compiler says. */
export async function compiled(name: string): Promise<string> {
  const folder = join(benchFolder, 'build');
  mkdirSync(folder, { recursive: true });
  const program = join(folder, name);
  await run([
    pathOf('cc'),
    '-O2',
    '-Wall',
    '-Wextra',
    '-o',
    program,
    fromProject('bench', 'servers', `${name}.c`),
  ]);
  return program;
}
