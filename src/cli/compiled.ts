import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Script } from 'node:vm';

/**
 * A CommonJS file beside this one, run from the bytecode that V8 made of it when holdfast was built: to compile it would
 * take a quarter of a diagnosis. Bytecode of another version of V8 has another name; what V8 refuses, it compiles.
 */
export function loadCompiled<T>(name: string): T {
  const file = join(import.meta.dirname, name);
  return runIn(file, compile(file, read(bytecodeOf(file))));
}

export function compile(file: string, cachedData: Buffer | undefined): Script {
  const wrapped = `(function (exports, require, module, __filename, __dirname) {${readFileSync(file, 'utf8')}\n})`;
  return new Script(wrapped, { filename: file, ...(cachedData && { cachedData }) });
}

/** Runs a compiled file, and gives what it exports. */
export function runIn<T>(file: string, script: Script): T {
  const module: { exports: unknown } = { exports: {} };
  script.runInThisContext()(module.exports, createRequire(file), module, file, import.meta.dirname);
  return module.exports as T;
}

/** Where the bytecode of a file is, for this version of V8 on this processor. */
export function bytecodeOf(file: string): string {
  return `${file}.${process.versions.v8}-${process.arch}`;
}

function read(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    // Not there, most likely: built by another version of Node. Nothing depends on it.
    return undefined;
  }
}
