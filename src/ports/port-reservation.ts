import { once } from 'node:events';
import type { Server } from 'node:net';
import { errorCode, HoldfastError } from '../errors.js';
import type { Fd } from '../kernel/libc.js';
import { BACKLOG_MAX, bind, listen, setReuseAddress, streamSocket } from '../kernel/socket.js';
import { closeFd } from '../kernel/socket-calls.js';
import { formatAddress } from '../model/address.js';
import { type Host, reservationOver } from './ends.js';
import type { Holding } from './holding.js';

/** What becomes of a reservation. */
export interface ReservationUse {
  readonly exclusive: boolean;
  readonly listensAt: Host;
}

/**
 * A port that is reserved, until it is released, or until this process has been dead for 60 s.
 *
 * Whoever knows the number may bind it meanwhile, on any address that was reserved, with SO_REUSEADDR: that is how a
 * port is used, and it goes on being used when the reservation is over. After `listener()` and `leave()` the reservation
 * is over, as after `release()`.
 */
export class PortReservation implements Disposable {
  readonly port: number;
  /** The address that it is for; `::` is every one of IPv4 too. */
  readonly host: string;
  readonly exclusive: boolean;
  readonly #holding: Holding;
  readonly #listensAt: Host;
  #isHeld = true;

  constructor(holding: Holding, { exclusive, listensAt }: ReservationUse) {
    this.#holding = holding;
    this.#listensAt = listensAt;
    this.port = holding.port;
    this.host = holding.host.host;
    this.exclusive = exclusive;
  }

  /** For a child that takes its port from the environment. */
  get env(): { readonly PORT: string } {
    return { PORT: String(this.port) };
  }

  /** The fds that hold the port, close-on-exec. Whichever process has them holds it. */
  get fds(): readonly Fd[] {
    return this.#isHeld ? this.#holding.fds : [];
  }

  /**
   * A listening socket on the port, at the host that was asked for, or at 127.0.0.1 when none was: as an fd, which
   * is the caller's then, or in a server of node:net, http, https or http2. There is no moment at which the port is
   * nobody's.
   *
   * @throws {HoldfastError} ERR_HOLDFAST_ADDRESS_TAKEN: who knew the number listens there; never when it is `exclusive`.
   *   ERR_HOLDFAST_RESERVATION: it is over.
   */
  listener(): Promise<Fd>;
  listener<S extends Server>(server: S): Promise<S>;
  async listener(server?: Server): Promise<Fd | Server> {
    this.#requireHeld();
    const fd = this.exclusive ? this.#listenWithClaim() : this.#listenBeside();
    this.#isHeld = false;
    if (server === undefined) return fd;
    const listening = once(server, 'listening');
    server.listen({ fd });
    await listening;
    return server;
  }

  /**
   * Leaves the port to the kernel, which lets nobody have it who does not bind it with SO_REUSEADDR, and does not choose
   * it: for a number that outlives this process. Gives for how many milliseconds, 60 s at most.
   *
   * @throws {HoldfastError} ERR_HOLDFAST_NOT_KEPT: the kernel keeps no TIME_WAIT here; the port is still reserved.
   *   ERR_HOLDFAST_RESERVATION: it is over.
   */
  async leave(): Promise<number> {
    this.#requireHeld();
    const ms = await this.#holding.leave();
    if (ms === undefined) {
      const text = `the kernel keeps no TIME_WAIT for port ${this.port} after its reservation: look at net.ipv4.tcp_max_tw_buckets; the port is held as long as this process lives`;
      throw new HoldfastError('ERR_HOLDFAST_NOT_KEPT', text);
    }
    this.#isHeld = false;
    return ms;
  }

  /** Gives the port back to everybody, at once. Nothing, when the reservation is over. */
  release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#holding.drop();
  }

  [Symbol.dispose](): void {
    this.release();
  }

  /** The socket that has the port begins to listen, and lets others in beside its connections after that. */
  #listenWithClaim(): Fd {
    const { fd } = this.#holding;
    listen(fd, BACKLOG_MAX);
    setReuseAddress(fd, true);
    return fd;
  }

  #listenBeside(): Fd {
    const address = { ...this.#listensAt, port: this.port };
    const fd = streamSocket(address.family);
    try {
      setReuseAddress(fd, true);
      bind(fd, address);
      listen(fd, BACKLOG_MAX, address);
    } catch (error) {
      closeFd(fd);
      if (errorCode(error) !== 'EADDRINUSE') throw error;
      const text = `${formatAddress(address)} has been taken by somebody who knew its number; "holdfast why ${this.port}" tells who. With exclusive: true nobody can`;
      throw new HoldfastError('ERR_HOLDFAST_ADDRESS_TAKEN', text, error);
    }
    this.#holding.drop();
    return fd;
  }

  #requireHeld(): void {
    if (!this.#isHeld) throw reservationOver(this.port);
  }
}
