import { close } from './fd.js';
import type { SocketFd } from './fd-walk.js';
import { SyscallError } from './libc.js';
import { copyFdFrom } from './pidfd.js';
import {
  boundDevice,
  isListening,
  isV6Only,
  reusesAddress,
  reusesPort,
  socketCookie,
  socketInode,
  socketKind,
} from './socket.js';
import { sysctlNumber } from './sysctl.js';

/** What only the socket itself tells: no dump has it. */
export interface SocketOptions {
  readonly ok: true;
  /** SO_REUSEADDR */
  readonly reuse: boolean;
  /** SO_REUSEPORT */
  readonly reusePort: boolean;
  readonly listening: boolean;
  /** IPPROTO_TCP 6, IPPROTO_UDP 17, IPPROTO_MPTCP 262 … */
  readonly protocol: number;
  /** IPv6 only; false for IPv4. */
  readonly v6only: boolean;
  /** Name of the interface that it is bound to; '' for none. */
  readonly device: string;
  /** As in a dump, which proves that it is the same socket; but of MPTCP a dump has that of the TCP socket within. */
  readonly cookie: bigint;
}

/** Why a socket may not be read. */
export interface SocketOptionsUnread {
  readonly ok: false;
  /**
   * EPERM: its process may not be traced by us (another user's, not dumpable, Yama, a container's seccomp profile).
   * ESRCH: the process has ended. EBADF: it does not have that socket there any more. ENOSYS: the kernel is older than
   * Linux 5.6. EINVAL: the process lives on in other threads, and the kernel is older than 6.9.
   */
  readonly why: (typeof REFUSALS)[number];
}

const REFUSALS = ['EPERM', 'ESRCH', 'EBADF', 'ENOSYS', 'EINVAL'] as const;

/**
 * The options of a socket in another process, read from a copy of it. The copy would keep the socket alive, so it is
 * closed at once.
 *
 * @throws {SyscallError} EMFILE, ENFILE: there is no room for the copy.
 * @see pidfd_getfd(2), socket(7)
 */
export function socketOptionsOf(
  { pid, fd, thread }: SocketFd,
  inode: number,
): SocketOptions | SocketOptionsUnread {
  try {
    const copy = copyFdFrom(pid, fd, thread);
    try {
      // The number may be another file's since it was looked up.
      return socketInode(copy) === inode ? readOptions(copy) : { ok: false, why: 'EBADF' };
    } finally {
      close(copy);
    }
  } catch (error) {
    const why = REFUSALS.find((code) => error instanceof SyscallError && error.code === code);
    if (why === undefined) throw error;
    return { ok: false, why };
  }
}

function readOptions(fd: number): SocketOptions {
  return {
    ok: true,
    reuse: reusesAddress(fd),
    reusePort: reusesPort(fd),
    listening: isListening(fd),
    protocol: socketKind(fd).protocol,
    v6only: isV6Only(fd),
    device: boundDevice(fd),
    cookie: socketCookie(fd),
  };
}

/**
 * What Yama allows: 0 all that the user may do, 1 descendants only, 2 needs CAP_SYS_PTRACE, 3 nothing. Undefined: there
 * is no Yama.
 *
 * @see Documentation/admin-guide/LSM/Yama.rst
 */
export function ptraceScope(): number | undefined {
  return sysctlNumber('kernel/yama/ptrace_scope');
}
