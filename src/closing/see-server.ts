import type { Server } from 'node:net';
import { rememberSecured } from './connection.js';
import { followSecured } from './first-closer.js';
import { rememberSessions } from './sessions.js';

/** From now on the server's TLS connections and HTTP/2 sessions are known. A second time changes nothing. */
export function seeServer(server: Server): void {
  rememberSecured(server);
  rememberSessions(server);
  followSecured(server);
}
