import { HoldfastError } from '../errors.js';
import { processStat } from '../kernel/procfs.js';
import { type KeeperSource, Sampler, type Viewer } from './sampler.js';
import type { WatchFilter, WatchUpdate } from './view.js';

export interface WatchOptions extends WatchFilter {
  /** From one look to the next, in ms, from 100. Default 1000. */
  readonly intervalMs?: number | undefined;
  /** Ends the iteration with an AbortError. */
  readonly signal?: AbortSignal | undefined;
}

export const INTERVAL_MIN_MS = 100;
export const INTERVAL_MAX_MS = 3_600_000;
const PORT_MAX = 65_535;

/** Looks at the sockets for one viewer, until the loop over the updates is left. */
export async function* watchSockets(
  options: WatchOptions,
  keepers: KeeperSource,
): AsyncGenerator<WatchUpdate, void, undefined> {
  const { intervalMs = 1_000, signal } = options;
  let sampler: Sampler | undefined;
  let viewer: Viewer | undefined;
  const abort = (): void => viewer?.close();
  try {
    checkWatch(options, keepers);
    sampler = new Sampler({ intervalMs, keepers });
    viewer = sampler.view(options);
    signal?.addEventListener('abort', abort);
    for (;;) {
      signal?.throwIfAborted();
      const update = await viewer.next();
      signal?.throwIfAborted();
      if (update === undefined) return;
      yield update;
    }
  } finally {
    signal?.removeEventListener('abort', abort);
    if (sampler === undefined) keepers.close();
    else sampler.close();
  }
}

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION. ERR_HOLDFAST_NOT_RUNNING: no keeper of that name. */
export function checkWatch(
  { intervalMs = 1_000, port, pid, keeper }: WatchOptions,
  keepers: KeeperSource,
): void {
  checkNumber('intervalMs', intervalMs, INTERVAL_MIN_MS, INTERVAL_MAX_MS);
  if (port !== undefined) checkNumber('port', port, 1, PORT_MAX);
  if (pid !== undefined) {
    checkNumber('pid', pid, 1, 2 ** 31 - 1);
    if (processStat(pid) === undefined)
      throw new HoldfastError('ERR_HOLDFAST_OPTION', `no process has the pid ${pid}`);
  }
  if (keeper !== undefined && !keepers.look().some(({ name }) => name === keeper)) {
    const text = `no keeper named "${keeper}" runs; holdfast status lists them`;
    throw new HoldfastError('ERR_HOLDFAST_NOT_RUNNING', text);
  }
}

function checkNumber(name: string, value: unknown, min: number, max: number): void {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return;
  const text = `${name} is a whole number from ${min} to ${max}, not ${String(value)}`;
  throw new HoldfastError('ERR_HOLDFAST_OPTION', text);
}
