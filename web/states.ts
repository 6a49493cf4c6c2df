import { WATCH_STATES, type WatchSnapshot, type WatchState } from '../src/watch/view.js';

/** What has a count in the diagram. Connections in accept queues are in ESTABLISHED too. */
export type NodeId = WatchState | 'ACCEPT_QUEUE';

/** In the order of a connection's life. */
export const NODES: readonly NodeId[] = WATCH_STATES.flatMap((state): readonly NodeId[] =>
  state === 'ESTABLISHED' ? ['ACCEPT_QUEUE', state] : [state],
);

/** Undefined: not counted. */
export type NodeCounts = Readonly<Record<NodeId, number | undefined>>;

export function countsOf({
  counts,
  acceptQueue,
}: Pick<WatchSnapshot, 'counts' | 'acceptQueue'>): Readonly<Record<NodeId, number>> {
  return { ...counts, ACCEPT_QUEUE: acceptQueue };
}

/** As it is written in the diagram. */
export function titleOf(id: NodeId): string {
  return id === 'ACCEPT_QUEUE' ? 'accept queue' : id;
}

const numbers = new Intl.NumberFormat('en');

/** `12,345` */
export function formatCount(count: number): string {
  return numbers.format(count);
}

/** `ESTABLISHED 12 sockets`: begins with what is written there. */
export function accessibleName(id: NodeId, count: number): string {
  const [one, many] =
    id === 'LISTEN'
      ? ['listener', 'listeners']
      : id === 'ACCEPT_QUEUE'
        ? ['connection', 'connections']
        : id === 'TIME_WAIT'
          ? ['entry', 'entries']
          : ['socket', 'sockets'];
  return `${titleOf(id)} ${formatCount(count)} ${count === 1 ? one : many}`;
}

/** One sentence on each. */
export const MEANINGS: Readonly<Record<NodeId, string>> = {
  BOUND: 'Has a port, and neither listens nor is connected. ss -l does not show it.',
  LISTEN: 'Waits for connections. Its queue is the accept queue, with the backlog.',
  SYN_SENT: 'Has sent a SYN and waits for the answer: connect is not done yet.',
  SYN_RECV: 'Has answered a SYN and waits for the last ACK of the handshake.',
  ACCEPT_QUEUE: 'Connected, and the server has not called accept for it yet.',
  ESTABLISHED: 'Both ends can send.',
  FIN_WAIT1: 'This end has closed first, and its FIN is not acknowledged yet.',
  FIN_WAIT2: 'This end has closed first and waits for the peer to close too.',
  CLOSING: 'Both ends have closed at the same time.',
  TIME_WAIT: 'This end has closed first, all is done, and the kernel keeps the pair of addresses for 60 s.',
  CLOSE_WAIT: 'The peer has closed. This end stays until its program closes the socket too.',
  LAST_ACK: 'The peer has closed first, then this end; the last ACK is on its way.',
};
