import { realpathSync } from 'node:fs';

/** What a generation runs. */
export interface Program {
  readonly command: readonly string[];
  /** A link in it leads to what it names when a generation begins. */
  readonly directory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The same program from where its folder is now, wherever a link leads later. */
export function pinned(program: Program): Program {
  return { ...program, directory: realpathSync(program.directory) };
}
