import { Server } from 'node:net';
import { keptBy } from './connection.js';

/** The server's closing, as the program may call it. */
interface Closable extends Server {
  closeIdleConnections?(): void;
}

/**
 * Closes the listening socket once everybody in its queue has been accepted, and nothing else: who waits there when the
 * last process closes it is reset.
 *
 * @param accepted how many connections this process has accepted so far
 * @param mostMs how long clients that come without a pause are accepted
 */
export function stopAccepting(server: Server, accepted: () => number, mostMs: number): void {
  const sinceMs = performance.now();
  const look = (before: number): void => {
    const now = accepted();
    // Between two looks the event loop has asked the kernel, which tells of a socket as long as somebody waits there.
    if (now !== before && performance.now() - sinceMs < mostMs) setImmediate(look, now);
    else if (server.listening) closeListener(server);
  };
  setImmediate(look, Number.NaN);
}

/**
 * When the program closes the server itself, that means: as it is being done already. `close` calls back when the last
 * connection is gone, as ever, and no client is cut off by `closeIdleConnections`, which `close` of http begins with.
 *
 * @returns what makes the server as it was, once it is closed.
 */
export function closeGently(server: Closable): () => void {
  const { close, closeIdleConnections } = server;
  let isAsked = !server.listening;
  server.close = function (this: Server, done?: (error?: Error) => void) {
    if (isAsked) return close.call(this, done);
    isAsked = true;
    if (done !== undefined) this.once('close', done);
    // It was closed before it was asked to: this tells of it once more, if it has told already.
    if (!this.listening) closeListener(this);
    return this;
  };
  if (closeIdleConnections !== undefined) server.closeIdleConnections = () => undefined;
  return () => {
    server.close = close;
    if (closeIdleConnections !== undefined) server.closeIdleConnections = closeIdleConnections;
    // What `close` of http does besides.
    clearInterval(keptBy<NodeJS.Timeout>(server, 'http.server.connectionsCheckingInterval'));
  };
}

/** `close` of http closes idle connections too, that of http2 also sessions. */
export function closeListener(server: Server): void {
  Server.prototype.close.call(server);
}
