import type { Server } from 'node:net';
import { type Connection, connectionsOf } from './connection.js';
import { type FirstCloser, follow } from './first-closer.js';
import { seeServer } from './see-server.js';
import { type ClosableServer, serverOf } from './target.js';
import { type LocalAddress, timeWaitAt } from './time-wait.js';

/** Who closed a server's connections first, since it has been counted. */
export interface Closings {
  /** Connections that are open. */
  readonly open: number;
  readonly peerFirst: number;
  readonly weFirst: number;
  /** Reset by one of the two. */
  readonly reset: number;
  /**
   * How many connections the kernel keeps in TIME_WAIT at the server's address, those of earlier servers there among them.
   * Undefined on other systems than Linux, where the kernel has no inet_diag, and for unix sockets.
   */
  timeWait(): Promise<number | undefined>;
  /** All of it in the text format of Prometheus. */
  metrics(): Promise<string>;
  /** Counts no further connections. */
  stop(): void;
}

/**
 * Counts from now on who closes the server's connections first. A server that is counted from its start is also known to
 * `closeGracefully`, which then can tell every one of its connections.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION: no server.
 */
export function countClosings(target: ClosableServer): Closings {
  return new ServerClosings(serverOf(target));
}

class ServerClosings implements Closings {
  open = 0;
  peerFirst = 0;
  weFirst = 0;
  reset = 0;
  readonly #server: Server;
  readonly #take: (connection: Connection) => void;
  #address: LocalAddress | undefined;

  constructor(server: Server) {
    this.#server = server;
    this.#take = (connection) => this.#count(connection);
    seeServer(server);
    for (const connection of connectionsOf(server)) this.#count(connection);
    server.prependListener('connection', this.#take);
    server.prependListener('listening', this.#lookAtAddress);
    this.#lookAtAddress();
  }

  async timeWait(): Promise<number | undefined> {
    return this.#address === undefined ? undefined : timeWaitAt(this.#address);
  }

  async metrics(): Promise<string> {
    const { closingMetrics } = await import('./metrics.js');
    return closingMetrics(this, this.#address, await this.timeWait());
  }

  stop(): void {
    this.#server.off('connection', this.#take);
    this.#server.off('listening', this.#lookAtAddress);
  }

  /** Once the server is closed it does not tell any more where it was. */
  #lookAtAddress = (): void => {
    const address = this.#server.address();
    if (address !== null && typeof address === 'object') {
      this.#address = { host: address.address, port: address.port };
    }
  };

  #count(connection: Connection): void {
    this.open++;
    follow(connection, (first) => {
      this.open--;
      this[COUNTER[first]]++;
    });
  }
}

const COUNTER = { peer: 'peerFirst', we: 'weFirst', reset: 'reset' } as const satisfies Record<
  FirstCloser,
  keyof Closings
>;
