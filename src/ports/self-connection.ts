import { setTimeout as sleep } from 'node:timers/promises';
import { type Fd, SyscallError } from '../kernel/libc.js';
import { tcpConnection } from '../kernel/sock-diag.js';
import { bindTo, closeFd, connectTo, openSocket, setReuse } from '../kernel/socket-calls.js';
import type { InetAddress } from '../model/address.js';

// A TCP socket may be connected with itself: its SYN meets itself, as in a simultaneous open (RFC 9293, 3.5, figure 7).
// When it closes, also because its process was killed, it has closed first and goes to TIME_WAIT with its local port. So
// one fd keeps a port for as long as it is open and for 60 s more, without a listener that could take somebody's
// connection, and without a second port for the other end.

const EADDRINUSE = -98;
const EADDRNOTAVAIL = -99;
const EAFNOSUPPORT = -97;
const EINPROGRESS = -115;

/** `taken`: somebody listens there. `no-host`: this machine has no such address. */
export type NoSelfConnection = 'taken' | 'no-host';

/**
 * A socket that is connected with itself, on a port that somebody has bound with SO_REUSEADDR.
 *
 * @throws {SyscallError} EPERM: its packets are filtered. EMFILE.
 */
export function selfConnection(address: InetAddress): Fd | NoSelfConnection {
  const fd = openSocket('tcp', address.family, 'non-blocking');
  if (fd === EAFNOSUPPORT) return 'no-host';
  if (fd < 0) throw new SyscallError('socket', -fd, address);
  setReuse(fd, true);
  const bound = bindTo(fd, address);
  if (bound === 0) {
    const connected = connectTo(fd, address);
    // Its packets arrive when this call gives its lock back. A filter may drop them: then there is no TIME_WAIT later.
    if (connected === 0 || connected === EINPROGRESS) return fd;
    closeFd(fd);
    throw new SyscallError('connect', -connected, address);
  }
  closeFd(fd);
  if (bound === EADDRINUSE) return 'taken';
  if (bound === EADDRNOTAVAIL) return 'no-host';
  throw new SyscallError('bind', -bound, address);
}

/** Closing takes no longer than packets take from a socket to itself. */
const LOOKS = 200;

/**
 * How long the TIME_WAIT of a self-connection that has been closed lasts, in milliseconds; undefined when the kernel
 * keeps none.
 *
 * @see tcp_time_wait() in net/ipv4/tcp_minisocks.c: none when there are net.ipv4.tcp_max_tw_buckets already
 */
export async function timeWaitOf(address: InetAddress): Promise<number | undefined> {
  for (let look = 0; look < LOOKS; look++) {
    const left = tcpConnection(address, address);
    if (left === undefined) return undefined;
    if (left.state === 'TIME_WAIT') return left.timer?.expiresMs ?? 0;
    await sleep(1);
  }
  return undefined;
}
