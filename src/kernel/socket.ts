import { fchownSync, fstatSync } from 'node:fs';
import type { SocketAddress } from '../model/address.js';
import { addressOf, check, declare, type Fd } from './libc.js';
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  decodeSocketAddress,
  encodeSocketAddress,
  SOCKADDR_MAX,
} from './sockaddr.js';

const nativeSocket = declare('int socket(int family, int type, int protocol)');
const nativeBind = declare('int bind(int fd, const void *address, uint32_t length)');
const nativeListen = declare('int listen(int fd, int backlog)');
const nativeShutdown = declare('int shutdown(int fd, int how)');
const nativeGetsockname = declare('int getsockname(int fd, void *address, void *length)');
const nativeGetsockopt = declare('int getsockopt(int fd, int level, int name, void *value, void *length)');
const nativeSetsockopt = declare(
  'int setsockopt(int fd, int level, int name, const void *value, uint32_t length)',
);

const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;

export const SOL_SOCKET = 1;
export const IPPROTO_IP = 0;
export const IPPROTO_TCP = 6;
export const IPPROTO_IPV6 = 41;
export const IPPROTO_MPTCP = 262;

export const SO_REUSEADDR = 2;
const SO_TYPE = 3;
export const SO_REUSEPORT = 15;
const SO_PEERCRED = 17;
export const SO_BINDTODEVICE = 25;
const SO_ATTACH_FILTER = 26;
const SO_ACCEPTCONN = 30;
const SO_PROTOCOL = 38;
const SO_DOMAIN = 39;
const SO_MEMINFO = 55;
const SO_COOKIE = 57;
const SO_NETNS_COOKIE = 71;
export const IPV6_V6ONLY = 26;
const TCP_INFO = 11;

/** The longest accept queue one may ask for; the kernel cuts it to net.core.somaxconn. @see listen(2) */
export const BACKLOG_MAX = 0x7fffffff;

