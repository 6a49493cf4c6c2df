import type { Socket } from 'node:net';
import { HoldfastError } from '../errors.js';
import { type Fd, SyscallError } from '../kernel/libc.js';
import { bindTo, closeFd, listenWith, openSocket, setReuse, shutdownFor } from '../kernel/socket-calls.js';
import { type InetAddress, isWildcard } from '../model/address.js';
import { claim } from './claim.js';
import { connectOr } from './connect-socket.js';
import { addressOf, type Destination, type Host, localHost, reservationOver } from './ends.js';
import { connectionExists, portsConnectedTo } from './in-the-way.js';
import { lowestPort, noPortLeft } from './no-port.js';

export interface ReservedPortOptions {
  /** An IP address of this machine. Default: every IPv4 address. */
  readonly localAddress?: string | undefined;
  /** Ports that have a connection to it, or a TIME_WAIT, are passed over. */
  readonly destination?: Destination | undefined;
  /**
   * Ports to pass over. With these the connections to the destination are not looked for, which takes milliseconds: who
   * makes many knows them.
   */
  readonly except?: ReadonlySet<number> | undefined;
  /**
   * Ports count as free on which there are only connections and TIME_WAITs of sockets with SO_REUSEADDR, such as these.
   * Default true; false as rresvport(3) does it.
   */
  readonly reuseAddress?: boolean | undefined;
}

/** The ports of rresvport(3), which servers of rsh and rlogin take for a proof that root asks. */
const RESERVED = { from: 512, to: 1023 };

/** A port from 512 to 1023 that no other socket is bound to, until it is released or connected. */
export class ReservedPort implements Disposable {
  readonly port: number;
  readonly #fd: Fd;
  readonly #local: Host;
  readonly #destination: Destination | undefined;
  #isHeld = true;

  constructor(fd: Fd, port: number, local: Host, destination: Destination | undefined) {
    this.#fd = fd;
    this.port = port;
    this.#local = local;
    this.#destination = destination;
  }

  /**
   * Connects from the port, by default to the destination that it was reserved for. From then on the port is the
   * connection's, and the next one with another destination may have it too.
   *
   * @throws {HoldfastError} ERR_HOLDFAST_CONNECTION_EXISTS, ERR_HOLDFAST_RESERVATION: it is over.
   * @throws {Error} Node's, of connect.
   */
  async connect(
    destination: Destination | undefined = this.#destination,
    signal?: AbortSignal,
  ): Promise<Socket> {
    if (destination === undefined)
      throw new HoldfastError('ERR_HOLDFAST_OPTION', 'connect to what? name a destination');
    const peer = await addressOf(destination, this.#local.host);
    if (!this.#isHeld) throw reservationOver(this.port);
    this.#isHeld = false;
    // Its TIME_WAIT lets in whom the socket let in.
    setReuse(this.#fd, true);
    const host = isEvery(this.#local) ? undefined : this.#local.host;
    return connectOr({ peer, signal }, this.#fd, (cause) => connectionExists(this.port, host, peer, cause));
  }

  release(): void {
    if (this.#isHeld) closeFd(this.#fd);
    this.#isHeld = false;
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/**
 * Reserves the highest port from 1023 down to 512 that is free.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_NO_PORT: none is; the text says what holds them. ERR_HOLDFAST_ADDRESS: not root
 *   (CAP_NET_BIND_SERVICE, or net.ipv4.ip_unprivileged_port_start at 512), or a host that is none.
 * @see rcmd(3); rresvport() begins at 1023, sets no SO_REUSEADDR and so passes over every TIME_WAIT
 */
export async function reserveReservedPort(options: ReservedPortOptions = {}): Promise<ReservedPort> {
  const { destination, except, reuseAddress = true } = options;
  const local = localHost(options.localAddress ?? '0.0.0.0');
  const peer = destination && (await addressOf(destination, local.host));
  const host = isEvery(local) ? undefined : local.host;
  const connected = except ?? (peer && portsConnectedTo(peer, host, RESERVED));
  for (let { to: port } = RESERVED; port >= RESERVED.from; port--) {
    if (connected?.has(port)) continue;
    const fd = take(local, port, reuseAddress);
    if (fd !== undefined) return new ReservedPort(fd, port, local, destination);
  }
  throw noPortLeft(RESERVED, { wanted: 1, got: 0 });
}

function take(local: Host, port: number, reuseAddress: boolean): Fd | undefined {
  const claimed = claim(local, port);
  if (claimed === 'EACCES') {
    const text = `ports from ${RESERVED.from} to ${RESERVED.to} need root, CAP_NET_BIND_SERVICE, or net.ipv4.ip_unprivileged_port_start at ${RESERVED.from}: it is ${lowestPort()}`;
    throw new HoldfastError('ERR_HOLDFAST_ADDRESS', text);
  }
  if (claimed !== 'EADDRINUSE') return claimed.fd;
  return reuseAddress ? takeBeside({ ...local, port }) : undefined;
}

/**
 * Takes a port beside connections and TIME_WAITs, and no other socket that is bound to it and waits: of two that listen the
 * kernel refuses one, and who has listened keeps the port when it ends that. Without SO_REUSEADDR it is nobody else's then.
 *
 * @see inet_csk_listen_start(), inet_shutdown(): a port that was asked for by number stays bound
 */
function takeBeside(address: InetAddress): Fd | undefined {
  const fd = openSocket('tcp', address.family);
  if (fd < 0) throw new SyscallError('socket', -fd, address);
  setReuse(fd, true);
  if (bindTo(fd, address) === 0 && listenWith(fd, 0) === 0) {
    setReuse(fd, false);
    shutdownFor(fd, 'read');
    return fd;
  }
  closeFd(fd);
  return undefined;
}

function isEvery(host: Host): boolean {
  return isWildcard({ ...host, port: 0 });
}
