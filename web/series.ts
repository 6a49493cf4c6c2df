import type { KeeperMark, WatchHistory } from '../src/watch/view.js';
import { NODES, type NodeId, titleOf } from './states.js';
import { formatSpan } from './words.js';

/** Those that are drawn at first: the others hardly change. */
const QUIET: readonly NodeId[] = ['BOUND', 'LISTEN'];

export const SHOWN_AT_FIRST: ReadonlySet<NodeId> = new Set(NODES.filter((id) => !QUIET.includes(id)));

/** Lines of states can be told apart without their colours. */
export const DASHES: Readonly<Record<NodeId, readonly number[]>> = {
  BOUND: [1, 3],
  LISTEN: [8, 3, 1, 3],
  SYN_SENT: [2, 2],
  SYN_RECV: [5, 2],
  ACCEPT_QUEUE: [10, 3],
  ESTABLISHED: [],
  FIN_WAIT1: [3, 3],
  FIN_WAIT2: [7, 4],
  CLOSING: [1, 2],
  TIME_WAIT: [12, 3, 3, 3],
  CLOSE_WAIT: [4, 2, 1, 2],
  LAST_ACK: [2, 4],
};

export function valuesOf({ counts, acceptQueue }: WatchHistory, id: NodeId): readonly number[] {
  return id === 'ACCEPT_QUEUE' ? acceptQueue : counts[id];
}

/** The course of what was ever there, for who does not see the lines. */
export function summaryOf(history: WatchHistory): string {
  const { atMs } = history;
  const [first, last] = [atMs[0], atMs.at(-1)];
  if (first === undefined || last === undefined) return 'Nothing has been counted yet.';
  const parts = NODES.flatMap((id) => {
    const values = valuesOf(history, id);
    const most = Math.max(...values);
    if (most === 0) return [];
    return `${titleOf(id)} from ${Math.min(...values)} to ${most}, now ${values.at(-1)}`;
  });
  return `In the last ${formatSpan(last - first)}: ${parts.length === 0 ? 'no sockets' : parts.join('; ')}.`;
}

const KINDS: Readonly<Record<KeeperMark['kind'], string>> = {
  restarted: 'restarted after a crash',
  promoted: 'standby promoted',
  reloading: 'reload began',
  reloaded: 'reloaded',
  'reload-failed': 'reload failed',
  'rolled-back': 'rolled back',
  paused: 'paused',
  resumed: 'resumed',
};

/** `shop: reloaded, generation 4` */
export function describeMark({ keeper, kind, generation, pid }: KeeperMark): string {
  const about = [
    ...(generation === null ? [] : [`generation ${generation}`]),
    ...(pid === null ? [] : [`pid ${pid}`]),
  ];
  return [`${keeper}: ${KINDS[kind]}`, ...about].join(', ');
}
