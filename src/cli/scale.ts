import { HoldfastError } from '../errors.js';
import { checkName } from '../keeper/state.js';
import { defaultName } from '../model/keeper-name.js';
import { askNamed } from './ask-named.js';
import { tellOutcome } from './reload.js';

/** `holdfast scale`: exit 0 when the workers are being started or the reload has succeeded, 1 when that failed. */
export async function scale(given: string | undefined, count: string): Promise<void> {
  const name = checkName(given ?? defaultName(process.cwd()));
  if (!/^[1-9]\d{0,2}$/.test(count)) {
    throw new HoldfastError('ERR_HOLDFAST_OPTION', `"${count}" is no number of workers: from 1 to 999`);
  }
  tellOutcome(await askNamed(name, `/scale?workers=${count}`, 0), `scaled to ${count}`);
}
