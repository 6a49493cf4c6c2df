import type { ProcessReport } from './process.js';
import type { SocketReport } from './report.js';

/**
 * Whose socket it is, of all that have it open: a keeper's server rather than the keeper, otherwise the parent of the
 * others; who only inherited it comes last.
 */
export function ownerOf(
  { holders }: SocketReport,
  processes: readonly ProcessReport[],
): ProcessReport | undefined {
  const rank = (pid: number): number => (holders.find((holder) => holder.pid === pid)?.leaked ? 1 : 0);
  const known = processes.filter(({ pid }) => holders.some((holder) => holder.pid === pid));
  const isKept = ({ pid, supervisor }: ProcessReport): boolean =>
    supervisor?.kind === 'holdfast' && supervisor.pid !== pid && rank(pid) === 0;
  const kept = known.find(isKept);
  const [first] = [...known].sort((a, b) => rank(a.pid) - rank(b.pid) || a.parents.length - b.parents.length);
  return kept ?? first;
}

/** Whether it only inherited the socket. */
export function isLeakedTo({ holders }: SocketReport, { pid }: ProcessReport): boolean {
  return holders.find((holder) => holder.pid === pid)?.leaked === true;
}
