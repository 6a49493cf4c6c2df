import type { Closing, Transition, WatchState } from '../src/watch/view.js';
import { EDGE_IDS, type Edge, type Place } from './edges.js';

/** How a connection began. `queued`: its server has not accepted it yet. */
export type Opening = 'client' | 'server' | 'queued';

const OPENINGS: Readonly<Record<Opening, readonly Edge[]>> = {
  client: ['CLOSED-SYN_SENT', 'SYN_SENT-ESTABLISHED'],
  server: ['LISTEN-SYN_RECV', 'SYN_RECV-ACCEPT_QUEUE', 'ACCEPT_QUEUE-ESTABLISHED'],
  queued: ['LISTEN-SYN_RECV', 'SYN_RECV-ACCEPT_QUEUE'],
};

/** What a new socket has passed, as far as its state alone tells. */
const BEGINNINGS: Readonly<Partial<Record<WatchState, readonly Edge[]>>> = {
  BOUND: ['CLOSED-BOUND'],
  LISTEN: ['CLOSED-BOUND', 'BOUND-LISTEN'],
  SYN_SENT: ['CLOSED-SYN_SENT'],
  SYN_RECV: ['LISTEN-SYN_RECV'],
};

/**
 * The edges that a socket must have taken. Where the diagram has two ways, the usual one; where it may have been reset, only
 * what is certain.
 */
export function routeOf(
  { from, to, closing }: Omit<Transition, 'count'>,
  opening?: Opening,
): readonly Edge[] {
  if (from === null) return beginningOf(to, closing, opening);
  return to === null ? endingOf(from, closing) : wayTo(from, to);
}

function beginningOf(
  to: WatchState | null,
  closing: Closing | null,
  opening: Opening | undefined,
): readonly Edge[] {
  const certain = to === null ? undefined : BEGINNINGS[to];
  if (certain !== undefined) return certain;
  const opened = opening === undefined ? [] : OPENINGS[opening];
  const rest = to === null ? endingOf('ESTABLISHED', closing) : wayTo('ESTABLISHED', to);
  return [...opened, ...rest];
}

function endingOf(from: WatchState, closing: Closing | null): readonly Edge[] {
  switch (from) {
    case 'LISTEN':
    case 'SYN_SENT':
    case 'FIN_WAIT2':
    case 'TIME_WAIT':
    case 'LAST_ACK':
    case 'CLOSE_WAIT':
      return wayTo(from, 'CLOSED');
    case 'ESTABLISHED':
      if (closing === null) return [];
      return closing === 'active' ? ['ESTABLISHED-FIN_WAIT1'] : wayTo('ESTABLISHED', 'CLOSED', 'CLOSE_WAIT');
    default:
      return [];
  }
}

const known = new Map<string, readonly Edge[]>();

/** The shortest way; of equal ones the usual one. Empty when none leads there. */
function wayTo(from: Place, to: Place, by?: Place): readonly Edge[] {
  if (by !== undefined) return [...wayTo(from, by), ...wayTo(by, to)];
  const key = `${from} ${to}`;
  const way = known.get(key) ?? search(from, to);
  known.set(key, way);
  return way;
}

function search(from: Place, to: Place): readonly Edge[] {
  const ways = new Map<Place, readonly Edge[]>([[from, []]]);
  for (const [place, way] of ways) {
    if (place === to) return way;
    for (const edge of EDGE_IDS) {
      const [start, end] = endsOf(edge);
      if (start === place && !ways.has(end)) ways.set(end, [...way, edge]);
    }
  }
  return [];
}

export function endsOf(edge: Edge): readonly [Place, Place] {
  return edge.split('-') as [Place, Place];
}
