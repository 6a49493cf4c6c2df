import type { WatchOptions } from './drain-watch.js';
import type { Program } from './program.js';
import type { Readiness } from './readiness.js';

/** How one generation takes over from another. Times in milliseconds. */
export interface ReloadPolicy {
  /** How many workers a generation has. */
  readonly workers: number;
  /** How many more of them wait to stand in for one that dies. */
  readonly standbys: number;
  /** How long one may wait before it is started anew. */
  readonly standbyMaxAgeMs: number;
  /** Whether the new generation starts while the old one still serves. */
  readonly overlap: boolean;
  /** What it must have done beside listening. */
  readonly readiness: Readiness;
  /** From the start of the new generation until it is ready. */
  readonly readyTimeoutMs: number;
  /** What the old generation's connections are waited for. */
  readonly drainWait: WatchOptions['wait'];
  readonly drainQuietMs: number;
  readonly drainTimeoutMs: number;
  /** How long the old generation is kept after that, for a way back. */
  readonly parkMs: number;
}

export interface ReloadOptions {
  /** The new generation may listen on other addresses than the old one. Default false. */
  readonly newAddresses?: boolean;
  /** Stop the old generation before the new one starts; clients wait meanwhile. Default false. */
  readonly restart?: boolean;
  /** After a way back: start again what was gone back to, and not what the keeper was started with. Default false. */
  readonly again?: boolean;
  /** Start this. Default: what the keeper was started with. */
  readonly program?: Program;
}

/** Why nothing comes of a reload any more. */
export const KEEPER_STOPS = 'the keeper is stopping';

/**
 * How a reload went. `why` tells a person what the new generation did or did not do. `goesOn`: the old one
 * serves as before; otherwise it has been stopped, and the new one is started again as after a crash, unless `why` is
 * `KEEPER_STOPS` or it is `released`: it could not be started at all, and its port stays released until the next take.
 */
export type ReloadOutcome =
  | { readonly ok: true; readonly generation: number; readonly tookMs: number }
  | { readonly ok: false; readonly goesOn: boolean; readonly why: string; readonly released?: true };
