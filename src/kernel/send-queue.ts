import { check, declare, type Fd } from './libc.js';

const ioctl = declare('int ioctl(int fd, unsigned long request, void *argument)');

/** TIOCOUTQ of include/uapi/asm-generic/ioctls.h, the same on all our platforms. */
const SIOCOUTQ = 0x5411;

/**
 * How many bytes of a TCP socket the peer has not acknowledged, sent or not; a FIN counts as one.
 *
 * @throws {SyscallError} EBADF, ENOTTY: no socket. EINVAL: it listens.
 * @see tcp(7), tcp_ioctl() in net/ipv4/tcp.c
 */
export function unacknowledgedBytes(fd: Fd): number {
  const count = Buffer.alloc(4);
  check('ioctl', ioctl(fd, SIOCOUTQ, count));
  return count.readInt32LE();
}
