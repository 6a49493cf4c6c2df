import type { Socket } from 'node:net';
import { harmless } from './harmless.js';

/** Calls `then` once nothing has come from the other side for so long; never when the connection is closed before. */
export function whenQuiet(socket: Socket, quietMs: number, then: () => void): void {
  const { bytesRead } = socket;
  const look = (): void => {
    if (socket.destroyed) return;
    if (socket.bytesRead === bytesRead) harmless(then);
    else whenQuiet(socket, quietMs, then);
  };
  // Timers run before the event loop reads what has arrived: this process may have been busy all the time.
  setTimeout(() => setImmediate(look), quietMs).unref();
}
