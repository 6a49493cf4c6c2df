import { HoldfastError } from '../errors.js';

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

/** Milliseconds of `500ms`, `10s`, `2m`, `1h`, or of a plain number of seconds. */
export function parseDuration(text: string): number {
  const { number, unit } = /^(?<number>\d+(?:\.\d+)?)(?<unit>ms|s|m|h)?$/.exec(text)?.groups ?? {};
  if (number === undefined) {
    throw new HoldfastError('ERR_HOLDFAST_OPTION', `"${text}" is no time; write 500ms, 10s, 2m or 1h`);
  }
  return Number(number) * UNITS[(unit ?? 's') as keyof typeof UNITS];
}

/** `950 ms`, `12 s`, `3 min`. */
export function formatDuration(ms: number): string {
  // Rounded before the unit is chosen, so that nothing reads 1000 ms or 120 s.
  if (Math.round(ms) < 1_000) return `${Math.round(ms)} ms`;
  if (Math.round(ms / 100) < 1_200) return `${Number((ms / 1_000).toFixed(1))} s`;
  return `${Math.round(ms / 60_000)} min`;
}
