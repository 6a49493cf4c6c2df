import type { Server } from 'node:net';
import { type Connection, carrierOf } from './connection.js';
import { wasReset } from './reset.js';

/**
 * Who closed a connection first. With that one stays TIME_WAIT; after a reset, of whichever side, it stays nowhere.
 *
 * `peer`: its FIN was read before ours was sent. `we`: ours was sent before.
 */
export type FirstCloser = 'peer' | 'we' | 'reset';

const decided = new WeakMap<Connection, FirstCloser>();
const followed = new WeakSet<Connection>();

/** From now on it is seen who closes the connection first. `closed` is told when it is closed. */
export function follow(connection: Connection, closed: (first: FirstCloser) => void): void {
  for (const one of new Set([connection, carrierOf(connection)])) noteFinish(one);
  connection.once('close', () => closed(firstCloserOf(connection)));
}

/** The same for the TLS connections of a server, whose ends are not seen below TLS. */
export function followSecured(server: Server): void {
  if (!server.listeners('secureConnection').includes(noteFinish)) server.on('secureConnection', noteFinish);
}

/** Who closed a connection first that has been closed. */
export function firstCloserOf(connection: Connection): FirstCloser {
  const carrier = carrierOf(connection);
  if (wasReset(carrier) || isResetError(carrier) || isResetError(connection)) return 'reset';
  return decided.get(carrier) ?? (carrier._readableState.ended ? 'peer' : 'we');
}

/** Our FIN has been sent when the stream has finished; what has not come until then comes after it. */
function noteFinish(connection: Connection): void {
  if (followed.has(connection)) return;
  followed.add(connection);
  connection.once('finish', () => {
    decided.set(connection, connection._readableState.ended ? 'peer' : 'we');
  });
}

function isResetError({ errored }: Connection): boolean {
  const code = (errored as NodeJS.ErrnoException | null)?.code;
  return code === 'ECONNRESET' || code === 'EPIPE';
}
