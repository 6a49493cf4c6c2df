import type { TcpState } from '../model/tcp-state.js';
import { attribute, IPPROTO_TCP, type Question, readRows } from './inet-diag.js';
import { word } from './netlink.js';

/** The attribute of a row that has the struct tcp_info of its socket. */
export const INET_DIAG_INFO = 2;

/** Where struct tcp_info of include/uapi/linux/tcp.h has what. A shorter one is an older kernel's. */
export const TCP_INFO = {
  lastDataSent: 44,
  lastDataReceived: 52,
  rtt: 68,
  bytesAcked: 120,
  bytesReceived: 128,
  segmentsOut: 136,
  segmentsIn: 140,
  notSent: 144,
  dataSegmentsIn: 152,
  dataSegmentsOut: 156,
  /** Since Linux 4.19, as the next one. */
  bytesSent: 200,
  bytesSentAgain: 208,
} as const;

const CONNECTED: readonly TcpState[] = [
  ...(['ESTABLISHED', 'SYN_SENT', 'FIN_WAIT1', 'FIN_WAIT2', 'CLOSE_WAIT', 'LAST_ACK', 'CLOSING'] as const),
];

/**
 * What `read` makes of each connection's row and of its tcp_info, of which it wants so many bytes.
 *
 * @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 * @see tcp(7) TCP_INFO; tcp_diag_get_info() in net/ipv4/tcp_diag.c
 */
export function readConnections<T>(
  { ports, families }: Pick<Question, 'ports' | 'families'>,
  size: number,
  read: (at: number, info: number) => T,
): readonly T[] {
  return readRows<T[]>(
    { protocol: IPPROTO_TCP, states: CONNECTED, attributes: [INET_DIAG_INFO], ports, families },
    () => [],
    (rows, at, end) => {
      const info = infoAt(at, end, size);
      if (info !== 0) rows.push(read(at, info));
      return end;
    },
  );
}

/** Where the tcp_info of the row begins; 0 when it is shorter than that, or not there, as in TIME_WAIT. */
export function infoAt(at: number, end: number, size: number): number {
  const info = attribute(INET_DIAG_INFO, at, end);
  return info + size <= end ? info : 0;
}

/** The 64-bit number at that place of `received`. */
export function large(at: number): number {
  return word(at) + word(at + 4) * 2 ** 32;
}
