import type { InetAddress } from '../model/address.js';
import type { TcpState } from '../model/tcp-state.js';
import {
  cookieAt,
  encodeRequest,
  ID_SIZE,
  IPPROTO_TCP,
  type PortRange,
  REQUEST_ID,
  REQUEST_SIZE,
  ROW_ID,
  readRows,
  SOCK_DIAG_BY_FAMILY,
  stateAt,
} from './inet-diag.js';
import { type Fd, SyscallError } from './libc.js';
import {
  eachMessage,
  NLMSG_ERROR,
  NLMSG_HEADER,
  received,
  receiveNow,
  sendMessages,
  withSockDiag,
  word,
} from './netlink.js';
import { AF_INET, AF_INET6 } from './sockaddr.js';
import { INET_DIAG_INFO, infoAt, large, readConnections, TCP_INFO } from './tcp-info.js';

/** A connection, and what of its traffic tells whether its program owes the peer something. */
export interface TcpConnection {
  /** Names the socket as long as the system runs: its addresses and its cookie, as the kernel writes them. */
  readonly id: string;
  readonly family: InetAddress['family'];
  /** 0 when no process has it: orphans, connections in an accept queue. */
  readonly inode: number;
  readonly state: TcpState;
  /** Bytes that the program has not read. A FIN that it has not seen counts as one. */
  readonly receiveQueue: number;
  /** Bytes that the program has written and the peer has not acknowledged, sent or not. A FIN counts as one. */
  readonly sendQueue: number;
  /** A FIN counts as one. */
  readonly bytesReceived: number;
  /** What the program has written, each byte once. */
  readonly bytesWritten: number;
  /** Milliseconds since data was sent, and since it was received, in ticks of the kernel (1 to 10 ms). */
  readonly lastDataSentMs: number;
  readonly lastDataReceivedMs: number;
  readonly segmentsIn: number;
  /** Segments that carried no data: acknowledgements, SYN, FIN, probes. */
  readonly emptySegmentsOut: number;
}

const SIZE = TCP_INFO.bytesSentAgain + 8;
const ENOENT = 2;
const ESTALE = 116;
/** Messages in one send. The answers to them, at about 1.5 kB each, fit the socket's receive buffer. */
const BATCH = 64;

/**
 * The connections of these local ports of this network namespace, from one dump for each family. What is in TIME_WAIT,
 * and what has not finished its handshake, is not among them. Any user may ask. Linux >= 4.19.
 *
 * @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 */
export function tcpConnections(
  ports: readonly number[],
  families?: readonly InetAddress['family'][],
): readonly TcpConnection[] {
  if (ports.length === 0) return [];
  return readConnections({ ports: rangesOf(ports), families }, SIZE, connection);
}

/** The cookies of the connections of these local ports whose handshake is not over, TCP_DEFER_ACCEPT's among them. */
export function halfOpenConnections(
  ports: readonly number[],
  families?: readonly InetAddress['family'][],
): ReadonlySet<bigint> {
  if (ports.length === 0) return new Set();
  return readRows(
    { protocol: IPPROTO_TCP, states: ['SYN_RECV'], ports: rangesOf(ports), families },
    () => new Set<bigint>(),
    (cookies, at, end) => {
      cookies.add(cookieAt(at));
      return end;
    },
  );
}

/**
 * The same connections as they are now, without those that are gone. Each is asked for by itself: for some hundreds
 * cheaper than a dump, for which the kernel steps over all sockets there are. Undefined when the kernel had no room for
 * all answers.
 */
export function sameConnections(known: readonly TcpConnection[]): readonly TcpConnection[] | undefined {
  return withSockDiag((netlink) => {
    const found: TcpConnection[] = [];
    for (let at = 0; at < known.length; at += BATCH) {
      sendMessages(netlink, requestsFor(known.slice(at, at + BATCH)));
      if (!takeAnswers(netlink, found)) return undefined;
    }
    return found;
  });
}

function rangesOf(ports: readonly number[]): readonly PortRange[] {
  return ports.map((port) => ({ from: port, to: port }));
}

function requestsFor(known: readonly TcpConnection[]): Buffer {
  const head = encodeRequest(SOCK_DIAG_BY_FAMILY, 0, 0);
  head.writeUInt8(1 << (INET_DIAG_INFO - 1), NLMSG_HEADER + 2);
  const requests = Buffer.alloc(known.length * REQUEST_SIZE);
  known.forEach(({ id, family }, index) => {
    const at = index * REQUEST_SIZE;
    head.copy(requests, at);
    requests.writeUInt8(family === 'ipv4' ? AF_INET : AF_INET6, at + NLMSG_HEADER);
    requests.write(id, at + REQUEST_ID, 'latin1');
  });
  return requests;
}

/** All answers are there when the send is over. False when there was no room for them. */
function takeAnswers(netlink: Fd, into: TcpConnection[]): boolean {
  for (;;) {
    const length = receiveNow(netlink);
    if (length === 'none') return true;
    if (length === 'overrun') return false;
    eachMessage(length, (at, end) => {
      const row = at + NLMSG_HEADER;
      if ((word(at + 4) & 0xffff) === NLMSG_ERROR) checkGone(-received.readInt32LE(row));
      else {
        const info = infoAt(row, end, SIZE);
        if (info !== 0) into.push(connection(row, info));
      }
      return end;
    });
  }
}

/** Gone, and the other end's port perhaps used again. Anything else is a surprise. */
function checkGone(errno: number): void {
  if (errno !== ENOENT && errno !== ESTALE) throw new SyscallError('sock_diag', errno);
}

function connection(at: number, info: number): TcpConnection {
  return {
    id: received.toString('latin1', at + ROW_ID, at + ROW_ID + ID_SIZE),
    family: received[at] === AF_INET ? 'ipv4' : 'ipv6',
    inode: word(at + 68),
    state: stateAt(at),
    receiveQueue: word(at + 56),
    sendQueue: word(at + 60),
    bytesReceived: large(info + TCP_INFO.bytesReceived),
    // All three are read under the lock of the socket; the send queue of the row is read before.
    bytesWritten:
      large(info + TCP_INFO.bytesSent) -
      large(info + TCP_INFO.bytesSentAgain) +
      word(info + TCP_INFO.notSent),
    lastDataSentMs: word(info + TCP_INFO.lastDataSent),
    lastDataReceivedMs: word(info + TCP_INFO.lastDataReceived),
    segmentsIn: word(info + TCP_INFO.segmentsIn),
    emptySegmentsOut: word(info + TCP_INFO.segmentsOut) - word(info + TCP_INFO.dataSegmentsOut),
  };
}
