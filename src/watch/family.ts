import { childrenOf, processStat } from '../kernel/procfs.js';

/** A process and all that descends from it, as /proc tells; empty when it has ended. */
export function familyOf(pid: number): ReadonlySet<number> {
  const found = new Set<number>();
  if (processStat(pid) === undefined) return found;
  for (const waiting = [pid]; ; ) {
    const next = waiting.pop();
    if (next === undefined) return found;
    if (found.has(next)) continue;
    found.add(next);
    waiting.push(...(childrenOf(next) ?? []));
  }
}
