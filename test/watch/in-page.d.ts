import type { AxeResults } from 'axe-core';

/** By the names of the nodes. */
export type Counts = Readonly<Record<string, number>>;

export function countsNow(): Counts;
export function recordCounts(): void;
/** When the nodes first showed that and nothing else, after a time, in ms since 1970; null when they have not. */
export function shownSince(asked: { readonly wanted: Counts; readonly sinceMs: number }): number | null;
/** First contentful paint, in ms since the navigation began. */
export function firstPaint(): number;
/** Those that a script may read. */
export function cookies(): string;
/** In CSS pixels. */
export function widthNeeded(): number;
/** After axe has been loaded. */
export function runAxe(): Promise<AxeResults>;
