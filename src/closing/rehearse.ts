import { createServer } from 'node:http';
import type { Server } from 'node:net';
import { Duplex } from 'node:stream';

const REQUEST = 'GET / HTTP/1.1\r\nHost: rehearsal.invalid\r\nConnection: close\r\n\r\n';

let rehearsed = false;

/**
 * Answers one HTTP request that nobody has sent, by a server of its own and without a socket: Node compiles what it does
 * for the first one, which takes it 5 ms. Only where the server is one of HTTP/1, and once in a process.
 */
export function rehearse(server: Server): void {
  // Those of node:http and of node:https have it, and those of node:http2 that speak HTTP/1 as well.
  if (rehearsed || !('requestTimeout' in server)) return;
  rehearsed = true;
  const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, written) => written() });
  createServer((_request, response) => response.end('rehearsed')).emit('connection', socket);
  // The server listens to it by now, and answers before this returns.
  socket.emit('data', Buffer.from(REQUEST));
  socket.destroy();
}
