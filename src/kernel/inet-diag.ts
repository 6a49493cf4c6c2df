import type { InetAddress } from '../model/address.js';
import { TCP_STATES, type TcpState } from '../model/tcp-state.js';
import { type Fd, SyscallError } from './libc.js';
import {
  eachMessage,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_MULTI,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_HEADER,
  receive,
  received,
  STOP,
  sendMessages,
  withSockDiag,
  word,
} from './netlink.js';
import { AF_INET, AF_INET6, encodeHost, formatHost } from './sockaddr.js';

// What the kernel's net/ipv4/inet_diag.c asks for and answers: struct inet_diag_req_v2 and struct inet_diag_msg of
// include/uapi/linux/inet_diag.h. Numbers are in host byte order, which is little-endian on all our platforms; ports
// and addresses in network byte order.

export const SOCK_DIAG_BY_FAMILY = 20;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
/** How inet_diag calls TCP sockets that are bound and nothing else, since Linux 6.8. TCP_BOUND_INACTIVE */
const BOUND_INACTIVE = 13;
const INET_DIAG_REQ_BYTECODE = 1;
const INET_DIAG_SHUTDOWN = 8;
const INET_DIAG_SKV6ONLY = 11;
const INET_DIAG_CGROUP_ID = 21;
const RETRIES = 5;

/** Length of inet_diag_msg; attributes follow. */
const ROW = 72;
/** Where a row has its inet_diag_sockid: ports, addresses, interface and cookie. */
export const ROW_ID = 4;
/** Where a request, with the netlink header before it, has the same. */
export const REQUEST_ID: number = NLMSG_HEADER + 8;
export const ID_SIZE = 48;
export const REQUEST_SIZE: number = REQUEST_ID + ID_SIZE;

/** Local ports from the first to the last. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

/** One port, or a range, as a question has it; undefined for all. */
export function rangesOf(port: number | PortRange): readonly PortRange[];
export function rangesOf(port: number | PortRange | undefined): readonly PortRange[] | undefined;
export function rangesOf(port: number | PortRange | undefined): readonly PortRange[] | undefined {
  if (port === undefined) return undefined;
  return [typeof port === 'number' ? { from: port, to: port } : port];
}

/** Which sockets are asked for. */
export interface Question {
  readonly protocol: number;
  readonly states: readonly TcpState[];
  /** Sockets of any of these; undefined for all. */
  readonly ports: readonly PortRange[] | undefined;
  /** Default: both. Each costs a walk of the kernel over all its sockets. */
  readonly families?: readonly InetAddress['family'][] | undefined;
  /** Attributes that are told only when asked for, by their number. */
  readonly attributes?: readonly number[];
}

/** What the timer of a socket is for. @see tcp_diag_fill(), inet_csk_diag_fill() in net/ipv4/inet_diag.c */
export interface SocketTimer {
  /**
   * `retransmit`: something is not yet acknowledged. `keepalive`: also of an orphan in FIN_WAIT2 that is to last
   * longer than a TIME_WAIT. `time-wait`: of TIME_WAIT and of most orphans in FIN_WAIT2. `probe`: the peer's window
   * is closed.
   */
  readonly kind: 'retransmit' | 'keepalive' | 'time-wait' | 'probe';
  /** Until it fires. The kernel may take some percent longer. */
  readonly expiresMs: number;
}

/** One TCP socket of the network namespace that this process is in. */
export interface TcpSocket {
  readonly state: TcpState;
  readonly local: InetAddress;
  readonly peer: InetAddress;
  /** Of the interface that it is bound to (SO_BINDTODEVICE); 0 for none. */
  readonly interfaceIndex: number;
  /** IPv6 only; false for IPv4. */
  readonly v6only: boolean;
  /** While listening: connections in the accept queue. Otherwise bytes not yet read. */
  readonly receiveQueue: number;
  /** While listening: the longest accept queue. Otherwise bytes not yet acknowledged. */
  readonly sendQueue: number;
  readonly uid: number;
  /** 0 when no process has it: TIME_WAIT, orphans, connections in an accept queue. */
  readonly inode: number;
  readonly cookie: bigint;
  /** Null when none runs. */
  readonly timer: SocketTimer | null;
  /** Which directions are over, in bits: 1 nothing more is received, 2 nothing more is sent. */
  readonly shutdown: number;
  /** Of the cgroup v2 in which it was made: the inode number of its folder. 0 when not told (before Linux 5.7). */
  readonly cgroupId: bigint;
}

/** The type and flags of a message that has a row, with no mark of an interrupted dump. */
const PLAIN_ROW = SOCK_DIAG_BY_FAMILY | (NLM_F_MULTI << 16);

