import cluster from 'node:cluster';
import { subscribe } from 'node:diagnostics_channel';
import type { Server } from 'node:net';
import { type Connection, openConnections } from './connection.js';
import { harmless } from './harmless.js';
import { closeWhenIdle } from './idle.js';
import { followManners } from './last-response.js';
import { closeGently, stopAccepting } from './listener.js';
import { leaveAll, type Manner } from './manner.js';
import { closeSessions } from './sessions.js';
import type { Settings } from './settings.js';

/** The leaving of a program's servers, from the signal on. */
export class Departure {
  /** When all that was added is closed, or at the timeout. */
  readonly gone: Promise<void>;
  readonly #settings: Settings;
  readonly #timer: NodeJS.Timeout;
  /** What is waited for: servers that have connections or may get some. */
  readonly #awaited = new Set<unknown>();
  #accepted = 0;
  #leave: () => void = () => undefined;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.gone = new Promise((resolve) => {
      this.#leave = resolve;
    });
    const manner = mannerFor(settings);
    leaveAll(manner);
    followManners();
    closeSessions(manner);
    for (const connection of openConnections()) closeWhenIdle(connection, manner);
    subscribe('net.server.socket', (message) => {
      this.#accepted++;
      harmless(() => closeWhenIdle((message as { readonly socket: Connection }).socket, manner));
    });
    // Clients that the primary has accepted may be on their way to this worker, and there is nothing to see of them.
    if (cluster.isWorker) this.#waitFor(cluster, (arrived) => setTimeout(arrived, settings.quietMs));
    this.#timer = setTimeout(() => this.#cutOff(), settings.timeoutMs);
  }

  /** A server that listens, or that has been closed and still has connections. */
  add(server: Server): void {
    this.#waitFor(server, (closed) => server.once('close', closed));
    closeGently(server);
    if (server.listening) stopAccepting(server, () => this.#accepted, this.#settings.quietMs);
  }

  #waitFor(what: unknown, until: (over: () => void) => void): void {
    this.#awaited.add(what);
    until(() => {
      this.#awaited.delete(what);
      if (this.#awaited.size === 0) this.#end();
    });
  }

  #cutOff(): void {
    for (const connection of openConnections()) connection.destroy();
    this.#end();
  }

  #end(): void {
    clearTimeout(this.#timer);
    this.#leave();
  }
}

function mannerFor({ quietMs }: Settings): Manner {
  return {
    ...{ isLeaving: true, waitsForClosers: false, reset: false },
    ...{ idleMs: quietMs, peerFirstMs: quietMs },
  };
}
