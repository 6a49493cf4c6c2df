import { errorCode } from '../errors.js';
import { close, isNonBlocking, O_NONBLOCK } from '../kernel/fd.js';
import { EOPNOTSUPP, type Fd } from '../kernel/libc.js';
import { copyFdFrom } from '../kernel/pidfd.js';
import { fdFlags, networkNamespace, socketAt } from '../kernel/procfs.js';
import {
  boundDevice,
  IPPROTO_MPTCP,
  IPPROTO_TCP,
  isV6Only,
  netnsCookie,
  reusesPort,
  socketInode,
  socketKind,
  streamSocket,
} from '../kernel/socket.js';
import { ephemeralPorts, sysctlNumber } from '../kernel/sysctl.js';
import { socketProtocolName } from '../kernel/xattr.js';
import { type InetAddress, isWildcard } from '../model/address.js';
import type { Place } from './held.js';

/** A TCP socket of the worker in the moment in which it calls bind or listen. */
export interface ChildSocket {
  readonly pid: number;
  readonly fd: number;
  readonly inode: number;
  readonly nonBlocking: boolean;
  /** IPPROTO_TCP or IPPROTO_MPTCP. */
  readonly protocol: number;
  /** It asked for SO_REUSEPORT; false where that cannot be seen. */
  readonly programReusesPort: boolean;
  /** Our copy, for as long as it is lent; undefined where fds may not be copied. */
  readonly copy: Fd | undefined;
  placeAt(address: InetAddress): Place;
}

/**
 * Looks at a socket through a copy of its fd. The copy is lent for the time of `use`: kept longer, it would keep
 * an outgoing connection from ever sending its FIN. Undefined when it is no TCP socket.
 *
 * @throws {SyscallError} EPERM: it may not be looked into. ESRCH, EBADF: it is gone.
 */
export function withCopy<T>(pid: number, fd: number, use: (socket: ChildSocket) => T): T | undefined {
  const copy = copyFdFrom(pid, fd);
  try {
    const protocol = tcpProtocolOf(copy);
    return protocol === undefined ? undefined : use(copiedSocket(pid, fd, copy, protocol));
  } finally {
    close(copy);
  }
}

/** What a program has set on a socket before it bound it, as far as it has. */
export interface SocketSettings {
  readonly v6only?: boolean;
  readonly reusePort?: boolean;
  /** SO_BINDTODEVICE. */
  readonly device?: string;
}

/**
 * Looks at a socket from outside, through /proc. `settings` tells what the program has set on the socket of an inode.
 * Undefined when it is no TCP socket.
 *
 * @throws {Error} EACCES: it may not be looked into.
 */
export function lookAtSocket(
  pid: number,
  fd: number,
  settings: (inode: number) => SocketSettings,
): ChildSocket | undefined {
  const protocol = socketProtocolName(pid, fd);
  // An MPTCP socket (Go makes those) is answered with a plain one, as its peer would be.
  if (protocol === undefined || !/^(MP)?TCP(v6)?$/.test(protocol)) return undefined;
  const inode = socketAt(pid, fd);
  if (inode === undefined) return undefined;
  const { v6only, reusePort, device } = settings(inode);
  return {
    pid,
    fd,
    inode,
    nonBlocking: ((fdFlags(pid, fd) ?? 0) & O_NONBLOCK) !== 0,
    protocol: protocol.startsWith('MP') ? IPPROTO_MPTCP : IPPROTO_TCP,
    programReusesPort: reusePort ?? false,
    copy: undefined,
    placeAt: (address) => ({
      address,
      v6only:
        address.family === 'ipv6' &&
        isWildcard(address) &&
        (v6only ?? sysctlNumber('net/ipv6/bindv6only') === 1),
      device: device ?? '',
      netns:
        networkNamespace(pid) === networkNamespace('self') ? ownNamespace() : (networkNamespace(pid) ?? ''),
    }),
  };
}

/** Where a socket of ours is. Undefined for a unix socket. */
export function placeOf(fd: Fd, address: InetAddress): Place {
  return {
    address,
    // A bind to one address sets or ignores the flag by itself, so it tells two sockets apart on [::] alone.
    v6only: address.family === 'ipv6' && isWildcard(address) && isV6Only(fd),
    device: boundDevice(fd),
    netns: namespaceOf(fd),
  };
}

/** Whether it looks as if the kernel has chosen the port: then a server that is started anew gets another one. */
export function mayBeChosen({ port }: InetAddress): boolean {
  const { from, to } = ephemeralPorts() ?? { from: 1, to: 0 };
  return port === 0 || (port >= from && port <= to);
}

let namespace: string | undefined;

/** The network namespace that this process makes sockets in. */
export function ownNamespace(): string {
  if (namespace === undefined) {
    const fd = streamSocket('unix');
    try {
      namespace = namespaceOf(fd);
    } finally {
      close(fd);
    }
  }
  return namespace;
}

function copiedSocket(pid: number, fd: number, copy: Fd, protocol: number): ChildSocket {
  return {
    pid,
    fd,
    inode: socketInode(copy),
    nonBlocking: isNonBlocking(copy),
    protocol,
    programReusesPort: reusesPort(copy),
    copy,
    placeAt: (address) => placeOf(copy, address),
  };
}

/** Undefined for what is neither TCP nor MPTCP. */
function tcpProtocolOf(fd: Fd): number | undefined {
  try {
    const { stream, protocol } = socketKind(fd);
    return stream && (protocol === IPPROTO_TCP || protocol === IPPROTO_MPTCP) ? protocol : undefined;
  } catch (error) {
    if (errorCode(error) === 'ENOTSOCK') return undefined;
    throw error;
  }
}

/** The socket's own namespace, which may be another than its process's by now. */
function namespaceOf(fd: Fd): string {
  try {
    return String(netnsCookie(fd));
  } catch (error) {
    const code = errorCode(error);
    if (code !== 'ENOPROTOOPT' && code !== EOPNOTSUPP) throw error;
    // Before Linux 5.14 sockets do not tell; ours are in our namespace.
    return networkNamespace('self') ?? '';
  }
}