/** Takes rows of an answer in `received`: one that begins and ends there, or more. Gives where it has come to. */
export type TakeRow<T> = (into: T, at: number, end: number, length: number) => number;

/**
 * Asks about each family and hands each row of the answers on. What `begin` gives is for the rows to go into, and
 * is the result.
 *
 * @throws {SyscallError} EPROTONOSUPPORT: the kernel has no sock_diag. ENOENT: it has none for this protocol.
 */
export function readRows<T>(question: Question, begin: () => T, take: TakeRow<T>): T {
  const { ports, families = ['ipv4', 'ipv6'] } = question;
  return withSockDiag((netlink) => {
    // A dump during which the table changed may miss sockets, so it is made again.
    for (let attempt = 0; ; attempt++) {
      const into = begin();
      const takeWanted = (at: number, end: number, length: number): number => {
        const port = portAt(at + ROW_ID);
        const wanted = ports === undefined || ports.some(({ from, to }) => port >= from && port <= to);
        return wanted ? take(into, at, end, length) : end;
      };
      const whole = families.map((family) =>
        dump(netlink, encodeDump(family === 'ipv4' ? AF_INET : AF_INET6, question), takeWanted),
      );
      if (attempt === RETRIES || !whole.includes(false)) return into;
    }
  });
}

/** Whether the dump is whole. */
function dump(
  netlink: Fd,
  request: Buffer,
  take: (at: number, end: number, length: number) => number,
): boolean {
  sendMessages(netlink, request);
  let whole = true;
  for (let done = false; !done; ) {
    const length = receive(netlink);
    eachMessage(length, (at, end) => {
      const typeAndFlags = word(at + 4);
      if (((typeAndFlags >>> 16) & NLM_F_DUMP_INTR) !== 0) whole = false;
      const type = typeAndFlags & 0xffff;
      if (type !== NLMSG_DONE && type !== NLMSG_ERROR) return take(at + NLMSG_HEADER, end, length);
      // Both have -errno for a body; a dump that cannot begin may end with it.
      throwErrno(received.readInt32LE(at + NLMSG_HEADER));
      done = true;
      return STOP;
    });
  }
  return whole;
}

/** Where the row that begins there ends. */
export function endOfRow(at: number): number {
  const message = at - NLMSG_HEADER;
  return message + ((word(message) + 3) & ~3);
}

/** Where the next row of the same message buffer begins; STOP when something else comes, or nothing. */
export function nextRow(at: number, length: number): number {
  const next = endOfRow(at);
  return next + NLMSG_HEADER <= length && word(next + 4) === PLAIN_ROW ? next + NLMSG_HEADER : STOP;
}

function throwErrno(result: number): void {
  if (result < 0) throw new SyscallError('sock_diag', -result);
}

/** The message that asks for one socket, or with a filter for many. `type`: SOCK_DIAG_BY_FAMILY or SOCK_DESTROY. */
export function encodeRequest(type: number, flags: number, family: number, filter?: Buffer): Buffer {
  const request = Buffer.alloc(REQUEST_SIZE + (filter?.length ?? 0));
  request.writeUInt32LE(request.length, 0);
  request.writeUInt16LE(type, 4);
  request.writeUInt16LE(NLM_F_REQUEST | flags, 6);
  request.writeUInt8(family, NLMSG_HEADER);
  request.writeUInt8(IPPROTO_TCP, NLMSG_HEADER + 1);
  filter?.copy(request, REQUEST_SIZE);
  return request;
}

/** Names the socket that a request is about by its two ends. */
export function writeEnds(request: Buffer, local: InetAddress, peer: InetAddress): void {
  request.writeUInt16BE(local.port, REQUEST_ID);
  request.writeUInt16BE(peer.port, REQUEST_ID + 2);
  encodeHost(local).copy(request, REQUEST_ID + 4);
  encodeHost(peer).copy(request, REQUEST_ID + 20);
}

function encodeDump(family: number, { protocol, states, ports, attributes = [] }: Question): Buffer {
  const filter = ports === undefined ? undefined : localPortFilter(ports);
  const request = encodeRequest(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, filter);
  request.writeUInt8(protocol, NLMSG_HEADER + 1);
  const mask = states.reduce((bits, state) => bits | maskOf(state, protocol), 0);
  request.writeUInt8(
    attributes.reduce((bits, number) => bits | (1 << (number - 1)), 0),
    NLMSG_HEADER + 2,
  );
  request.writeUInt32LE(mask, NLMSG_HEADER + 4);
  return request;
}

/** A TCP socket in CLOSE that has a port is in no table but that of the bound ones. */
function maskOf(state: TcpState, protocol: number): number {
  const bound = state === 'CLOSE' && protocol === IPPROTO_TCP ? 1 << BOUND_INACTIVE : 0;
  return bound | (1 << TCP_STATES[state]);
}

