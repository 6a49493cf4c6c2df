import { declare } from './libc.js';

const getxattr = declare('intptr_t getxattr(const char *path, const char *name, void *value, size_t size)');

/**
 * The protocol of another process's socket as the kernel names it: TCP, TCPv6, UDP, MPTCP, UNIX-STREAM …;
 * undefined when the fd is no socket or may not be looked at. Needs the right to read /proc/PID/fd, no more.
 *
 * @see sockfs_xattr_get() in net/socket.c
 */
export function socketProtocolName(pid: number, fd: number): string | undefined {
  const value = Buffer.alloc(64);
  const length = Number(getxattr(`/proc/${pid}/fd/${fd}`, 'system.sockprotoname', value, value.length));
  return length <= 0 ? undefined : value.toString('latin1', 0, length).replace(/\0.*$/s, '');
}
