import { constants } from 'node:os';
import type { InetAddress } from '../model/address.js';
import { TCP_STATES, type TcpState } from '../model/tcp-state.js';
import { declare, type Fd, lastErrno } from './libc.js';
import { AF_INET, AF_INET6, encodeSocketAddress, formatHost } from './sockaddr.js';

// Plain calls whose failure is an answer: nothing is thrown, and nothing is allocated that need not be. The lab makes
// hundreds of thousands of them a second.

const nativeSocket = declare('int socket(int family, int type, int protocol)');
const nativeBind = declare('int bind(int fd, const void *address, uint32_t length)');
const nativeConnect = declare('int connect(int fd, const void *address, uint32_t length)');
const nativeListen = declare('int listen(int fd, int backlog)');
const nativeAccept = declare('int accept4(int fd, void *address, void *length, int flags)');
const nativeShutdown = declare('int shutdown(int fd, int how)');
const nativeSend = declare('intptr_t send(int fd, const void *bytes, size_t length, int flags)');
const nativeRecv = declare('intptr_t recv(int fd, void *bytes, size_t length, int flags)');
const nativeClose = declare('int close(int fd)');
const nativeDup = declare('int dup(int fd)');
const nativeFcntl = declare('int fcntl(int fd, int command, int argument)');
const nativeGetsockname = declare('int getsockname(int fd, void *address, void *length)');
const nativeGetsockopt = declare('int getsockopt(int fd, int level, int name, void *value, void *length)');
const nativeSetsockopt = declare(
  'int setsockopt(int fd, int level, int name, const void *value, uint32_t length)',
);

const SOCK_CLOEXEC = 0o2000000;
const O_NONBLOCK = 0o4000;
const F_SETFL = 4;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const SOL_SOCKET = 1;
const SO_SNDTIMEO = 21;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

/** Offset of tcpi_unacked in struct tcp_info: of a listener the length of its accept queue. */
const TCPI_UNACKED = 24;

/** What a call gave: a result that is not negative, or -errno. */
export type Result = number;

const errorNames = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));
// Node calls 95 ENOTSUP; Linux's manual pages EOPNOTSUPP.
errorNames.set(95, 'EOPNOTSUPP');
errorNames.set(11, 'EAGAIN');

/** The name that the manual pages use. @see errno(3) */
export function errorName(errno: number): string {
  return errorNames.get(errno) ?? `errno ${errno}`;
}

function result(value: number): Result {
  return value === -1 ? -lastErrno() : value;
}

export function openSocket(protocol: 'tcp' | 'udp', family: InetAddress['family']): Result {
  const type = (protocol === 'tcp' ? 1 : 2) | SOCK_CLOEXEC;
  return result(nativeSocket(family === 'ipv4' ? AF_INET : AF_INET6, type, 0));
}

/** A connect that the kernel never answers ends after this time, with EINPROGRESS. */
export function limitConnect(fd: Fd, ms: number): Result {
  const time = Buffer.alloc(16);
  time.writeBigInt64LE(BigInt(Math.floor(ms / 1000)), 0);
  time.writeBigInt64LE(BigInt((ms % 1000) * 1000), 8);
  return setOption(fd, SOL_SOCKET, SO_SNDTIMEO, time);
}

const addresses = new Map<string, Buffer>();

function sockaddrOf(address: InetAddress): Buffer {
  const key = `${address.host} ${address.port}`;
  let sockaddr = addresses.get(key);
  if (sockaddr === undefined) {
    if (addresses.size > 10_000) addresses.clear();
    sockaddr = encodeSocketAddress(address);
    addresses.set(key, sockaddr);
  }
  return sockaddr;
}

export function bindTo(fd: Fd, address: InetAddress): Result {
  const sockaddr = sockaddrOf(address);
  return result(nativeBind(fd, sockaddr, sockaddr.length));
}

export function connectTo(fd: Fd, address: InetAddress): Result {
  const sockaddr = sockaddrOf(address);
  return result(nativeConnect(fd, sockaddr, sockaddr.length));
}