const [OTHERWISE, AT_LEAST, AT_MOST] = [1, 2, 3];
/** Bytes that the operations for one range take, with the jump that follows all but the last one. */
const RANGE_SIZE = 20;

/**
 * Local port >= the first and <= the last of a range, in operations that every kernel understands. The port in the
 * request's id would be no filter for bound sockets: the kernel does not look at it there.
 *
 * @see inet_diag_bc_run() in net/ipv4/inet_diag.c
 */
function localPortFilter(ranges: readonly PortRange[]): Buffer {
  const attribute = Buffer.alloc(4 + ranges.length * RANGE_SIZE - 4);
  attribute.writeUInt16LE(attribute.length, 0);
  attribute.writeUInt16LE(INET_DIAG_REQ_BYTECODE, 2);
  const operation = (at: number, code: number, size: number, otherwise: number): void => {
    attribute.writeUInt8(code, at);
    attribute.writeUInt8(size, at + 1);
    attribute.writeUInt16LE(otherwise, at + 2);
  };
  ranges.forEach(({ from, to }, index) => {
    const at = 4 + index * RANGE_SIZE;
    // Where to go on when it is not so: to the next range. After the last one that is 4 bytes past the end of all
    // operations, which means "leave it out".
    operation(at, AT_LEAST, 8, RANGE_SIZE);
    attribute.writeUInt16LE(from, at + 6);
    operation(at + 8, AT_MOST, 8, RANGE_SIZE - 8);
    attribute.writeUInt16LE(to, at + 14);
    // Exactly to the end: "take it".
    const left = ranges.length - 1 - index;
    if (left > 0) operation(at + 16, OTHERWISE, 4, left * RANGE_SIZE);
  });
  return attribute;
}

const stateNames: readonly (TcpState | undefined)[] = Array.from({ length: 16 }, (_, number) =>
  (Object.keys(TCP_STATES) as TcpState[]).find((key) => TCP_STATES[key] === number),
);

const timerKinds = [undefined, 'retransmit', 'keepalive', 'time-wait', 'probe'] as const;

/** The socket that the row of `received` tells of. */
export function decodeRow(at: number, end: number): TcpSocket {
  const family = received[at] === AF_INET ? 'ipv4' : 'ipv6';
  const kind = timerKinds[received[at + 2] ?? 0];
  const v6only = attribute(INET_DIAG_SKV6ONLY, at, end);
  const shutdown = attribute(INET_DIAG_SHUTDOWN, at, end);
  const cgroup = attribute(INET_DIAG_CGROUP_ID, at, end);
  return {
    state: stateAt(at),
    local: { family, host: hostAt(family, at + ROW_ID + 4), port: portAt(at + ROW_ID) },
    peer: { family, host: hostAt(family, at + ROW_ID + 20), port: portAt(at + ROW_ID + 2) },
    interfaceIndex: word(at + ROW_ID + 36),
    v6only: v6only !== 0 && received[v6only] === 1,
    receiveQueue: word(at + 56),
    sendQueue: word(at + 60),
    uid: word(at + 64),
    inode: word(at + 68),
    cookie: cookieAt(at),
    timer: kind === undefined ? null : { kind, expiresMs: word(at + 52) },
    shutdown: shutdown === 0 ? 0 : (received[shutdown] ?? 0),
    cgroupId: cgroup === 0 ? 0n : received.readBigUInt64LE(cgroup),
  };
}

/** The state of the socket that the row of `received` tells of. */
export function stateAt(at: number): TcpState {
  return stateNames[received[at + 1] ?? 0] ?? 'CLOSE';
}

/** The cookie of the socket that the row of `received` tells of. */
export function cookieAt(at: number): bigint {
  return received.readBigUInt64LE(at + ROW_ID + 40);
}

/** The port at that place of `received`. */
export function portAt(at: number): number {
  return ((received[at] ?? 0) << 8) | (received[at + 1] ?? 0);
}

/** Text of the address at that place of `received`. */
export function hostAt(family: InetAddress['family'], at: number): string {
  return formatHost(family, received.subarray(at, at + (family === 'ipv4' ? 4 : 16)));
}

/** Where the value of an attribute of the row begins; 0 when it has none. */
export function attribute(wanted: number, row: number, end: number): number {
  for (let at = row + ROW; at + 4 <= end; ) {
    const length = received.readUInt16LE(at);
    if (length < 4) return 0;
    if (received.readUInt16LE(at + 2) === wanted) return at + 4;
    at += (length + 3) & ~3;
  }
  return 0;
}
