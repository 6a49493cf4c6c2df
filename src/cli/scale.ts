import { HoldfastError } from '../errors.js';
import { askNamed, keeperName } from './ask-named.js';
import { takenOver, tellOutcome } from './reload.js';

/** `holdfast scale`: exit 0 when the workers are being started or the reload has succeeded, 1 when that failed. */
export async function scale(given: string | undefined, count: string): Promise<void> {
  const name = keeperName(given);
  if (!/^[1-9]\d{0,2}$/.test(count)) {
    throw new HoldfastError('ERR_HOLDFAST_OPTION', `"${count}" is no number of workers: from 1 to 999`);
  }
  tellOutcome(await askNamed(name, `/scale?workers=${count}`, 0), (outcome) =>
    outcome.tookMs === 0 ? `scaled to ${count}` : takenOver(outcome),
  );
}
