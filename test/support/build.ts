import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Requirement } from '../../scripts/requirements.js';
import { binaryOf } from './requirement.js';

export interface Recipe {
  readonly name: string;
  readonly needs: Requirement;
  /** Everything that the result depends on; a changed content is built anew. */
  readonly sources: readonly string[];
  /** The compiler and its arguments; `@OUT@` is the file, or the folder, that it makes. */
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/** Where test servers are built; git ignores it. */
export const buildFolder: string = fileURLToPath(new URL('../../.cache/build/', import.meta.url));

/**
 * Builds what is not built yet, and gives its path. Any number of processes may ask at the same time: one builds,
 * under another name that it then changes, and the others wait for the finished one.
 *
 * @throws Error with the line that installs the compiler, or with the compiler's output.
 */
export function build(recipe: Recipe, folder: string = buildFolder): string {
  const target = join(folder, `${recipe.name}-${hashOf(recipe)}`);
  if (existsSync(target)) return target;
  const compiler = binaryOf(recipe.needs);
  mkdirSync(folder, { recursive: true });
  const release = lock(target);
  try {
    if (!existsSync(target)) compile(recipe, compiler, target);
  } finally {
    release?.();
  }
  return target;
}

function compile(recipe: Recipe, compiler: string, target: string): void {
  const temporary = `${target}.${process.pid}`;
  const args = recipe.command.map((argument) => argument.replace('@OUT@', temporary));
  const done = spawnSync(compiler, args, { encoding: 'utf8', env: { ...process.env, ...recipe.env } });
  if (done.status !== 0) {
    rmSync(temporary, { recursive: true, force: true });
    throw new Error(`${compiler} ${args.join(' ')}: ${done.error?.message ?? done.status}\n${done.stderr}`);
  }
  if (existsSync(target))
    rmSync(temporary, { recursive: true }); // built twice: see `lock`
  else renameSync(temporary, target);
  removeOlder(recipe.name, target);
}

/**
 * One builder at a time. The lock is a file that names its owner; a dead owner's is broken. Two processes that break
 * it at the same moment both build, which costs time only. So does giving up after two minutes.
 */
function lock(target: string): (() => void) | undefined {
  const file = `${target}.lock`;
  const claim = `${file}.${process.pid}`;
  writeFileSync(claim, `${process.pid}`);
  try {
    for (const deadlineMs = performance.now() + 120_000; performance.now() < deadlineMs; pause(50)) {
      try {
        linkSync(claim, file); // appears with its content, or not at all
        return () => rmSync(file, { force: true });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      if (existsSync(target)) return undefined;
      if (!isOwned(file)) rmSync(file, { force: true });
    }
    return undefined;
  } finally {
    rmSync(claim);
  }
}

function isOwned(file: string): boolean {
  try {
    return existsSync(`/proc/${readFileSync(file, 'utf8')}`);
  } catch {
    return true; // ENOENT: released meanwhile; ask again
  }
}

/** What an older source was built to. */
function removeOlder(name: string, target: string): void {
  for (const file of readdirSync(join(target, '..'))) {
    const older = file !== basename(target) && new RegExp(`^${name}-[0-9a-f]{16}$`).test(file);
    if (older) rmSync(join(target, '..', file), { recursive: true, force: true });
  }
}

function hashOf({ sources, command }: Recipe): string {
  const hash = createHash('sha256').update(command.map((argument) => basename(argument)).join('\0'));
  for (const source of sources) hash.update('\0').update(readFileSync(source));
  return hash.digest('hex').slice(0, 16);
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
