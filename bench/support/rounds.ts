import type { Estimate } from './statistics.js';

/** One of those that are compared. */
export interface Entrant<T> {
  readonly name: string;
  start(): Promise<T>;
}

export interface Stoppable {
  stop(): Promise<void>;
}

export interface Contest<T, M extends string, S> {
  readonly entrants: readonly Entrant<T>[];
  readonly modes: readonly M[];
  readonly rounds: number;
  /** How often each is measured per round and mode. */
  readonly slices: number;
  measure(running: T, mode: M): Promise<S>;
  /** Before the first slice of a round, for each entrant and mode. */
  warmUp(running: T, mode: M): Promise<void>;
  progress?(text: string): void;
}

/** What was measured: by mode, entrant and round, the slices in the order of time. */
export type Samples<M extends string, S> = Readonly<Record<M, Readonly<Record<string, S[][]>>>>;

/**
 * Measures in rounds. A round starts every entrant anew, so that the luck of one process (its memory layout, what its
 * JIT decided) is drawn again, and then goes through all of them slice by slice in a new order each time, so that a
 * machine that gets slower or faster does so for all.
 */
export async function compete<T extends Stoppable, M extends string, S>(
  contest: Contest<T, M, S>,
): Promise<Samples<M, S>> {
  const { entrants, modes, rounds, slices, progress } = contest;
  const samples = Object.fromEntries(
    modes.map((mode) => [mode, Object.fromEntries(entrants.map(({ name }) => [name, [] as S[][]]))]),
  ) as Record<M, Record<string, S[][]>>;

  for (let round = 1; round <= rounds; round++) {
    const running: { readonly name: string; readonly it: T }[] = [];
    try {
      for (const entrant of shuffled(entrants)) {
        running.push({ name: entrant.name, it: await entrant.start() });
      }
      for (const mode of modes) {
        progress?.(`round ${round} of ${rounds}: ${mode}`);
        for (const { it } of running) await contest.warmUp(it, mode);
        for (const { name } of running) samples[mode][name]?.push([]);
        for (let slice = 0; slice < slices; slice++) {
          for (const { name, it } of shuffled(running)) {
            samples[mode][name]?.at(-1)?.push(await contest.measure(it, mode));
          }
        }
      }
    } finally {
      for (const { it } of running) await it.stop();
    }
  }
  return samples;
}

/** Per round, the figure of one over the figure of the other. */
export function ratios(figures: readonly number[], base: readonly number[]): number[] {
  return figures.map((figure, round) => figure / (base[round] ?? Number.NaN));
}

export type Verdict = 'reached' | 'reached within the noise' | 'missed';

/** A ratio that should be at least `target`. */
export function judgeRatio(ratio: Estimate, target: number, noise: Estimate): Verdict {
  if (ratio.median >= target) return 'reached';
  return ratio.high + noiseOf(noise) >= target ? 'reached within the noise' : 'missed';
}

/** A figure that should be at most `target`. `noise`: how far two equal ones were apart, in the same unit. */
export function judgeMost(figure: Estimate, target: number, noise: number): Verdict {
  if (figure.median <= target) return 'reached';
  return figure.low - noise <= target ? 'reached within the noise' : 'missed';
}

/** Per round, the figure of one less that of the other. */
export function differences(figures: readonly number[], base: readonly number[]): number[] {
  return figures.map((figure, round) => figure - (base[round] ?? Number.NaN));
}

/** How far two equal ones were apart: what the interval of their ratio has on the farther side of 1. */
export function noiseOf({ low, high }: Estimate): number {
  return Math.max(Math.abs(1 - low), Math.abs(high - 1));
}

/** The same items in a random order. */
export function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
