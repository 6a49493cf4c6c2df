import { Socket } from 'node:net';
import type { Connection } from './connection.js';
import type { Manner } from './manner.js';
import { whenQuiet } from './quiet.js';
import { resetOnceAcknowledged } from './reset.js';
import { endAfterFin } from './tls-end.js';

/** Connections that are being closed, or left to the client to close. */
const ending = new WeakSet<Socket>();

/** Whether it has given its last response and ends by itself. */
export function isEnding(connection: Connection): boolean {
  return ending.has(connection);
}

/**
 * Closes a connection of HTTP/1 that has given its last response. No further request is read from it: the client knows
 * that, and may ask somebody else. What still comes is thrown away, since a connection that is closed with something
 * unread is reset, and a reset takes away what the client has not read.
 *
 * @see RFC 9112, section 9.6
 */
export function hangUp(connection: Connection, { peerFirstMs }: Manner): void {
  readNoMore(connection);
  connection.end();
  whenQuiet(connection, peerFirstMs, () => connection.destroy());
}

/** Leaves that to the client until it has been quiet: TIME_WAIT is where a connection is closed first. */
export function letHangUp(connection: Connection, manner: Manner): void {
  // Its FIN is here already, or nothing can be sent any more.
  endAfterFin(connection, manner);
  const close = (): void => Socket.prototype.destroySoon.call(connection);
  if (connection.readableEnded || !connection.writable) {
    close();
    return;
  }
  readNoMore(connection);
  connection.once('end', close);
  whenQuiet(connection, manner.peerFirstMs, () => closeOrReset(connection, manner));
}

/** The same of a client that asked for the connection's end. It sends nothing more, and with its FIN Node ends our side. */
export function awaitHangUp(connection: Connection, manner: Manner): void {
  if (connection._readableState.ended || !connection.writable) Socket.prototype.destroySoon.call(connection);
  else whenQuiet(connection, manner.peerFirstMs, () => closeOrReset(connection, manner));
}

/** Of a connection whose client does not close it. */
export function closeOrReset(connection: Connection, manner: Manner): void {
  if (manner.reset) resetOnceAcknowledged(connection, () => hangUp(connection, manner));
  else hangUp(connection, manner);
}

function readNoMore(connection: Connection): void {
  ending.add(connection);
  // With them goes the HTTP parser; to listen for data takes the connection out of its hands. An error is the client's.
  for (const event of ['data', 'end', 'error']) connection.removeAllListeners(event);
  connection.on('error', () => undefined);
  connection.on('data', () => undefined);
  connection.resume();
  // A parser that had enough has stopped the reading, and the stream believes that it goes on.
  if (connection._handle?.reading === false) readStart(connection);
}

/** Reads whatever its stream believes. */
export function readStart({ _handle: handle }: Connection): void {
  if (!handle) return;
  handle.reading = true;
  handle.readStart();
}