/** A new close-on-exec TCP or unix stream socket. @see socket(2) */
export function streamSocket(family: SocketAddress['family']): Fd {
  const domain = family === 'ipv4' ? AF_INET : family === 'ipv6' ? AF_INET6 : AF_UNIX;
  return check('socket', nativeSocket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

/**
 * Gives the socket its local address. Port 0 lets the kernel choose; read it with `localAddress`.
 *
 * @throws {SyscallError} EADDRINUSE: another socket conflicts. EACCES: port below
 *   net.ipv4.ip_unprivileged_port_start. EADDRNOTAVAIL: no interface has the host.
 * @see bind(2), ip(7); inet_csk_get_port() in net/ipv4/inet_connection_sock.c
 */
export function bind(fd: Fd, at: SocketAddress): void {
  const sockaddr = encodeSocketAddress(at);
  check('bind', nativeBind(fd, sockaddr, sockaddr.length), at);
}

/**
 * Makes the socket listen, or changes the length of the accept queue of one that already does.
 *
 * @throws {SyscallError} EADDRINUSE: the port was taken between bind and listen.
 * @see listen(2); inet_csk_listen_start() in net/ipv4/inet_connection_sock.c
 */
export function listen(fd: Fd, backlog: number, at?: SocketAddress): void {
  check('listen', nativeListen(fd, backlog), at);
}

/**
 * Makes a listening socket refuse clients without giving up its port: those in the queue are reset, nobody else
 * can bind there, and `listen` opens it again. Every process that has the socket is affected.
 *
 * @see shutdown(2) SHUT_RD; inet_shutdown() and inet_csk_listen_stop(): an explicit port stays bound
 */
export function stopListening(fd: Fd): void {
  check('shutdown', nativeShutdown(fd, 0));
}

/** The socket's local address; undefined for families other than IPv4, IPv6 and unix. @see getsockname(2) */
export function localAddress(fd: Fd): SocketAddress | undefined {
  const sockaddr = Buffer.alloc(SOCKADDR_MAX);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(sockaddr.length, 0);
  check('getsockname', nativeGetsockname(fd, sockaddr, length));
  return decodeSocketAddress(sockaddr.subarray(0, length.readUInt32LE(0)));
}

/** Goes in and out of getsockopt, which many calls in a row are made of. */
const optionLength = Buffer.alloc(4);

/** The value of a socket option as the kernel gives it. @throws {SyscallError} ENOPROTOOPT, ENOTSOCK */
export function socketOption(fd: Fd, level: number, name: number, size = 4): Buffer {
  const value = Buffer.alloc(size);
  optionLength.writeUInt32LE(size, 0);
  check('getsockopt', nativeGetsockopt(fd, level, name, value, optionLength));
  const length = optionLength.readUInt32LE(0);
  return length === size ? value : value.subarray(0, length);
}

/** Sets a socket option to raw bytes. @see setsockopt(2) */
export function setSocketOption(fd: Fd, level: number, name: number, value: Uint8Array): void {
  check('setsockopt', nativeSetsockopt(fd, level, name, value, value.length));
}

/** What kind of socket it is. */
export interface SocketKind {
  readonly stream: boolean;
  /** IPPROTO_TCP 6, IPPROTO_MPTCP 262 … */
  readonly protocol: number;
}

/** @throws {SyscallError} ENOTSOCK */
export function socketKind(fd: Fd): SocketKind {
  return {
    stream: readInt(fd, SOL_SOCKET, SO_TYPE) === SOCK_STREAM,
    protocol: readInt(fd, SOL_SOCKET, SO_PROTOCOL),
  };
}

/** The socket's inode number, as in /proc/PID/fd and in sock_diag. */
export function socketInode(fd: Fd): number {
  return fstatSync(fd).ino;
}

/**
 * Makes the socket another user's, as if that user had made it: SO_REUSEPORT shares an address between sockets of one
 * user only. It counts for a bind that comes after it.
 *
 * @throws {Error} EPERM: no CAP_CHOWN.
 * @see fchown(2); sockfs_setattr() in net/socket.c, Linux >= 4.10
 */
export function changeOwner(fd: Fd, uid: number): void {
  fchownSync(fd, uid, -1);
}

/** The number that the socket has for itself as long as the system runs, also in sock_diag. Linux >= 4.12. */
export function socketCookie(fd: Fd): bigint {
  return socketOption(fd, SOL_SOCKET, SO_COOKIE, 8).readBigUInt64LE(0);
}

/** The unique number of the socket's network namespace, Linux >= 5.14. @throws {SyscallError} ENOPROTOOPT */
export function netnsCookie(fd: Fd): bigint {
  return socketOption(fd, SOL_SOCKET, SO_NETNS_COOKIE, 8).readBigUInt64LE(0);
}

/** Whether the socket is listening. */
export function isListening(fd: Fd): boolean {
  return readInt(fd, SOL_SOCKET, SO_ACCEPTCONN) === 1;
}

/** Whether an IPv6 socket leaves IPv4 alone; false for an IPv4 socket. @see ipv6(7) */
export function isV6Only(fd: Fd): boolean {
  return readInt(fd, SOL_SOCKET, SO_DOMAIN) === AF_INET6 && readInt(fd, IPPROTO_IPV6, IPV6_V6ONLY) === 1;
}

/** @throws {SyscallError} EINVAL once the socket is bound. @see ipv6(7) */
export function setV6Only(fd: Fd, on: boolean): void {
  writeInt(fd, IPPROTO_IPV6, IPV6_V6ONLY, on ? 1 : 0);
}

/** @see socket(7) */
export function setReuseAddress(fd: Fd, on: boolean): void {
  writeInt(fd, SOL_SOCKET, SO_REUSEADDR, on ? 1 : 0);
}

/** SO_REUSEADDR. */
export function reusesAddress(fd: Fd): boolean {
  return readInt(fd, SOL_SOCKET, SO_REUSEADDR) !== 0;
}

/** @see socket(7) */
export function reusesPort(fd: Fd): boolean {
  return readInt(fd, SOL_SOCKET, SO_REUSEPORT) === 1;
}

/** @see socket(7) */
export function setReusePort(fd: Fd, on: boolean): void {
  writeInt(fd, SOL_SOCKET, SO_REUSEPORT, on ? 1 : 0);
}

/** Name of the interface that the socket is bound to, '' when none. @see socket(7) SO_BINDTODEVICE */
export function boundDevice(fd: Fd): string {
  return socketOption(fd, SOL_SOCKET, SO_BINDTODEVICE, 16).toString('latin1').replace(/\0.*$/s, '');
}

/**
 * Connections in the accept queue of a listening TCP socket.
 *
 * @throws {SyscallError} as `acceptQueue`.
 */
export function acceptQueueLength(fd: Fd): number {
  return acceptQueue(fd).length;
}

/** The accept queue of a listening socket. */
export interface AcceptQueue {
  /** Connections that wait in it. */
  readonly length: number;
  /** How many may wait: what listen asked for, cut to net.core.somaxconn. The kernel lets one more in. */
  readonly limit: number;
}

/**
 * The accept queue of a listening TCP socket.
 *
 * @throws {SyscallError} EOPNOTSUPP for an MPTCP socket.
 * @see tcp(7) TCP_INFO: tcpi_unacked and tcpi_sacked while listening (tcp_get_info() in net/ipv4/tcp.c)
 */
export function acceptQueue(fd: Fd): AcceptQueue {
  const info = socketOption(fd, IPPROTO_TCP, TCP_INFO, 32);
  return { length: info.readUInt32LE(24), limit: info.readUInt32LE(28) };
}

/**
 * Segments that the kernel has dropped at this socket: of a listening one connection requests, above all because its
 * accept queue was full. A 32-bit counter. Linux >= 4.12.
 *
 * @see SK_MEMINFO_DROPS in include/uapi/linux/sock_diag.h; tcp_listendrop() in include/net/tcp.h
 */
export function socketDrops(fd: Fd): number {
  return socketOption(fd, SOL_SOCKET, SO_MEMINFO, 36).readUInt32LE(32);
}

/** Who made the other end of a connected unix socket, as he was then. @see unix(7) SO_PEERCRED */
export function peerUser(fd: Fd): number {
  return socketOption(fd, SOL_SOCKET, SO_PEERCRED, 12).readUInt32LE(4);
}

/** The TCP state's number (include/net/tcp_states.h): 7 while bound and unconnected, 10 while listening. */
export function tcpState(fd: Fd): number {
  return socketOption(fd, IPPROTO_TCP, TCP_INFO, 8).readUInt8(0);
}

/** One classic BPF instruction. @see Documentation/networking/filter.rst */
export type BpfInstruction = readonly [code: number, jumpTrue: number, jumpFalse: number, k: number];

/** The `sock_fprog` of a classic BPF program. Keep both buffers referenced until the call returns. */
export function socketProgram(program: readonly BpfInstruction[]): { header: Buffer; body: Buffer } {
  const body = Buffer.alloc(program.length * 8);
  program.forEach(([code, jumpTrue, jumpFalse, k], at) => {
    body.writeUInt16LE(code, at * 8);
    body.writeUInt8(jumpTrue, at * 8 + 2);
    body.writeUInt8(jumpFalse, at * 8 + 3);
    body.writeUInt32LE(k >>> 0, at * 8 + 4);
  });
  const header = Buffer.alloc(16);
  header.writeUInt16LE(program.length, 0);
  header.writeBigUInt64LE(addressOf(body), 8);
  return { header, body };
}

/**
 * Lets a listening TCP socket take no new connection while those that are on their way or queued go on: drops
 * segments with SYN and without ACK. The clients' SYNs are repeated after 1 s, by then for the next listener.
 *
 * @see socket(7) SO_ATTACH_FILTER; tcp_v4_rcv(): the filter sees the segment from its TCP header on
 */
export function refuseNewConnections(fd: Fd): void {
  attachProgram(fd, SO_ATTACH_FILTER, [
    [0x30, 0, 0, 13], // ldb [13]: the flags
    [0x54, 0, 0, 0x12], // and SYN | ACK
    [0x15, 0, 1, 0x02], // jeq SYN
    [0x06, 0, 0, 0], // drop
    [0x06, 0, 0, 0xffffffff], // keep all of it
  ]);
}

/** Attaches a classic BPF program by that option of SOL_SOCKET. @see socket(7) SO_ATTACH_FILTER */
export function attachProgram(fd: Fd, option: number, program: readonly BpfInstruction[]): void {
  const { header, body } = socketProgram(program);
  setSocketOption(fd, SOL_SOCKET, option, header);
  // The kernel has copied the program by now; until here its memory must not be collected.
  body.fill(0);
}

function readInt(fd: Fd, level: number, name: number): number {
  return socketOption(fd, level, name).readInt32LE(0);
}

function writeInt(fd: Fd, level: number, name: number, value: number): void {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value, 0);
  setSocketOption(fd, level, name, bytes);
}
