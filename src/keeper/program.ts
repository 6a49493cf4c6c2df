import { realpathSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { errorCode } from '../errors.js';

/** What a generation runs. */
export interface Program {
  readonly command: readonly string[];
  /** A link in it leads to what it names when a generation begins. */
  readonly directory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The same program from where its folder is now, wherever a link leads later; a start tells that there is none. */
export function pinned(program: Program): Program {
  try {
    return { ...program, directory: realpathSync(program.directory) };
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return program;
    throw error;
  }
}

/** Whether both run the same command in the same folder with the same environment. */
export function isSameProgram(one: Program, other: Program): boolean {
  return isDeepStrictEqual(comparable(one), comparable(other));
}

function comparable({ command, directory, env }: Program): unknown {
  const variables = Object.entries(env).filter(([, value]) => value !== undefined);
  return { command: [...command], directory, env: Object.fromEntries(variables) };
}
