import type { Machine } from '../support/machine.js';
import type { PartOptions } from './part.js';

/** What `.cache/bench/keeper.json` has. */
export interface Report {
  readonly parts: Readonly<Record<string, Measured>>;
}

/** One part's figures, all of them raw, and what they depend on. */
export interface Measured {
  /** When it began, in UTC. */
  readonly measuredAt: string;
  readonly tookSeconds: number;
  readonly machine: Machine;
  /** The versions of what was measured, by name. */
  readonly programs: Readonly<Record<string, string>>;
  readonly options: Omit<PartOptions, 'progress'>;
  readonly figures: unknown;
}
