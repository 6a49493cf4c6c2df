import type { Leftovers } from '../kernel/sock-diag.js';
import { outcomeOf } from './binds.js';
import type { BindReport, SocketReport, Verdict } from './report.js';

/** What becomes of plain binds decides: of the one that was asked for, or of those at the wildcards. */
export function verdictOf(
  sockets: readonly SocketReport[],
  leftovers: readonly Leftovers[],
  binds: readonly BindReport[],
): Verdict {
  const plain = decisive(binds).map(outcomeOf);
  const isInUse = plain.includes('EADDRINUSE');
  const isHad = sockets.some(({ ownerKind }) => ownerKind !== 'none');
  if (isInUse || (isHad && !plain.every((outcome) => outcome === 'ok'))) {
    if (isHad) return 'held';
    return sockets.length + leftovers.length > 0 ? 'leftovers' : 'blocked';
  }
  if (plain.every((outcome) => outcome === 'ok')) return 'free';
  return plain.includes('unknown') ? 'unknown' : 'blocked';
}

/** Plain binds at the addresses that a server takes when it is told none, or at the only one. */
export function decisive(binds: readonly BindReport[]): readonly BindReport[] {
  const plain = binds.filter(({ options }) => options.length === 0);
  const wildcards = plain.filter(({ address }) => /^(?:0\.0\.0\.0|\[::\]):/.test(address));
  return wildcards.length > 0 ? wildcards : plain;
}
