import { Socket } from 'node:net';
import type { Connection } from './connection.js';
import { whenQuiet } from './quiet.js';

/**
 * Closes a connection of HTTP/1 that has given its last response. No further request is read from it: the client knows
 * that, and may ask somebody else. What still comes is thrown away, since a connection that is closed with something
 * unread is reset, and a reset takes away what the client has not read.
 *
 * @see RFC 9112, section 9.6
 */
export function hangUp(connection: Connection, quietMs: number): void {
  readNoMore(connection);
  connection.end();
  whenQuiet(connection, quietMs, () => connection.destroy());
}

/** Leaves that to the client until it has been quiet: TIME_WAIT is where a connection is closed first. */
export function letHangUp(connection: Connection, quietMs: number): void {
  // Its FIN is here already, or nothing can be sent any more.
  if (connection.readableEnded || !connection.writable) {
    Socket.prototype.destroySoon.call(connection);
    return;
  }
  readNoMore(connection);
  connection.once('end', () => Socket.prototype.destroySoon.call(connection));
  whenQuiet(connection, quietMs, () => hangUp(connection, quietMs));
}

function readNoMore(connection: Connection): void {
  // With them goes the HTTP parser; to listen for data takes the connection out of its hands. An error is the client's.
  for (const event of ['data', 'end', 'error']) connection.removeAllListeners(event);
  connection.on('error', () => undefined);
  connection.on('data', () => undefined);
  connection.resume();
  // A parser that had enough has stopped the reading, and the stream believes that it goes on.
  const handle = connection._handle;
  if (handle && !handle.reading) {
    handle.reading = true;
    handle.readStart();
  }
}
