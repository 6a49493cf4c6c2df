const UNITS = [
  { ms: 86_400_000, name: 'd' },
  { ms: 3_600_000, name: 'h' },
  { ms: 60_000, name: 'min' },
  { ms: 1_000, name: 's' },
] as const;

/** `2 h 14 min`, `45 s`: the two largest units. */
export function formatAge(ms: number): string {
  const first = UNITS.findIndex((unit) => ms >= unit.ms);
  if (first < 0) return 'less than a second';
  const parts: string[] = [];
  let left = ms;
  for (const { ms: unit, name } of UNITS.slice(first, first + 2)) {
    const count = Math.floor(left / unit);
    left -= count * unit;
    if (count > 0) parts.push(`${count} ${name}`);
  }
  return parts.join(' ');
}

/** Seconds until a timer of the kernel fires, which may take some percent longer: `12 s`. */
export function formatUntil(ms: number): string {
  return `${Math.max(0, Math.ceil(ms / 1000))} s`;
}
