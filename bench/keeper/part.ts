import type { Requirement } from '../../scripts/requirements.js';

export interface PartOptions {
  readonly rounds: number;
  /** How long each is measured per round and mode. */
  readonly seconds: number;
  readonly kills: number;
  /** How many times each bind is timed. */
  readonly samples: number;
  /** Of wrk. */
  readonly connections: number;
  progress(text: string): void;
}

/** One of the things that the bench measures. `F` is what it writes down: plain, and all of it raw. */
export interface Part<F> {
  readonly title: string;
  readonly needs: readonly Requirement[];
  readonly needsPm2: boolean;
  measure(options: PartOptions): Promise<F>;
  describe(figures: F): Description;
}

export interface Description {
  /** Markdown. */
  readonly text: string;
  readonly targets: readonly Target[];
}

/** A claim and what was measured. */
export interface Target {
  readonly what: string;
  readonly target: string;
  readonly figure: string;
  readonly verdict: string;
}

/** `reached` or `missed`. */
export function verdictOf(reached: boolean): string {
  return reached ? 'reached' : 'missed';
}
