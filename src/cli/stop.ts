import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode, HoldfastError } from '../errors.js';
import { askKeeper } from '../keeper/control.js';
import { checkName, readState, stateFiles } from '../keeper/state.js';
import { isAlive } from '../keeper/tree.js';
import { defaultName } from '../model/keeper-name.js';
import { formatDuration } from './duration.js';

const LOOK_EVERY_MS = 20;

/** `holdfast stop`: asks the keeper to end its server and waits until it has. */
export async function stop(given: string | undefined, options: { readonly timeout: number }): Promise<void> {
  const name = checkName(given ?? defaultName(process.cwd()));
  const files = stateFiles(name);
  const state = readState(files.state);
  try {
    await askKeeper(files.control, 'POST', '/stop');
  } catch (error) {
    if (errorCode(error) !== 'ERR_HOLDFAST_NOT_RUNNING') throw error;
    const text = `no keeper named "${name}" runs; holdfast status lists them`;
    throw new HoldfastError('ERR_HOLDFAST_NOT_RUNNING', text, error);
  }
  if (state === undefined) return;
  const until = performance.now() + options.timeout;
  while (isAlive(state)) {
    if (performance.now() > until) {
      const text = `"${name}" (pid ${state.pid}) has not ended within ${formatDuration(options.timeout)}; it goes on stopping`;
      throw new HoldfastError('ERR_HOLDFAST_CONTROL', text);
    }
    await sleep(LOOK_EVERY_MS);
  }
}
