import { setTimeout as sleep } from 'node:timers/promises';
import { readState, stateFiles } from '../keeper/state.js';
import { isAlive } from '../keeper/tree.js';
import { askNamed, keeperName, notEnded } from './ask-named.js';

const LOOK_EVERY_MS = 20;

/** `holdfast stop`: asks the keeper to end its server and waits until it has. */
export async function stop(given: string | undefined, options: { readonly timeout: number }): Promise<void> {
  const name = keeperName(given);
  const state = readState(stateFiles(name).state);
  await askNamed(name, '/stop');
  if (state === undefined) return;
  const until = performance.now() + options.timeout;
  while (isAlive(state)) {
    if (performance.now() > until) throw notEnded(name, state, options.timeout);
    await sleep(LOOK_EVERY_MS);
  }
}
