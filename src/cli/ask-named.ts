import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { errorCode, HoldfastError } from '../errors.js';
import { askKeeper } from '../keeper/control.js';
import {
  checkName,
  type KeeperState,
  otherStateDirectories,
  readState,
  stateFiles,
} from '../keeper/state.js';
import { isAlive, type ProcessId } from '../keeper/tree.js';
import { workingDirectory } from '../kernel/directory.js';
import { formatDuration } from '../model/duration.js';
import { defaultName } from '../model/keeper-name.js';

/**
 * Asks the keeper of that name to do something. `timeoutMs` 0: waits however long it takes, until `signal`.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_NOT_RUNNING. ERR_HOLDFAST_KEEPER_ENDED: before it answered. ERR_HOLDFAST_CONTROL: it
 *   said no.
 */
export async function askNamed(
  name: string,
  path: string,
  timeoutMs?: number,
  signal?: AbortSignal,
): Promise<unknown> {
  return ofNamed(name, () => askKeeper(stateFiles(name).control, 'POST', path, timeoutMs, signal));
}

/** Does the work, and names the keeper when it fails because that does not run, or not any more. */
export async function ofNamed<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    switch (errorCode(error)) {
      case 'ERR_HOLDFAST_NOT_RUNNING':
        throw notRunning(name, error);
      case 'ERR_HOLDFAST_KEEPER_ENDED':
        throw endedMeanwhile(name, error);
      default:
        throw error;
    }
  }
}

function endedMeanwhile(name: string, cause: unknown): HoldfastError {
  const text = `the keeper "${name}" ended or was replaced before it answered; see holdfast status ${name}, and ask again`;
  return new HoldfastError('ERR_HOLDFAST_KEEPER_ENDED', text, cause);
}

/** The keeper that a command is about: the one named, else that of the current folder. @throws {HoldfastError} ERR_HOLDFAST_NAME */
export function keeperName(given: string | undefined): string {
  return checkName(given ?? defaultName(workingDirectory()));
}

export function notRunning(name: string, cause?: unknown): HoldfastError {
  const left = leftServer(readState(stateFiles(name).state)) ?? runsElsewhere(name);
  const text = `no keeper named "${name}" runs; ${left ?? 'holdfast status lists them'}`;
  return new HoldfastError('ERR_HOLDFAST_NOT_RUNNING', text, cause);
}

/** That one of that name runs with its state in another folder, which a login or a unit has chosen, in words. */
function runsElsewhere(name: string): string | undefined {
  const runsIn = (folder: string): boolean => {
    const state = readState(join(folder, `${name}.json`));
    return state !== undefined && isAlive(state);
  };
  const folder = otherStateDirectories(name).find(runsIn);
  return folder === undefined
    ? undefined
    : `one has its state in ${folder}; ask it with HOLDFAST_STATE_DIR=${folder}`;
}

/** What the keeper of that name says of itself; undefined when none answers. */
export async function stateOf(name: string): Promise<KeeperState | undefined> {
  try {
    return (await askKeeper(stateFiles(name).control, 'GET', '/status')) as KeeperState;
  } catch (error) {
    if (hasGone(error)) return undefined;
    throw error;
  }
}

/** The command that runs, when that is another one than the keeper was given. */
export function otherCommand({ command, program }: KeeperState): readonly string[] | undefined {
  // Keepers of former versions tell only what they were given.
  return program === undefined || isDeepStrictEqual(program.command, command) ? undefined : program.command;
}

/** Whether nobody answers: a keeper may also end while it is asked. */
export function hasGone(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'ERR_HOLDFAST_NOT_RUNNING' || code === 'ERR_HOLDFAST_KEEPER_ENDED';
}

export function notEnded(name: string, { pid }: ProcessId, timeoutMs: number): HoldfastError {
  const text = `"${name}" (pid ${pid}) has not ended within ${formatDuration(timeoutMs)}; it goes on stopping`;
  return new HoldfastError('ERR_HOLDFAST_CONTROL', text);
}

/** Of a keeper that was killed: which server goes on without it, in words. Undefined when none does. */
export function leftServer(state: KeeperState | undefined): string | undefined {
  if (state === undefined || isAlive(state)) return undefined;
  const pids = state.workers.flatMap(({ pid, startTime }) =>
    pid !== null && startTime !== null && isAlive({ pid, startTime }) ? [pid] : [],
  );
  if (pids.length === 0) return undefined;
  const command = `holdfast run --name ${state.name} -- ${state.command.join(' ')}`;
  const goesOn = state.paused ? 'is paused, and stands still without one' : 'goes on without one';
  return `its server, pid ${pids.join(', ')}, ${goesOn}; in ${state.directory}, with the options that it had, take it over with: ${command}`;
}
