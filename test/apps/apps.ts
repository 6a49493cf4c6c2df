import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KeeperState } from '../../src/index.js';
import type { Ended } from '../cli/holdfast.js';
import { holdfast } from '../support/keeper.js';
import { type Started, type StartOptions, start } from '../support/process.js';
import { temporaryFolder } from '../support/temporary.js';

/** A folder with a holdfast.yaml, and a state folder of its own. */
export interface Apps {
  readonly folder: string;
  readonly stateFolder: string;
  readonly env: { readonly HOLDFAST_STATE_DIR: string };
  /** Writes a file of the folder. */
  write(name: string, content: string): void;
  /** Runs holdfast in the folder to its end. What it has started goes on until the test ends. */
  ask(...args: readonly string[]): Promise<Ended>;
  /** Starts holdfast in the folder. */
  start(args: readonly string[], options?: StartOptions): Started;
  /** What the keeper of that name has written down; undefined when there is none. */
  state(name: string): KeeperState | undefined;
  /** The files of the state folder. */
  stateFiles(): readonly string[];
  log(name: string): string;
}

export function newApps(
  yaml: string,
  around: (command: readonly string[]) => readonly string[] = (c) => c,
): Apps {
  const folder = temporaryFolder();
  const stateFolder = temporaryFolder();
  const env = { HOLDFAST_STATE_DIR: stateFolder };
  const apps: Apps = {
    folder,
    stateFolder,
    env,
    write: (name, content) => writeFileSync(join(folder, name), content),
    ask: async (...args) => {
      const asked = apps.start(args);
      const { code } = await asked.end(60_000);
      return { code, stdout: asked.stdout, stderr: asked.stderr };
    },
    start: (args, options = {}) =>
      start(around([...holdfast, ...args]), { cwd: folder, ...options, env: { ...env, ...options.env } }),
    state: (name) => {
      try {
        return JSON.parse(readFileSync(join(stateFolder, `${name}.json`), 'utf8')) as KeeperState;
      } catch {
        return undefined; // ENOENT: it does not run
      }
    },
    stateFiles: () => readdirSync(stateFolder).sort(),
    log: (name) => readFileSync(join(stateFolder, `${name}.log`), 'utf8'),
  };
  apps.write('holdfast.yaml', yaml);
  return apps;
}

/** A server in Node that answers with its pid, its folder and the variable WHO. */
export const SERVER = `
const answer = () => 'pid ' + process.pid + '\\n' + JSON.stringify({ cwd: process.cwd(), who: process.env.WHO ?? null }) + '\\n';
require('node:http')
  .createServer((request, response) => response.end(answer()))
  .listen(Number(process.env.PORT), '127.0.0.1', () => console.log('ready at ' + process.env.PORT));
`;
