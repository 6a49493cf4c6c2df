import type { IncomingMessage, ServerResponse } from 'node:http';
import { Server, Socket } from 'node:net';

/**
 * A server's connection, with what Node keeps on it. Node documents none of these; what is not there makes the connection
 * one that is left alone.
 *
 * @see lib/net.js, lib/_http_server.js, lib/_tls_wrap.js, the same in Node 20, 22 and 24
 */
export interface Connection extends Socket {
  readonly server: Server;
  /** While the connection speaks HTTP/1: not before TLS is set up, and not after an upgrade. */
  readonly parser?: { readonly socket: Connection; readonly incoming: IncomingMessage | null } | null;
  /** The response that is being given. */
  readonly _httpMessage?: ServerResponse | null;
  /** The connection below a TLS one. */
  readonly _parent?: Socket;
  readonly _handle?: { reading: boolean; readStart(): void } | null;
  destroySoon(): void;
}

/** TLS connections by those below, from the end of the handshake on. */
const secured = new WeakMap<Socket, Connection>();

/** From now on the server's TLS connections can be told from those below. Others need no remembering. */
export function rememberSecured(server: Server): void {
  if (!isTls(server)) return;
  server.on('secureConnection', (socket: Connection) => {
    if (socket._parent !== undefined) secured.set(socket._parent, socket);
  });
}

/** The connections of all servers of this process, as TCP has them, except those that the program has unref'ed. */
export function openConnections(): Connection[] {
  // Deprecated in Node's documentation (DEP0161) in favour of names without objects, of which nothing can be closed.
  const { _getActiveHandles: list } = process as { _getActiveHandles?: () => object[] };
  return (list?.call(process) ?? []).filter(isConnection);
}

function isConnection(handle: object): handle is Connection {
  return handle instanceof Socket && (handle as Partial<Connection>).server instanceof Server;
}

/** The connection that carries requests: the TLS one, where it is. */
export function carrierOf(connection: Connection): Connection {
  return secured.get(connection) ?? connection;
}

/** Whether no request is being received or answered. False for what is neither HTTP/1 nor silent before TLS. */
export function isIdle(connection: Connection): boolean {
  const carrier = carrierOf(connection);
  if (carrier.parser) return !carrier._httpMessage && !isReceiving(carrier);
  return carrier === connection && connection.bytesRead === 0 && isTls(connection.server);
}

/** Whether the first bytes of a request have come, and not yet the end of its headers. */
function isReceiving({ bytesRead, server, parser }: Connection): boolean {
  // A connection is in Node's list of the active ones also until its first request.
  if (bytesRead === 0) return false;
  const symbol = Object.getOwnPropertySymbols(server).find(({ description }) => description === CONNECTIONS);
  if (symbol === undefined) return false;
  const list = (server as unknown as Record<symbol, { active(): unknown[] } | undefined>)[symbol];
  return list?.active().includes(parser) ?? false;
}

const CONNECTIONS = 'http.server.connections';

function isTls(server: Server): boolean {
  return 'setSecureContext' in server;
}
