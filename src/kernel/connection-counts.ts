import type { TcpState } from '../model/tcp-state.js';
import { IPPROTO_TCP, portAt, ROW_ID, readRows, stateAt } from './inet-diag.js';

/** States of a TCP socket that has a peer and did not begin the connection. */
export type ConnectionState = Exclude<TcpState, 'SYN_SENT' | 'LISTEN' | 'CLOSE'>;

export const CONNECTION_STATES: readonly ConnectionState[] = [
  ...(['SYN_RECV', 'ESTABLISHED', 'CLOSE_WAIT', 'LAST_ACK'] as const),
  ...(['FIN_WAIT1', 'FIN_WAIT2', 'CLOSING', 'TIME_WAIT'] as const),
];

export interface ConnectionCounts {
  /** For each local port that was asked for. */
  readonly ports: ReadonlyMap<number, Readonly<Record<ConnectionState, number>>>;
  /** False when there were more than `max`: then the counts are of the first ones. */
  readonly complete: boolean;
}

/**
 * How many sockets of this network namespace have one of these local ports, whatever their local address, by state. One
 * dump for each family, no object for each socket. Any user may ask.
 *
 * @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 */
export function countConnections(ports: readonly number[], max: number): ConnectionCounts {
  let counts = new Map<number, Record<ConnectionState, number>>();
  const begin = (): typeof counts => {
    counts = new Map(ports.map((port) => [port, noConnections()]));
    return counts;
  };
  begin();
  if (ports.length === 0) return { ports: counts, complete: true };
  let left = max;
  const question = {
    protocol: IPPROTO_TCP,
    states: CONNECTION_STATES,
    ports: ports.map((port) => ({ from: port, to: port })),
  };
  try {
    readRows(question, begin, (into, at, end) => {
      if (left-- <= 0) throw TOO_MANY;
      const ofPort = into.get(portAt(at + ROW_ID));
      if (ofPort !== undefined) ofPort[stateAt(at) as ConnectionState]++;
      return end;
    });
    return { ports: counts, complete: true };
  } catch (error) {
    if (error !== TOO_MANY) throw error;
    return { ports: counts, complete: false };
  }
}

/** Ends a dump: the kernel makes no more of it once its netlink socket is closed. */
const TOO_MANY = new Error('more connections than are counted');

function noConnections(): Record<ConnectionState, number> {
  return Object.fromEntries(CONNECTION_STATES.map((state) => [state, 0])) as Record<ConnectionState, number>;
}
