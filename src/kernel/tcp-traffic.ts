import { cookieAt } from './inet-diag.js';
import { word } from './netlink.js';
import { large, readConnections, TCP_INFO } from './tcp-info.js';

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

const SIZE = TCP_INFO.dataSegmentsOut + 4;

/**
 * What has gone over the connections of a local port of this network namespace, by the cookie of the socket. Any user
 * may ask.
 *
 * @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 */
export function tcpTraffic(port: number): ReadonlyMap<bigint, TcpTraffic> {
  const ports = [{ from: port, to: port }];
  return new Map(readConnections({ ports }, SIZE, (at, info) => [cookieAt(at), traffic(info)] as const));
}

function traffic(info: number): TcpTraffic {
  return {
    bytesReceived: large(info + TCP_INFO.bytesReceived),
    bytesAcked: large(info + TCP_INFO.bytesAcked),
    bytesUnsent: word(info + TCP_INFO.notSent),
    dataSegmentsIn: word(info + TCP_INFO.dataSegmentsIn),
    dataSegmentsOut: word(info + TCP_INFO.dataSegmentsOut),
    lastDataSentMs: word(info + TCP_INFO.lastDataSent),
    lastDataReceivedMs: word(info + TCP_INFO.lastDataReceived),
    rttUs: word(info + TCP_INFO.rtt),
  };
}
