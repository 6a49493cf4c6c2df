import type { TcpState } from '../model/tcp-state.js';
import { attribute, IPPROTO_TCP, ROW_ID, readRows } from './inet-diag.js';
import { received } from './netlink.js';

/** What has gone over a connection. Counts are of the whole life of the socket. */
export interface TcpTraffic {
  readonly bytesReceived: number;
  /** Sent and acknowledged by the peer; at the end that connected one more, for its SYN. */
  readonly bytesAcked: number;
  /** Written by the program and not yet sent. */
  readonly bytesUnsent: number;
  /** Segments with data. */
  readonly dataSegmentsIn: number;
  readonly dataSegmentsOut: number;
  /** Milliseconds since data was sent or received. Coarse: a request that has just come in reads like its answer. */
  readonly lastDataSentMs: number;
  readonly lastDataReceivedMs: number;
  /** Smoothed round-trip time in microseconds. */
  readonly rttUs: number;
}

const INET_DIAG_INFO = 2;

const CONNECTED: readonly TcpState[] = [
  ...(['ESTABLISHED', 'SYN_SENT', 'FIN_WAIT1', 'FIN_WAIT2', 'CLOSE_WAIT', 'LAST_ACK', 'CLOSING'] as const),
];

/** Offsets in struct tcp_info of include/uapi/linux/tcp.h; a shorter one is an older kernel's. */
const LAST_DATA_SENT = 44;
const LAST_DATA_RECEIVED = 52;
const RTT = 68;
const BYTES_ACKED = 120;
const BYTES_RECEIVED = 128;
const NOT_SENT = 144;
const DATA_SEGMENTS_IN = 152;
const DATA_SEGMENTS_OUT = 156;
const SIZE = 160;

/**
 * What has gone over the connections of a local port of this network namespace, by the cookie of the socket. Any user
 * may ask.
 *
 * @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 * @see tcp(7) TCP_INFO; tcp_diag_get_info() in net/ipv4/tcp_diag.c
 */
export function tcpTraffic(port: number): ReadonlyMap<bigint, TcpTraffic> {
  const question = {
    protocol: IPPROTO_TCP,
    states: CONNECTED,
    ports: { from: port, to: port },
    attributes: [INET_DIAG_INFO],
  };
  return readRows(
    question,
    () => new Map<bigint, TcpTraffic>(),
    (into, at, end) => {
      const info = attribute(INET_DIAG_INFO, at, end);
      // TIME_WAIT and what is like it has none.
      if (info !== 0 && info + SIZE <= end)
        into.set(received.readBigUInt64LE(at + ROW_ID + 40), traffic(info));
      return end;
    },
  );
}

function traffic(info: number): TcpTraffic {
  const small = (offset: number): number => received.readUInt32LE(info + offset);
  const large = (offset: number): number => Number(received.readBigUInt64LE(info + offset));
  return {
    bytesReceived: large(BYTES_RECEIVED),
    bytesAcked: large(BYTES_ACKED),
    bytesUnsent: small(NOT_SENT),
    dataSegmentsIn: small(DATA_SEGMENTS_IN),
    dataSegmentsOut: small(DATA_SEGMENTS_OUT),
    lastDataSentMs: small(LAST_DATA_SENT),
    lastDataReceivedMs: small(LAST_DATA_RECEIVED),
    rttUs: small(RTT),
  };
}
