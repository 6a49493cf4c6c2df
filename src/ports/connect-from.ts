import type { Socket } from 'node:net';
import { errorCode, HoldfastError } from '../errors.js';
import { type Fd, SyscallError } from '../kernel/libc.js';
import { bindWithoutPort, closeFd, limitPorts, openSocket, setReuse } from '../kernel/socket-calls.js';
import { formatAddress, type InetAddress } from '../model/address.js';
import { bindOrClose, type Refusal } from './claim.js';
import { connectOr, connectSocket } from './connect-socket.js';
import { addressOf, type Destination, type Host, localHost } from './ends.js';
import { connectionExists, noPortToConnect } from './in-the-way.js';
import { everyPort, noPortLeft } from './no-port.js';
import { checkRange, inAnyOrder, type PortRange } from './range.js';

export interface ConnectFromOptions {
  /** An IP address of this machine. Default: the one that the route to the destination has. */
  readonly localAddress?: string | undefined;
  /** The local port. Default: one of `range`, or of those that the kernel chooses from. */
  readonly localPort?: number | undefined;
  readonly range?: PortRange | undefined;
  /**
   * SO_REUSEADDR: the local port may have connections to other destinations, and a TIME_WAIT, all of them of sockets that
   * have set it too. Default: with a `localPort`.
   */
  readonly reuseAddress?: boolean | undefined;
  /**
   * IP_BIND_ADDRESS_NO_PORT: the kernel chooses the port when it knows the destination, so that each destination has all
   * ports to itself. Default true without a `localPort`; false gives a port that no other connection has.
   */
  readonly bindLate?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What the parts below need to know. */
interface Wish {
  readonly local: Host | undefined;
  readonly peer: InetAddress;
  readonly reuse: boolean;
  readonly signal: AbortSignal | undefined;
}

/**
 * Connects from a local address of choice: bind(2) before connect(2).
 *
 * @throws {HoldfastError} ERR_HOLDFAST_CONNECTION_EXISTS: there is one between these two ends; the text says whose, or when
 *   its TIME_WAIT ends. ERR_HOLDFAST_NO_PORT: no port is left for this destination. ERR_HOLDFAST_ADDRESS_TAKEN: the local
 *   port is bound by somebody who does not share it. ERR_HOLDFAST_ADDRESS, ERR_HOLDFAST_OPTION: what cannot be.
 * @throws {Error} Node's, of connect and of looking up a name. {DOMException} AbortError.
 * @see ip(7) IP_BIND_ADDRESS_NO_PORT, IP_LOCAL_PORT_RANGE; __inet_hash_connect() in net/ipv4/inet_hashtables.c
 */
export async function connectFrom(options: ConnectFromOptions, destination: Destination): Promise<Socket> {
  const { localPort, range, signal, bindLate = true, reuseAddress = localPort !== undefined } = options;
  checkPorts(options);
  const local = options.localAddress === undefined ? undefined : localHost(options.localAddress);
  const peer = await addressOf(destination, local?.host);
  requireOneFamily(local, peer);
  signal?.throwIfAborted();
  const wish = { local, peer, reuse: reuseAddress, signal };
  if (localPort !== undefined) return fromPort(wish, localPort);
  return bindLate ? fromChosenPort(wish, range) : fromOwnPort(wish, range);
}

async function fromPort(wish: Wish, port: number): Promise<Socket> {
  const fd = boundSocket(wish, port);
  if (typeof fd === 'number') return connectOr(wish, fd, (cause) => exists(wish, port, cause));
  const at = formatAddress({ ...localOf(wish), port });
  const text =
    fd === 'EACCES'
      ? `${at} needs root: net.ipv4.ip_unprivileged_port_start is above it`
      : `${at} is bound already by a socket that does not share it; "holdfast why ${port}" tells whose`;
  throw new HoldfastError(fd === 'EACCES' ? 'ERR_HOLDFAST_ADDRESS' : 'ERR_HOLDFAST_ADDRESS_TAKEN', text);
}

/** The kernel chooses the port in connect, by the destination. */
async function fromChosenPort(wish: Wish, range: PortRange | undefined): Promise<Socket> {
  const fd = newSocket(wish);
  bindWithoutPort(fd);
  if (range !== undefined && !isLimitedTo(fd, range)) {
    closeFd(fd);
    return fromPortOf(wish, range);
  }
  const refusal = wish.local && bindOrClose(fd, { ...wish.local, port: 0 });
  if (refusal !== undefined) throw noPortLeft(range, { wanted: 1, got: 0 });
  return connectOr(wish, fd, (cause) => noPort(wish, range, cause));
}

/** Whether the kernel chooses from that range. Before Linux 6.3 it has one for all sockets, which it never leaves. */
function isLimitedTo(fd: Fd, { from, to }: PortRange): boolean {
  const every = everyPort();
  return from >= every.from && to <= every.to && limitPorts(fd, from, to) === 0;
}

/** A port that no other socket has. */
async function fromOwnPort(wish: Wish, range: PortRange | undefined): Promise<Socket> {
  if (range !== undefined) return fromPortOf(wish, range);
  const fd = boundSocket(wish, 0);
  if (typeof fd !== 'number') throw noPortLeft(undefined, { wanted: 1, got: 0 });
  return connectOr(wish, fd, (cause) => noPort(wish, range, cause));
}

/** One port after another. */
async function fromPortOf(wish: Wish, range: PortRange): Promise<Socket> {
  let cause: unknown;
  for (const port of inAnyOrder(range)) {
    const fd = boundSocket(wish, port);
    if (typeof fd !== 'number') continue;
    try {
      return await connectSocket(fd, wish.peer, wish.signal);
    } catch (error) {
      if (errorCode(error) !== 'EADDRNOTAVAIL') throw error;
      cause = error;
    }
  }
  throw noPort(wish, range, cause);
}

/** A socket with that port, 0 for any that nobody has. */
function boundSocket(wish: Wish, port: number): Fd | Refusal {
  const fd = newSocket(wish);
  setReuse(fd, wish.reuse);
  return bindOrClose(fd, { ...localOf(wish), port }) ?? fd;
}

function newSocket({ peer }: Wish): Fd {
  const fd = openSocket('tcp', peer.family);
  if (fd < 0) throw new SyscallError('socket', -fd, peer);
  return fd;
}

function localOf({ local, peer }: Wish): Host {
  return local ?? { family: peer.family, host: peer.family === 'ipv4' ? '0.0.0.0' : '::' };
}

function exists({ local, peer }: Wish, port: number, cause: unknown): Error {
  return connectionExists(port, local?.host, peer, cause);
}

function noPort({ local, peer }: Wish, range: PortRange | undefined, cause: unknown): Error {
  return noPortToConnect(range, local?.host, peer, cause);
}

function checkPorts({ localPort, range, bindLate }: ConnectFromOptions): void {
  if (range !== undefined) checkRange(range);
  if (localPort === undefined) return;
  checkRange({ from: localPort, to: localPort });
  if (range !== undefined) throw wrong('either localPort or range');
  if (bindLate) throw wrong('bindLate leaves the port to the kernel: either bindLate or localPort');
}

function requireOneFamily(local: Wish['local'], peer: InetAddress): void {
  if (local === undefined || local.family === peer.family) return;
  throw wrong(`${local.host} cannot connect to ${peer.host}: one is IPv4 and the other IPv6`);
}

function wrong(text: string): HoldfastError {
  return new HoldfastError('ERR_HOLDFAST_OPTION', text);
}
