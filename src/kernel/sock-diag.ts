import type { InetAddress } from '../model/address.js';
import { TCP_STATES, type TcpState } from '../model/tcp-state.js';
import {
  decodeRow,
  encodeRequest,
  IPPROTO_TCP,
  IPPROTO_UDP,
  type PortRange,
  REQUEST_ID,
  rangesOf,
  readRows,
  SOCK_DIAG_BY_FAMILY,
  type TcpSocket,
  writeEnds,
} from './inet-diag.js';
import { isLeftover, LeftoverCounter, type Leftovers } from './leftovers.js';
import { SyscallError } from './libc.js';
import { NLMSG_ERROR, NLMSG_HEADER, receive, received, sendMessages, withSockDiag, word } from './netlink.js';
import { AF_INET, AF_INET6 } from './sockaddr.js';

export type { PortRange, SocketTimer, TcpSocket } from './inet-diag.js';
export type { LeftoverState, Leftovers } from './leftovers.js';

/** Every state of a TCP socket. */
export const ALL_STATES: readonly TcpState[] = Object.keys(TCP_STATES) as TcpState[];

/**
 * The TCP sockets of this network namespace in the given states, optionally of one local port. Any user may ask.
 * A dump of listeners costs about 0.02 ms whatever the number of connections.
 *
 * @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 * @see sock_diag(7)
 */
export function tcpSockets(states: readonly TcpState[], localPort?: number): readonly TcpSocket[] {
  return sockets(IPPROTO_TCP, states, localPort);
}

/** The UDP sockets of this network namespace that have a port, optionally of one. CLOSE: not connected. */
export function udpSockets(localPort?: number): readonly TcpSocket[] {
  return sockets(IPPROTO_UDP, ['CLOSE', 'ESTABLISHED'], localPort);
}

/** The listening TCP sockets of this network namespace, optionally of one port. */
export function tcpListeners(port?: number): readonly TcpSocket[] {
  return tcpSockets(['LISTEN'], port);
}

/** All that has a local port. */
export interface PortSockets {
  readonly sockets: readonly TcpSocket[];
  /** Sockets in TIME_WAIT and orphans in FIN_WAIT2, which are not among `sockets`. */
  readonly leftovers: readonly Leftovers[];
}

/**
 * The TCP sockets of this network namespace in every state, bound ones without a connection too (Linux >= 6.8), of one
 * local port, of several, or of all. Leftovers are counted: 50,000 of them cost about 20 ms.
 *
 * @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 */
export function tcpPort(port?: number | PortRange): PortSockets {
  const { rows, counter } = readRows(
    { protocol: IPPROTO_TCP, states: ALL_STATES, ports: rangesOf(port) },
    () => ({ rows: [] as TcpSocket[], counter: new LeftoverCounter() }),
    ({ rows, counter }, at, end, length) => {
      if (isLeftover(at)) return counter.add(at, length);
      rows.push(decodeRow(at, end));
      return end;
    },
  );
  return { sockets: rows, leftovers: counter.leftovers() };
}

/**
 * The one TCP socket with these two ends in this network namespace, a TIME_WAIT too; undefined when there is none. The
 * kernel looks it up, however many there are.
 *
 * @throws {SyscallError} EPROTONOSUPPORT: the kernel has no inet_diag.
 * @see inet_diag_find_one_icsk() in net/ipv4/inet_diag.c
 */
export function tcpConnection(local: InetAddress, peer: InetAddress): TcpSocket | undefined {
  const family = local.family === 'ipv4' ? AF_INET : AF_INET6;
  const request = encodeRequest(SOCK_DIAG_BY_FAMILY, 0, family);
  writeEnds(request, local, peer);
  // INET_DIAG_NOCOOKIE
  request.writeBigUInt64LE(2n ** 64n - 1n, REQUEST_ID + 40);
  return withSockDiag((netlink) => {
    sendMessages(netlink, request);
    const end = receive(netlink);
    const type = word(4) & 0xffff;
    if (type !== NLMSG_ERROR) return found(decodeRow(NLMSG_HEADER, end), peer);
    const errno = -received.readInt32LE(NLMSG_HEADER);
    if (errno === ENOENT) return undefined;
    throw new SyscallError('sock_diag', errno, local);
  });
}

/** Where no connection has both ends, the kernel tells of the listener that would get its packets. */
function found(socket: TcpSocket, peer: InetAddress): TcpSocket | undefined {
  return socket.peer.port === peer.port ? socket : undefined;
}

const ENOENT = 2;

function sockets(protocol: number, states: readonly TcpState[], port?: number): readonly TcpSocket[] {
  return readRows<TcpSocket[]>(
    { protocol, states, ports: rangesOf(port) },
    () => [],
    (rows, at, end) => {
      rows.push(decodeRow(at, end));
      return end;
    },
  );
}
