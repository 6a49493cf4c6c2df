import { chownSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pathOf } from '../../scripts/requirements.js';
import type { KeeperState } from '../../src/index.js';
import { type Exit, type Started, type StartOptions, start } from './process.js';
import { temporaryFolder } from './temporary.js';
import { until, type WaitOptions } from './wait.js';

/**
 * How long a command may take. A reload waits for the end of the one before it, whose old server has 30 s to drain and
 * 10 s to stop, and then until the new one is ready, for which that has 60 s.
 */
const COMMAND_MS = 100_000;

/** The built command, as a user has it. */
export const holdfast: readonly string[] = [
  process.execPath,
  fileURLToPath(new URL('../../dist/cli/main.cjs', import.meta.url)),
];

export interface KeeperOptions extends StartOptions {
  /** Options of `holdfast run`. */
  readonly flags?: readonly string[];
  /** Makes the whole command line of the keeper, e.g. one that enters a namespace or runs another Node. */
  readonly around?: (keeper: readonly string[]) => readonly string[];
  /** Default `app`. */
  readonly name?: string;
  /** The keeper whose state folder this one shares. Default: a folder of its own. */
  readonly beside?: RunningKeeper;
  /** Whom the state folder belongs to, when `around` changes to that user. Default: whom the keeper is started as. */
  readonly stateOwner?: number;
}

/** A running `holdfast run` with a state folder of its own. */
export interface RunningKeeper {
  readonly process: Started;
  readonly name: string;
  /** The environment by which other commands find it. */
  readonly env: { readonly HOLDFAST_STATE_DIR: string };
  /** What it has written down last. @throws ENOENT while it has written nothing or when it has ended */
  state(): KeeperState;
  /** The first process of the running server. */
  worker(): number;
  /** Waits until so many addresses are confirmed to be held. */
  holding(count?: number): Promise<KeeperState>;
  /** Waits until the state file is as asked for, and gives what it says. */
  untilState(
    fact: string,
    look: (state: KeeperState) => boolean,
    options?: WaitOptions,
  ): Promise<KeeperState>;
  /** Kills the server's first process with SIGKILL and waits until another one was started. Gives its pid. */
  crash(signal?: NodeJS.Signals): Promise<number>;
  /** Does what ends the server and waits until it was started again. Gives the pid of its new first process. */
  restarts(end: () => unknown): Promise<number>;
  /** Runs another holdfast command against it. */
  ask(
    ...args: readonly string[]
  ): Promise<{ readonly exit: Exit; readonly stdout: string; readonly stderr: string }>;
}

/** Starts `holdfast run FLAGS -- COMMAND`. Ends with the test, with everything that came from it. */
export function startKeeper(command: readonly string[], options: KeeperOptions = {}): RunningKeeper {
  const { flags = [], around = (keeper) => keeper, name = 'app', beside, stateOwner, env, ...rest } = options;
  const stateDirectory = beside?.env.HOLDFAST_STATE_DIR ?? temporaryFolder();
  const owner = stateOwner ?? rest.uid;
  if (owner !== undefined) chownSync(stateDirectory, owner, -1);
  const stateEnv = { HOLDFAST_STATE_DIR: stateDirectory };
  const line = around([...holdfast, 'run', '--name', name, ...flags, '--', ...command]);
  const process = start(line, { ...rest, env: { ...env, ...stateEnv } });
  const state = (): KeeperState =>
    JSON.parse(readFileSync(join(stateDirectory, `${name}.json`), 'utf8')) as KeeperState;
  const stateNow = (): KeeperState | undefined => {
    try {
      return state();
    } catch {
      // Not written yet, or removed at the end.
      return undefined;
    }
  };
  const worker = (): number => {
    const pid = state().worker?.pid;
    if (pid === undefined) throw new Error('no server runs');
    return pid;
  };
  const restarts = async (end: () => unknown): Promise<number> => {
    const before = state();
    await end();
    const next = (): number | undefined => {
      if (process.exit !== undefined) throw new Error(`the keeper ended instead: ${process.stderr}`);
      const now = stateNow();
      // The start is counted a moment before its process is known.
      const isNext =
        now !== undefined && now.starts > before.starts && now.worker?.pid !== before.worker?.pid;
      return isNext ? now.worker?.pid : undefined;
    };
    return until('the next start', next, { timeoutMs: 20_000 });
  };
  return {
    process,
    name,
    env: stateEnv,
    state,
    worker,
    holding: async (count = 1) => {
      await process.line(/keeps .* for pid/, { after: count - 1 });
      return until('the state file', stateNow);
    },
    untilState: (fact, look, options) =>
      until(
        fact,
        () => {
          const now = stateNow();
          return now !== undefined && look(now) ? now : undefined;
        },
        options,
      ),
    crash: (signal = 'SIGKILL') => restarts(() => globalThis.process.kill(worker(), signal)),
    restarts,
    ask: async (...args) => {
      const asked = start([...holdfast, ...args], { env: stateEnv });
      const exit = await asked.end(COMMAND_MS);
      return { exit, stdout: asked.stdout, stderr: asked.stderr };
    },
  };
}

/** Start options that run a program as an ordinary user: another one when we are root, ourselves otherwise. */
export const ordinaryUser: Pick<StartOptions, 'uid' | 'gid'> =
  process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};

/** A command line that runs another one as an ordinary user, with no groups and no capabilities. */
export function asNobody(command: readonly string[]): readonly string[] {
  return [
    pathOf('setpriv') ?? 'setpriv',
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    '--',
    ...command,
  ];
}
