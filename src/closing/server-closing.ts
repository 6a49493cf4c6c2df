import type { Server } from 'node:net';
import { type Connection, connectionsOf } from './connection.js';
import { type FirstCloser, follow } from './first-closer.js';
import { closeWhenIdle } from './idle.js';
import { followManners } from './last-response.js';
import { closeGently, closeListener } from './listener.js';
import { leaveServer, type Manner } from './manner.js';
import type { Settings } from './options.js';
import { takeInQueue } from './queue.js';
import { closeWhenAnswered } from './raw.js';
import { seeServer } from './see-server.js';
import { closeSessions } from './sessions.js';

/** How many connections ended in which way. */
export interface ClosingCounts {
  /** The peer closed first: TIME_WAIT is with it. */
  readonly peerFirst: number;
  /** We closed first: TIME_WAIT is here. */
  readonly weFirst: number;
  /** Reset by one of the two: TIME_WAIT is nowhere. */
  readonly reset: number;
  /** Cut off at the timeout, or by the signal. */
  readonly cut: number;
}

export interface ClosingProgress extends ClosingCounts {
  /** Connections that are open still. */
  readonly open: number;
}

export interface CloseResult extends ClosingCounts {
  /** How long it took. */
  readonly ms: number;
}

/** How long the ends of connections that are cut off may take to be told. */
const TOLD_MS = 100;

/** The closing of one server. */
export class ServerClosing {
  /** When nothing of it is left, at the timeout at the latest. */
  readonly done: Promise<CloseResult>;
  readonly #server: Server;
  readonly #settings: Settings;
  readonly #manner: Manner;
  readonly #open = new Set<Connection>();
  readonly #counts = { peerFirst: 0, weFirst: 0, reset: 0, cut: 0 };
  readonly #sinceMs: number = performance.now();
  readonly #undo: (() => void)[] = [];
  #accepted = 0;
  #isCut = false;
  /** No connection can come any more. */
  #isShut = false;
  #isOver = false;
  #resolve: (result: CloseResult) => void = () => undefined;

  constructor(server: Server, settings: Settings) {
    const { idleMs, peerFirstMs, reset } = settings;
    this.#server = server;
    this.#settings = settings;
    this.#manner = { isLeaving: true, waitsForClosers: true, idleMs, peerFirstMs, reset };
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#begin();
  }

  #begin(): void {
    const server = this.#server;
    // Before its connections are asked for: those are the ones of a server that has been seen.
    seeServer(server);
    for (const connection of connectionsOf(server)) this.#take(connection);
    this.#listenTo('connection', (connection) => {
      this.#accepted++;
      this.#take(connection);
    });
    this.#listenTo('close', () => this.#shut());
    const port = portOf(server);
    this.#undo.push(closeGently(server));
    this.#limit();
    if (!server.listening) {
      if (!(server as { readonly _connections?: number })._connections) this.#shut();
      this.#leave(port);
      return;
    }
    // Clients that are told to go come again at once: nobody is told before they would be refused. Others go by themselves.
    leaveServer(server, { ...this.#manner, isLeaving: false });
    followManners();
    const intake = { accepted: () => this.#accepted, mostMs: this.#settings.timeoutMs / 2 };
    void takeInQueue(server, intake).then(() => this.#leave(port));
  }

  #leave(port: number | undefined): void {
    if (this.#isOver) return;
    leaveServer(this.#server, this.#manner);
    followManners();
    closeSessions(this.#manner, this.#server);
    for (const connection of this.#open) closeWhenIdle(connection, this.#manner);
    this.#undo.push(closeWhenAnswered(this.#open, port, this.#manner));
  }

  /** Before the program's own listeners: a connection is known before anything happens to it. */
  #listenTo(event: string, listener: (connection: Connection) => void): void {
    this.#server.prependListener(event, listener);
    this.#undo.push(() => this.#server.off(event, listener));
  }

  #limit(): void {
    const { timeoutMs, signal } = this.#settings;
    const cut = (): void => this.#cutOff();
    const timer = setTimeout(cut, timeoutMs);
    signal?.addEventListener('abort', cut);
    this.#undo.push(() => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', cut);
    });
    if (signal?.aborted) cut();
  }

  #take(connection: Connection): void {
    if (connection.destroyed || this.#open.has(connection)) return;
    this.#open.add(connection);
    follow(connection, (first) => this.#count(connection, first));
  }

  #count(connection: Connection, first: FirstCloser): void {
    this.#open.delete(connection);
    if (this.#isCut) this.#counts.cut++;
    else if (first === 'reset') this.#counts.reset++;
    else if (first === 'peer') this.#counts.peerFirst++;
    else this.#counts.weFirst++;
    this.#settings.onProgress?.({ open: this.#open.size, ...this.#counts });
    this.#endIfOver();
  }

  #shut(): void {
    this.#isShut = true;
    this.#endIfOver();
  }

  #endIfOver(): void {
    if (this.#isShut && this.#open.size === 0) this.#end();
  }

  #cutOff(): void {
    this.#isCut = true;
    if (this.#server.listening) closeListener(this.#server);
    for (const connection of this.#open) connection.destroy();
    // The end of each is told by then, and what the program keeps open by other means is not waited for.
    const timer = setTimeout(() => this.#end(), TOLD_MS);
    this.#undo.push(() => clearTimeout(timer));
  }

  #end(): void {
    this.#isOver = true;
    for (const undo of this.#undo.splice(0).reverse()) undo();
    leaveServer(this.#server, undefined);
    this.#resolve({ ...this.#counts, ms: performance.now() - this.#sinceMs });
  }
}

function portOf(server: Server): number | undefined {
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : undefined;
}
