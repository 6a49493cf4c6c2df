import { HoldfastError } from '../errors.js';
import type { ReloadOutcome } from '../keeper/reload.js';
import { askNamed, keeperName } from './ask-named.js';
import { type Success, takenOver, tellOutcome } from './reload.js';

/** `holdfast scale`: exit 0 when the workers are being started or the reload has succeeded, 1 when that failed. */
export async function scale(given: string | undefined, count: string): Promise<void> {
  tellOutcome(await askToScale(keeperName(given), count), scaledTo(count), 'scaling');
}

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION: no number of workers. As `askNamed`. */
export async function askToScale(name: string, count: string, signal?: AbortSignal): Promise<ReloadOutcome> {
  if (!/^[1-9]\d{0,2}$/.test(count)) {
    throw new HoldfastError('ERR_HOLDFAST_OPTION', `"${count}" is no number of workers: from 1 to 999`);
  }
  return (await askNamed(name, `/scale?workers=${count}`, 0, signal)) as ReloadOutcome;
}

export function scaledTo(count: string): (outcome: Success) => string {
  return (outcome) => (outcome.tookMs === 0 ? `scaled to ${count}` : takenOver(outcome));
}
