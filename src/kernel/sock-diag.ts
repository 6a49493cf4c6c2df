import type { InetAddress } from '../model/address.js';
import { TCP_STATES, type TcpState } from '../model/tcp-state.js';
import { close } from './fd.js';
import { check, declare, type Fd, SyscallError } from './libc.js';
import { AF_INET, AF_INET6, encodeHost, formatHost } from './sockaddr.js';

const socket = declare('int socket(int family, int type, int protocol)');
const send = declare('intptr_t send(int fd, const void *bytes, size_t length, int flags)');
const recv = declare('intptr_t recv(int fd, void *bytes, size_t length, int flags)');

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const REQUEST_DUMP = 0x301;
const REQUEST_ACK = 0x5;
const SOCK_DESTROY = 21;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const DUMP_INTERRUPTED = 0x10;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
/** How inet_diag calls TCP sockets that are bound and nothing else, since Linux 6.8. TCP_BOUND_INACTIVE */
const BOUND_INACTIVE = 13;
const INET_DIAG_SKV6ONLY = 11;
const HEADER = 16;
const ROW = 72;
const ANSWER_MAX = 1 << 16;
const RETRIES = 5;

/** Every state of a TCP socket. */
export const ALL_STATES: readonly TcpState[] = Object.keys(TCP_STATES) as TcpState[];

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
}

/**
 * The TCP sockets of this network namespace in the given states, optionally of one local port. Any user may ask.
 * A dump of listeners costs about 0.02 ms whatever the number of connections.
 *
 * @throws {SyscallError} EPROTONOSUPPORT: the kernel has no inet_diag.
 * @see sock_diag(7)
 */
export function tcpSockets(states: readonly TcpState[], localPort?: number): readonly TcpSocket[] {
  return sockets(IPPROTO_TCP, states, localPort);
}

/** The UDP sockets of this network namespace that have a port, optionally of one. CLOSE: not connected. */
export function udpSockets(localPort?: number): readonly TcpSocket[] {
  return sockets(IPPROTO_UDP, ['CLOSE', 'ESTABLISHED'], localPort);
}

function sockets(protocol: number, states: readonly TcpState[], localPort?: number): readonly TcpSocket[] {
  const netlink = check('socket', socket(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_SOCK_DIAG));
  try {
    return [AF_INET, AF_INET6].flatMap((family) =>
      dump(netlink, { protocol, family, states, port: localPort }),
    );
  } finally {
    close(netlink);
  }
}

/**
 * Ends a TCP socket or TIME_WAIT entry: the other end gets a reset, its own process ECONNABORTED.
 *
 * @throws {SyscallError} ENOENT: there is none. EPERM: no CAP_NET_ADMIN. EOPNOTSUPP: no CONFIG_INET_DIAG_DESTROY.
 * @see sock_diag(7) SOCK_DESTROY; tcp_abort() in net/ipv4/tcp.c
 */
export function destroyTcpSocket({
  local,
  peer,
  cookie,
}: Pick<TcpSocket, 'local' | 'peer' | 'cookie'>): void {
  const netlink = check('socket', socket(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_SOCK_DIAG));
  try {
    const family = local.family === 'ipv4' ? AF_INET : AF_INET6;
    const request = encodeRequest({ protocol: IPPROTO_TCP, family, states: ALL_STATES, port: undefined });
    request.writeUInt16LE(SOCK_DESTROY, 4);
    request.writeUInt16LE(REQUEST_ACK, 6);
    const id = HEADER + 8;
    request.writeUInt16BE(local.port, id);
    request.writeUInt16BE(peer.port, id + 2);
    encodeHost(local).copy(request, id + 4);
    encodeHost(peer).copy(request, id + 20);
    request.writeBigUInt64LE(cookie, id + 40);
    check('send', Number(send(netlink, request, request.length, 0)));
    check('recv', Number(recv(netlink, answer, answer.length, 0)));
    const errno = -answer.readInt32LE(HEADER);
    if (errno !== 0) throw new SyscallError('sock_diag', errno, local);
  } finally {
    close(netlink);
  }
}

/** The listening TCP sockets of this network namespace, optionally of one port. */
export function tcpListeners(port?: number): readonly TcpSocket[] {
  return tcpSockets(['LISTEN'], port);
}

interface Question {
  readonly protocol: number;
  readonly family: number;
  readonly states: readonly TcpState[];
  readonly port: number | undefined;
}

function dump(netlink: Fd, question: Question): readonly TcpSocket[] {
  const { port } = question;
  // The kernel marks a dump during which its table changed; such a dump may miss sockets, so it is made again.
  for (let attempt = 0; ; attempt++) {
    const { rows, interrupted } = dumpOnce(netlink, encodeRequest(question));
    if (interrupted && attempt < RETRIES) continue;
    return port === undefined ? rows : rows.filter((row) => row.local.port === port);
  }
}