const unspecified = Buffer.alloc(16);

/** connect with AF_UNSPEC. */
export function disconnect(fd: Fd): Result {
  return result(nativeConnect(fd, unspecified, unspecified.length));
}

export function listenWith(fd: Fd, backlog: number): Result {
  return result(nativeListen(fd, backlog));
}

/** Does not wait: EAGAIN when nobody does. */
export function acceptNow(fd: Fd): Result {
  nativeFcntl(fd, F_SETFL, O_NONBLOCK);
  const accepted = result(nativeAccept(fd, null, null, SOCK_CLOEXEC));
  nativeFcntl(fd, F_SETFL, 0);
  return accepted;
}

export function shutdownFor(fd: Fd, how: 'read' | 'write' | 'both'): Result {
  return result(nativeShutdown(fd, how === 'read' ? 0 : how === 'write' ? 1 : 2));
}

export function sendBytes(fd: Fd, count: number): Result {
  const bytes = Buffer.alloc(count);
  return result(Number(nativeSend(fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT)));
}

export function receiveBytes(fd: Fd, count: number): Result {
  const bytes = Buffer.alloc(count);
  return result(Number(nativeRecv(fd, bytes, count, MSG_DONTWAIT)));
}

export function closeFd(fd: Fd): Result {
  return result(nativeClose(fd));
}

export function copyFd(fd: Fd): Result {
  return result(nativeDup(fd));
}

export function setOption(fd: Fd, level: number, name: number, value: Uint8Array): Result {
  return result(nativeSetsockopt(fd, level, name, value, value.length));
}

const name = Buffer.alloc(28);
const nameLength = Buffer.alloc(4);
const hosts = new Map<string, string>();

/** The local address, getsockname(2). */
export function nameOf(fd: Fd): InetAddress {
  nameLength.writeUInt32LE(name.length, 0);
  const failed = nativeGetsockname(fd, name, nameLength) === -1;
  if (failed) throw new Error(`getsockname of fd ${fd}: errno ${lastErrno()}`);
  const family = name.readUInt16LE(0) === AF_INET ? 'ipv4' : 'ipv6';
  const [begin, end] = family === 'ipv4' ? [4, 8] : [8, 24];
  const key = name.toString('latin1', begin, end);
  let host = hosts.get(key);
  if (host === undefined) {
    if (hosts.size > 10_000) hosts.clear();
    host = formatHost(family, name.subarray(begin, end));
    hosts.set(key, host);
  }
  return { family, host, port: name.readUInt16BE(2) };
}

const stateNames: readonly (TcpState | undefined)[] = Array.from({ length: 13 }, (_, number) =>
  (Object.keys(TCP_STATES) as TcpState[]).find((key) => TCP_STATES[key] === number),
);

const info = Buffer.alloc(28);
const infoLength = Buffer.alloc(4);

/** The TCP state, and of a listener how many connections wait in its accept queue. */
export function tcpStateOf(fd: Fd): { readonly state: TcpState; readonly waiting: number } {
  infoLength.writeUInt32LE(info.length, 0);
  const failed = nativeGetsockopt(fd, IPPROTO_TCP, TCP_INFO, info, infoLength) === -1;
  if (failed) throw new Error(`TCP_INFO of fd ${fd}: errno ${lastErrno()}`);
  const state = stateNames[info[0] ?? 0] ?? 'CLOSE';
  return { state, waiting: state === 'LISTEN' ? info.readUInt32LE(TCPI_UNACKED) : 0 };
}

const flag = Buffer.alloc(4);
const flagLength = Buffer.alloc(4);

/** IPV6_V6ONLY. */
export function isV6OnlyNow(fd: Fd): boolean {
  flagLength.writeUInt32LE(4, 0);
  if (nativeGetsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, flag, flagLength) === -1) return false;
  return flag.readInt32LE(0) !== 0;
}
