import { constants } from 'node:os';
import type { InetAddress } from '../model/address.js';
import { TCP_STATES, type TcpState } from '../model/tcp-state.js';
import { declare, type Fd, lastErrno } from './libc.js';
import { AF_INET, AF_INET6, encodeSocketAddress, formatHost } from './sockaddr.js';

// Plain calls whose failure is an answer: nothing is thrown, and nothing is allocated that need not be. The lab makes
// hundreds of thousands of them a second, and who looks for a free port may try very many.

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
const SO_REUSEADDR = 2;
const SO_LINGER = 13;
const SO_SNDTIMEO = 21;
const IPPROTO_IP = 0;
const IP_BIND_ADDRESS_NO_PORT = 24;
const IP_LOCAL_PORT_RANGE = 51;
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

export function openSocket(
  protocol: 'tcp' | 'udp',
  family: InetAddress['family'],
  mode: 'blocking' | 'non-blocking' = 'blocking',
): Result {
  const type = (protocol === 'tcp' ? 1 : 2) | SOCK_CLOEXEC | (mode === 'blocking' ? 0 : O_NONBLOCK);
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
    sockaddr = Buffer.from(templateOf(address));
    sockaddr.writeUInt16BE(address.port, 2);
    addresses.set(key, sockaddr);
  }
  return sockaddr;
}

const templates = new Map<string, Buffer>();

/** The address with port 0. */
function templateOf({ family, host }: InetAddress): Buffer {
  let template = templates.get(host);
  if (template === undefined) {
    if (templates.size > 1_000) templates.clear();
    template = encodeSocketAddress({ family, host, port: 0 });
    templates.set(host, template);
  }
  return template;
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

const on = Buffer.from([1, 0, 0, 0]);
const off = Buffer.alloc(4);

/** SO_REUSEADDR. @see socket(7) */
export function setReuse(fd: Fd, reuse: boolean): Result {
  return setOption(fd, SOL_SOCKET, SO_REUSEADDR, reuse ? on : off);
}

/** IPV6_V6ONLY; false lets an IPv6 socket have IPv4 addresses too. @see ipv6(7) */
export function setV6OnlyNow(fd: Fd, only: boolean): Result {
  return setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, only ? on : off);
}

/** A bind to port 0 leaves the choice of the port to connect. Of IPv6 sockets too. @see ip(7) IP_BIND_ADDRESS_NO_PORT */
export function bindWithoutPort(fd: Fd): Result {
  return setOption(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, on);
}

/**
 * What the kernel may choose for this socket; a bound that is not within net.ipv4.ip_local_port_range counts for nothing.
 * ENOPROTOOPT before Linux 6.3.
 *
 * @see ip(7) IP_LOCAL_PORT_RANGE; inet_sk_get_local_port_range() in net/ipv4/inet_connection_sock.c
 */
export function limitPorts(fd: Fd, from: number, to: number): Result {
  const range = Buffer.alloc(4);
  range.writeUInt16LE(from, 0);
  range.writeUInt16LE(to, 2);
  return setOption(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, range);
}

/** The close of this socket resets its connection, and leaves no TIME_WAIT. @see socket(7) SO_LINGER */
export function resetAtClose(fd: Fd): Result {
  const linger = Buffer.alloc(8);
  linger.writeInt32LE(1, 0);
  return setOption(fd, SOL_SOCKET, SO_LINGER, linger);
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
