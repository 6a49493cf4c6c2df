import { close } from './fd.js';
import { check, declare, type Fd, syscall } from './libc.js';
import { type ChildEnd, endOf } from './process.js';
import { processStat } from './procfs.js';

const ioctl = declare('int ioctl(int fd, unsigned long request, void *argument)');

const PIDFD_GET_INFO = 0xc040ff0b;
const PIDFD_INFO_EXIT = 8n;

/**
 * An fd that names this process for ever, whatever becomes of its number. Readable when the process has ended.
 *
 * @throws {SyscallError} ESRCH: no such process.
 * @see pidfd_open(2), Linux >= 5.3
 */
export function pidfdOpen(pid: number): Fd {
  return check('pidfd_open', syscall('pidfdOpen', pid, 0));
}

/** PIDFD_THREAD, which is O_EXCL. */
const PIDFD_THREAD = 0o200;

/**
 * The same for one thread of a process.
 *
 * @throws {SyscallError} ESRCH: no such thread. EINVAL: the kernel is older than Linux 6.9.
 */
export function pidfdOpenThread(tid: number): Fd {
  return check('pidfd_open', syscall('pidfdOpen', tid, PIDFD_THREAD));
}

/** Whether the number is that of a living process, not of a further thread of one. */
export function isProcess(tid: number): boolean {
  const pidfd = syscall('pidfdOpen', tid, 0);
  if (pidfd !== -1) close(pidfd);
  return pidfd !== -1;
}

/**
 * Copies another process's fd into this one, close-on-exec.
 *
 * @throws {SyscallError} EBADF: it has no such fd. EPERM: it may not be traced by us (other user, not dumpable,
 *   Yama, a container's seccomp profile). ESRCH: it has ended.
 * @see pidfd_getfd(2), Linux >= 5.6
 */
export function pidfdGetfd(pidfd: Fd, fd: number): Fd {
  return check('pidfd_getfd', syscall('pidfdGetfd', pidfd, fd, 0));
}

/**
 * Copies the fd of the process with this number, as `pidfdGetfd` does. The caller closes the copy. `thread`: one that
 * has it, for a process whose first thread has ended.
 *
 * @throws {SyscallError} as `pidfdOpen`, `pidfdOpenThread` and `pidfdGetfd`.
 */
export function copyFdFrom(pid: number, fd: number, thread?: number): Fd {
  const pidfd = thread === undefined ? pidfdOpen(pid) : pidfdOpenThread(thread);
  try {
    return pidfdGetfd(pidfd, fd);
  } finally {
    close(pidfd);
  }
}

/** Whether fds may be copied at all; a container's seccomp profile may refuse it even from oneself. */
export function mayCopyFds(): boolean {
  const pidfd = pidfdOpen(process.pid);
  const copy = syscall('pidfdGetfd', pidfd, pidfd, 0);
  close(pidfd);
  if (copy !== -1) close(copy);
  return copy !== -1;
}

/** Sends a signal to exactly that process. @throws {SyscallError} ESRCH, EPERM @see pidfd_send_signal(2) */
export function pidfdSignal(pidfd: Fd, signal: number): void {
  check('pidfd_send_signal', syscall('pidfdSendSignal', pidfd, signal, 0, 0));
}

/**
 * How a process that is no child of ours has ended; undefined while it runs, and where nobody tells: it has been reaped
 * on a kernel before Linux 6.15, or is another user's.
 *
 * @see PIDFD_GET_INFO in ioctl_pidfd(2); the last field of proc_pid_stat(5)
 */
export function pidfdEnd(pidfd: Fd, pid: number): ChildEnd | undefined {
  const info = Buffer.alloc(64);
  info.writeBigUInt64LE(PIDFD_INFO_EXIT, 0);
  const told = ioctl(pidfd, PIDFD_GET_INFO, info) === 0 && (info.readBigUInt64LE(0) & PIDFD_INFO_EXIT) !== 0n;
  if (told) return endOf(info.readInt32LE(60));
  // Until its parent has reaped it, the number is still its own.
  const stat = processStat(pid);
  return stat?.state === 'Z' ? endOf(stat.exitStatus) : undefined;
}
