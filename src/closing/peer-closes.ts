import { Server, type Socket } from 'node:net';
import type { Connection } from './connection.js';
import { type FirstCloser, firstCloserOf, follow } from './first-closer.js';
import { followManners } from './last-response.js';
import { keepManner } from './manner.js';
import { flag, milliseconds, wrong } from './options.js';
import { resetOnceAcknowledged } from './reset.js';
import { type ClosableServer, serverOrSocketOf } from './target.js';

export interface PeerClosesOptions {
  /** How long the peer may take, in whole milliseconds. Default 500. */
  readonly timeoutMs?: number | undefined;
  /** A peer that does not close in time is reset, once all has arrived, in the place of being closed. Default false. */
  readonly reset?: boolean | undefined;
}

export interface WeCloseOptions {
  /** How long the peer may take to close its side, in whole milliseconds; then the socket is destroyed. Default 10,000. */
  readonly timeoutMs?: number | undefined;
}

/**
 * Lets the peer close first, so that TIME_WAIT is with it: sends what has been written, and no FIN before the peer's.
 * What comes meanwhile goes to whoever reads the socket, or is thrown away. Resolves with who closed first when the
 * socket is closed. After the timeout we close, and what is not closed after as long again is destroyed.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION: no socket, or a wrong option.
 */
export function peerCloses(socket: Socket, options?: PeerClosesOptions): Promise<FirstCloser>;
/**
 * The same for all connections of an HTTP/1 server, from now on: after the last response of one (the client asked for
 * `Connection: close`, or the program said it) the client closes first. Gives what ends that.
 *
 * A client that reads up to the connection's end, although it is told the length, waits for the timeout.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION: no server of http, https or http2, or a wrong option.
 */
export function peerCloses(server: ClosableServer, options?: PeerClosesOptions): () => void;
export function peerCloses(
  target: Socket | ClosableServer,
  { timeoutMs, reset = false }: PeerClosesOptions = {},
): Promise<FirstCloser> | (() => void) {
  const socketOrServer = serverOrSocketOf(target);
  const settings = {
    peerFirstMs: milliseconds('timeoutMs', timeoutMs, 500),
    reset: flag('reset', reset),
  };
  if (!(socketOrServer instanceof Server)) return letPeerClose(socketOrServer as Connection, settings);
  if (!('setTimeout' in socketOrServer)) {
    throw wrong(
      'a server of http, https or http2; of others give peerCloses each socket that is to be closed',
      target,
    );
  }
  keepManner(socketOrServer, { isLeaving: false, waitsForClosers: true, idleMs: 0, ...settings });
  followManners();
  return () => keepManner(socketOrServer, undefined);
}

/**
 * Closes first, so that TIME_WAIT is here: sends what has been written and a FIN, and reads on until the peer has closed
 * too, since a socket that is closed with something unread is reset. Resolves with who closed first when it is closed: the
 * peer may have done so before.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION: no socket, or a wrong option.
 */
export function weClose(socket: Socket, { timeoutMs }: WeCloseOptions = {}): Promise<FirstCloser> {
  const connection = serverOrSocketOf(socket);
  if (connection instanceof Server) throw wrong('a socket of node:net', socket);
  const patienceMs = milliseconds('timeoutMs', timeoutMs, 10_000);
  return untilClosed(connection as Connection, () => endWithin(connection as Connection, patienceMs));
}

function letPeerClose(
  connection: Connection,
  { peerFirstMs, reset }: { readonly peerFirstMs: number; readonly reset: boolean },
): Promise<FirstCloser> {
  const end = (): void => endWithin(connection, peerFirstMs);
  return untilClosed(connection, () => {
    if (connection.readableEnded || connection.writableEnded) {
      end();
      return;
    }
    connection.once('end', end);
    keepReading(connection);
    const timer = setTimeout(() => {
      if (reset) resetOnceAcknowledged(connection, end);
      else end();
    }, peerFirstMs);
    connection.once('close', () => clearTimeout(timer));
  });
}

function untilClosed(connection: Connection, close: () => void): Promise<FirstCloser> {
  if (connection.closed) return Promise.resolve(firstCloserOf(connection));
  return new Promise((resolve) => {
    follow(connection, resolve);
    // A reset by the peer is told by the result.
    connection.on('error', () => undefined);
    if (!connection.destroyed) close();
  });
}

/** Closes our side, and all of it when the peer does not close its side in time. What is still being sent has its time. */
function endWithin(connection: Connection, timeoutMs: number): void {
  connection.end();
  keepReading(connection);
  let leftBefore = Number.POSITIVE_INFINITY;
  const look = setInterval(() => {
    const left = connection.writableLength;
    if (left === 0 || left >= leftBefore) connection.destroy();
    leftBefore = left;
  }, timeoutMs);
  connection.once('close', () => clearInterval(look));
}

/** Where nobody reads, the peer's FIN would never be seen. */
export function keepReading(connection: Socket): void {
  if (connection.readableFlowing === null && connection.listenerCount('readable') === 0) connection.resume();
}
