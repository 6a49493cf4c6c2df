import type { Circumstances } from '../support/docs.js';
import type { PartOptions } from './part.js';

/** What `.cache/bench/keeper.json` has. */
export interface Report {
  readonly parts: Readonly<Record<string, Measured>>;
}

/** One part's figures, all of them raw, and what they depend on. */
export interface Measured extends Circumstances {
  readonly options: Omit<PartOptions, 'progress'>;
  readonly figures: unknown;
}