/** Read into and decoded at once: one of its own for each dump would be most of what a dump costs. */
const answer = Buffer.alloc(ANSWER_MAX);

function dumpOnce(netlink: Fd, request: Buffer): { rows: TcpSocket[]; interrupted: boolean } {
  check('send', Number(send(netlink, request, request.length, 0)));
  const rows: TcpSocket[] = [];
  let interrupted = false;
  for (;;) {
    const length = check('recv', Number(recv(netlink, answer, answer.length, 0)));
    for (let at = 0; at + HEADER <= length; ) {
      const size = answer.readUInt32LE(at);
      const type = answer.readUInt16LE(at + 4);
      if ((answer.readUInt16LE(at + 6) & DUMP_INTERRUPTED) !== 0) interrupted = true;
      if (type === NLMSG_DONE) return { rows, interrupted };
      if (type === NLMSG_ERROR) throw new SyscallError('sock_diag', -answer.readInt32LE(at + HEADER));
      rows.push(decodeRow(answer.subarray(at + HEADER, at + size)));
      at += (size + 3) & ~3;
    }
  }
}

function encodeRequest({ protocol, family, states, port }: Question): Buffer {
  const filter = port === undefined ? Buffer.alloc(0) : localPortFilter(port);
  const request = Buffer.alloc(HEADER + 56 + filter.length);
  request.writeUInt32LE(request.length, 0);
  request.writeUInt16LE(SOCK_DIAG_BY_FAMILY, 4);
  request.writeUInt16LE(REQUEST_DUMP, 6);
  request.writeUInt8(family, HEADER);
  request.writeUInt8(protocol, HEADER + 1);
  request.writeUInt32LE(
    states.reduce((mask, state) => mask | maskOf(state, protocol), 0),
    HEADER + 4,
  );
  filter.copy(request, HEADER + 56);
  return request;
}

/** A TCP socket in CLOSE that has a port is in no table but that of the bound ones. */
function maskOf(state: TcpState, protocol: number): number {
  const bound = state === 'CLOSE' && protocol === IPPROTO_TCP ? 1 << BOUND_INACTIVE : 0;
  return bound | (1 << TCP_STATES[state]);
}

/** INET_DIAG_REQ_BYTECODE: local port >= P and <= P, which every kernel understands. */
function localPortFilter(port: number): Buffer {
  const attribute = Buffer.alloc(4 + 16);
  attribute.writeUInt16LE(attribute.length, 0);
  attribute.writeUInt16LE(1, 2);
  const [greaterOrEqual, lessOrEqual] = [2, 3];
  for (const [index, code] of [greaterOrEqual, lessOrEqual].entries()) {
    const at = 4 + index * 8;
    attribute.writeUInt8(code, at);
    attribute.writeUInt8(8, at + 1);
    // Where to go on when it is not so: 4 bytes past the end of all operations means "leave it out".
    attribute.writeUInt16LE(index === 0 ? 20 : 12, at + 2);
    attribute.writeUInt16LE(port, at + 6);
  }
  return attribute;
}

function decodeRow(row: Buffer): TcpSocket {
  const family = row.readUInt8(0) === AF_INET ? 'ipv4' : 'ipv6';
  const size = family === 'ipv4' ? 4 : 16;
  const host = (at: number): string => formatHost(family, row.subarray(at, at + size));
  const state = row.readUInt8(1);
  const name = (Object.keys(TCP_STATES) as TcpState[]).find((key) => TCP_STATES[key] === state) ?? 'CLOSE';
  return {
    state: name,
    local: { family, host: host(8), port: row.readUInt16BE(4) },
    peer: { family, host: host(24), port: row.readUInt16BE(6) },
    interfaceIndex: row.readUInt32LE(40),
    v6only: attributeByte(row, INET_DIAG_SKV6ONLY) === 1,
    receiveQueue: row.readUInt32LE(56),
    sendQueue: row.readUInt32LE(60),
    uid: row.readUInt32LE(64),
    inode: row.readUInt32LE(68),
    cookie: row.readBigUInt64LE(44),
  };
}

function attributeByte(row: Buffer, wanted: number): number | undefined {
  for (let at = ROW; at + 4 <= row.length; ) {
    const length = row.readUInt16LE(at);
    if (length < 4) return undefined;
    if (row.readUInt16LE(at + 2) === wanted) return row.readUInt8(at + 4);
    at += (length + 3) & ~3;
  }
  return undefined;
}
