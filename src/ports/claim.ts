import { type Fd, SyscallError } from '../kernel/libc.js';
import { bindTo, closeFd, nameOf, openSocket, setV6OnlyNow } from '../kernel/socket-calls.js';
import type { InetAddress } from '../model/address.js';
import { type Host, noSuchHost } from './ends.js';

/** A port that a bound socket of ours has. */
export interface Claim {
  readonly fd: Fd;
  readonly port: number;
}

/** Why there is none: the names of bind(2). */
export type Refusal = 'EADDRINUSE' | 'EACCES';

const EACCES = -13;
const EADDRINUSE = -98;
const EADDRNOTAVAIL = -99;
const EAFNOSUPPORT = -97;

/**
 * Binds a socket to the port as nobody else can at the same time: without SO_REUSEADDR the kernel gives a port to one
 * socket alone, whatever process and user asks. Port 0: the kernel chooses. Host `::` is every IPv4 address too.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_ADDRESS: no interface has the host. {SyscallError} EMFILE.
 * @see inet_csk_get_port() in net/ipv4/inet_connection_sock.c
 */
export function claim({ family, host }: Host, port: number): Claim | Refusal {
  const address = { family, host, port };
  const fd = openSocket('tcp', family);
  if (fd === EAFNOSUPPORT && host === '::') return claim({ family: 'ipv4', host: '0.0.0.0' }, port);
  if (fd < 0) throw new SyscallError('socket', -fd, address);
  if (host === '::') setV6OnlyNow(fd, false);
  const refusal = bindOrClose(fd, address);
  return refusal ?? { fd, port: port === 0 ? nameOf(fd).port : port };
}

/**
 * Binds a socket, or closes it and says why not.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_ADDRESS: no interface has the host. {SyscallError} EINVAL.
 */
export function bindOrClose(fd: Fd, address: InetAddress): Refusal | undefined {
  const failed = bindTo(fd, address);
  if (failed === 0) return undefined;
  closeFd(fd);
  if (failed === EADDRINUSE) return 'EADDRINUSE';
  if (failed === EACCES) return 'EACCES';
  const cause = new SyscallError('bind', -failed, address);
  throw failed === EADDRNOTAVAIL ? noSuchHost(address.host, cause) : cause;
}
