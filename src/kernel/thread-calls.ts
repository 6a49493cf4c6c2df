import { isForbidden } from '../errors.js';
import { type SyscallName, syscallNumber } from './libc.js';
import { namesOrGone, readOrGone } from './procfs.js';

/** Calls in which a thread waits for what comes to a socket. The first argument of the accepting ones is the fd. */
const ACCEPTING: readonly SyscallName[] = ['accept', 'accept4'];
const WATCHING: readonly SyscallName[] = ['poll', 'ppoll', 'select', 'pselect6', 'ioUringEnter'];

/**
 * What the threads of a process wait for: `accept` on that fd, `watch` of fds that are not told (poll, select,
 * io_uring), or `other`; epoll is told by its registrations. Undefined when that may not be seen.
 *
 * @see proc_pid_syscall(5); needs the right to trace the process, and CONFIG_HAVE_ARCH_TRACEHOOK
 */
export function threadsWait(pid: number, fd: number): 'accept' | 'watch' | 'other' | undefined {
  try {
    const calls = namesOrGone(`/proc/${pid}/task`).map((tid) =>
      readOrGone(`/proc/${pid}/task/${tid}/syscall`),
    );
    if (calls.length === 0 || calls.every((call) => call === undefined)) return undefined;
    // A thread that runs may wait again in a moment.
    if (calls.some((call) => call?.startsWith('running'))) return 'watch';
    const parsed = calls.map((call) => (call ?? '').split(' '));
    const isIn = (names: readonly SyscallName[], number: string | undefined): boolean =>
      names.some((name) => String(syscallNumber(name)) === number);
    if (parsed.some(([number, first]) => isIn(ACCEPTING, number) && Number(first) === fd)) return 'accept';
    return parsed.some(([number]) => isIn(WATCHING, number)) ? 'watch' : 'other';
  } catch (error) {
    if (isForbidden(error)) return undefined;
    throw error;
  }
}
