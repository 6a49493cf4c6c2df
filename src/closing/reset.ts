import type { Socket } from 'node:net';
import type { Connection } from './connection.js';
import { loadKernel, unacknowledged } from './kernel.js';

const resets = new WeakSet<Socket>();

/** Whether this process has reset it. */
export function wasReset(connection: Connection): boolean {
  return resets.has(connection);
}

/**
 * Closes by a reset (SO_LINGER with 0 s), which leaves no TIME_WAIT and takes away what the peer has received and not yet
 * read. So it is not done before the peer's system has acknowledged every byte.
 *
 * @param otherwise what is done where the system does not tell that.
 */
export function resetOnceAcknowledged(connection: Connection, otherwise: () => void): void {
  const look = (): void => {
    if (connection.destroyed) return;
    const bytes = unacknowledged(connection);
    if (bytes === undefined) otherwise();
    else if (bytes === 0) reset(connection);
    else setTimeout(look, LOOK_MS).unref();
  };
  void loadKernel().then(look);
}

const LOOK_MS = 20;

function reset(connection: Connection): void {
  // Of TLS the socket below: it alone is a TCP socket of Node's.
  const below = (connection._parent ?? connection) as Connection;
  resets.add(connection).add(below);
  try {
    below.resetAndDestroy();
  } catch {
    // ERR_INVALID_HANDLE_TYPE: a unix socket, which has no TIME_WAIT.
  }
  connection.destroy();
}
