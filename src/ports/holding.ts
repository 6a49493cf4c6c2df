import { localAddresses } from '../kernel/interface.js';
import type { Fd } from '../kernel/libc.js';
import { closeFd, resetAtClose, setReuse } from '../kernel/socket-calls.js';
import { type InetAddress, isWildcard } from '../model/address.js';
import { claim, type Refusal } from './claim.js';
import type { Host } from './ends.js';
import { selfConnection, timeWaitOf } from './self-connection.js';

/** Where programs listen that do not listen everywhere. */
const LOOPBACK: readonly Host[] = [
  { family: 'ipv4', host: '127.0.0.1' },
  { family: 'ipv6', host: '::1' },
];

/** More addresses of a machine than this get no TIME_WAIT. */
const ADDRESSES_MAX = 64;

/**
 * The sockets by which a port is held: one that is bound, and unless nobody else may have the port, self-connections,
 * which go to TIME_WAIT when this process is killed.
 */
export class Holding {
  readonly host: Host;
  readonly port: number;
  /** The bound socket. */
  readonly fd: Fd;
  readonly #selfConnections = new Map<string, Fd>();

  private constructor(host: Host, port: number, fd: Fd) {
    this.host = host;
    this.port = port;
    this.fd = fd;
  }

  /**
   * Takes the port, 0 for any. `exclusive`: nobody else can bind it; otherwise who sets SO_REUSEADDR can.
   *
   * @throws {HoldfastError} ERR_HOLDFAST_ADDRESS: no interface has the host. {SyscallError} EMFILE.
   */
  static take(host: Host, port: number, exclusive: boolean): Holding | Refusal {
    const claimed = claim(host, port);
    if (typeof claimed === 'string') return claimed;
    const holding = new Holding(host, claimed.port, claimed.fd);
    if (exclusive) return holding;
    try {
      setReuse(holding.fd, true);
      // Who tries all ports with SO_REUSEADDR may have been faster.
      if (holding.#connect(holding.#isEverywhere ? LOOPBACK : [host])) return holding;
    } catch (error) {
      holding.drop();
      throw error;
    }
    holding.drop();
    return 'EADDRINUSE';
  }

  get fds(): readonly Fd[] {
    return [this.fd, ...this.#selfConnections.values()];
  }

  /** Gives the port back to everybody. */
  drop(): void {
    this.disconnect();
    closeFd(this.fd);
  }

  /** Keeps the bound socket alone. */
  disconnect(): void {
    for (const fd of this.#selfConnections.values()) resetAtClose(fd);
    this.#closeConnections();
  }

  /**
   * Closes the sockets, and leaves a TIME_WAIT at every address that is meant. Gives in how many milliseconds the first of
   * them ends; undefined when the kernel keeps none, and then the port is still held.
   */
  async leave(): Promise<number | undefined> {
    // A TIME_WAIT lets in whom its socket let in.
    setReuse(this.fd, true);
    this.#connect(this.#isEverywhere ? everyHost() : [this.host]);
    const left = [...this.#selfConnections.keys()];
    this.#closeConnections();
    const times = await Promise.all(left.map((host) => timeWaitOf(this.#at(host))));
    if (times.length === 0 || times.includes(undefined)) return undefined;
    closeFd(this.fd);
    return Math.min(...times.map((time) => time ?? 0));
  }

  /** False when somebody listens at one of the hosts. */
  #connect(hosts: readonly Host[]): boolean {
    let isFree = true;
    for (const { family, host } of hosts) {
      if (this.#selfConnections.has(host)) continue;
      const fd = selfConnection({ family, host, port: this.port });
      if (fd === 'taken') isFree = false;
      else if (fd !== 'no-host') this.#selfConnections.set(host, fd);
    }
    return isFree;
  }

  #closeConnections(): void {
    for (const fd of this.#selfConnections.values()) closeFd(fd);
    this.#selfConnections.clear();
  }

  #at(host: string): InetAddress {
    return { family: host.includes(':') ? 'ipv6' : 'ipv4', host, port: this.port };
  }

  get #isEverywhere(): boolean {
    return isWildcard({ ...this.host, port: this.port });
  }
}

/** Link-local addresses are left out: nobody binds one without its interface. */
function everyHost(): readonly Host[] {
  const others = localAddresses().filter(({ host }) => !/^fe[89ab]/.test(host));
  return [...LOOPBACK, ...others].slice(0, ADDRESSES_MAX);
}
