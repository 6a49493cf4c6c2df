import { writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { parseAppsFile } from '../apps/file.js';
import { appsFromPm2 } from '../apps/pm2.js';
import { writeApps } from '../apps/write.js';
import { errorCode, HoldfastError } from '../errors.js';
import { parseListen } from '../keeper/listen-address.js';
import { appsOfMachine } from './machine-apps.js';
import { say } from './say.js';

export interface InitFlags {
  readonly from?: string;
  readonly output: string;
  readonly force?: boolean;
}

/** Beside src and dist: data of the package, not a module. */
const SCHEMA = join(import.meta.dirname, '..', '..', 'schema', 'holdfast.json');

/** `holdfast init`: exit 0 when a file was written, 1 when there is no server to write into it. */
export async function init({ from, output, force = false }: InitFlags): Promise<void> {
  const path = resolve(output);
  const folder = output === '-' ? process.cwd() : dirname(path);
  const { drafts, notes } = from === undefined ? appsOfMachine(folder) : await appsFromPm2(from, folder);
  if (drafts.length === 0) {
    for (const note of notes) process.stderr.write(`holdfast: ${note}\n`);
    process.stderr.write('holdfast: no server of this user listens that could be written down\n');
    process.exitCode = 1;
    return;
  }
  const text = writeApps(drafts, {
    schema: schemaPath(folder),
    notes: [...(from === undefined ? OF_MACHINE : ofPm2(from)), ...notes],
  });
  // What is written can be read: nobody learns otherwise at `up`.
  parseAppsFile(text, output, path, parseListen);
  if (output === '-') {
    say(text);
    return;
  }
  write(path, text, force);
  const names = drafts.map(({ name }) => name).join(', ');
  process.stdout.write(`${output}: ${names}. Look it through, then: holdfast up\n`);
}

const OF_MACHINE = [
  'The servers of this user that listened when holdfast init was run.',
  'Their environments were not copied, since they may hold secrets: add what a server needs under env.',
];

function ofPm2(from: string): readonly string[] {
  return [`From ${from}, with the values that it had when it was read: look through env for secrets.`];
}

function write(path: string, text: string, force: boolean): void {
  try {
    writeFileSync(path, text, { flag: force ? 'w' : 'wx' });
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
    const what = `${path} is there already; --force overwrites it, -o names another file`;
    throw new HoldfastError('ERR_HOLDFAST_OPTION', what, error);
  }
}

/** Relative for a package of the project, so that the file is the same for everybody. */
function schemaPath(folder: string): string {
  const path = relative(folder, SCHEMA);
  return path.startsWith('..') ? SCHEMA : path;
}
