import { type Connection, carrierOf, isIdle } from './connection.js';
import { closeOrReset, isEnding } from './hang-up.js';
import type { Manner } from './manner.js';
import { whenQuiet } from './quiet.js';

/**
 * Closes a connection of HTTP/1 once no request has come for as long as the manner says, and none is being answered. The
 * first request of one, or its TLS handshake, may be longer on its way.
 */
export function closeWhenIdle(connection: Connection, manner: Manner): void {
  const { idleMs, peerFirstMs } = manner;
  whenQuiet(connection, connection.bytesRead === 0 ? Math.max(idleMs, peerFirstMs) : idleMs, () => {
    const carrier = carrierOf(connection);
    if (isEnding(carrier)) return;
    if (isIdle(connection)) closeOrReset(carrier, manner);
    else closeWhenIdle(connection, manner);
  });
}
