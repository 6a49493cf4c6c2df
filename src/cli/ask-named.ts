import { errorCode, HoldfastError } from '../errors.js';
import { askKeeper } from '../keeper/control.js';
import { checkName, stateFiles } from '../keeper/state.js';
import { workingDirectory } from '../kernel/directory.js';
import { defaultName } from '../model/keeper-name.js';

/**
 * Asks the keeper of that name to do something. `timeoutMs` 0: waits however long it takes.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_NOT_RUNNING. ERR_HOLDFAST_CONTROL: it said no.
 */
export async function askNamed(name: string, path: string, timeoutMs?: number): Promise<unknown> {
  try {
    return await askKeeper(stateFiles(name).control, 'POST', path, timeoutMs);
  } catch (error) {
    if (errorCode(error) !== 'ERR_HOLDFAST_NOT_RUNNING') throw error;
    const text = `no keeper named "${name}" runs; holdfast status lists them`;
    throw new HoldfastError('ERR_HOLDFAST_NOT_RUNNING', text, error);
  }
}

/** The keeper that a command is about: the one named, else that of the current folder. @throws {HoldfastError} ERR_HOLDFAST_NAME */
export function keeperName(given: string | undefined): string {
  return checkName(given ?? defaultName(workingDirectory()));
}
