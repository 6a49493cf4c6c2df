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
  allowHalfOpen: boolean;
  /** While the connection speaks HTTP/1: not before TLS is set up, and not after an upgrade. */
  readonly parser?: { readonly socket: Connection; readonly incoming: IncomingMessage | null } | null;
  /** The response that is being given. */
  readonly _httpMessage?: ServerResponse | null;
  /** The connection below a TLS one. */
  readonly _parent?: Socket;
  readonly _handle?: { reading: boolean; readonly fd: number; readStart(): void } | null;
  readonly _readableState: { readonly ended: boolean };
  destroySoon(): void;
}

/** TLS connections by those below, from the end of the handshake on. */
const secured = new WeakMap<Socket, Connection>();
const remembering = new WeakSet<Server>();

/**
 * From now on the server's TLS connections can be told from those below, as can those of HTTP/1 that there are. Others
 * need no remembering.
 */
export function rememberSecured(server: Server): void {
  if (!isTls(server) || remembering.has(server)) return;
  remembering.add(server);
  server.on('secureConnection', remember);
  for (const connection of parsedConnections(server)) remember(connection);
}

function remember(socket: Connection): void {
  if (socket._parent !== undefined) secured.set(socket._parent, socket);
}

/** The connections of all servers of this process, as TCP has them, except those that the program has unref'ed. */
export function openConnections(): Connection[] {
  // Deprecated in Node's documentation (DEP0161) in favour of names without objects, of which nothing can be closed.
  const { _getActiveHandles: list } = process as { _getActiveHandles?: () => object[] };
  return (list?.call(process) ?? []).filter(isConnection);
}

/** The same of one server, and of HTTP/1 those too that the program has unref'ed. */
export function connectionsOf(server: Server): ReadonlySet<Connection> {
  const parsed = parsedConnections(server).map((connection) => connection._parent ?? connection);
  return new Set([...openConnections().filter((one) => one.server === server), ...parsed] as Connection[]);
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
  return parsersOf(server)?.active().includes(parser) ?? false;
}

interface Parsers {
  /** In the middle of a request. */
  active(): unknown[];
  all(): { readonly socket?: Connection | null }[];
}

/** The connections of an HTTP/1 server, those of TLS above TLS. */
function parsedConnections(server: Server): readonly Connection[] {
  const sockets = (parsersOf(server)?.all() ?? []).map(({ socket }) => socket);
  return sockets.filter((socket) => socket != null);
}

function parsersOf(server: Server): Parsers | undefined {
  return keptBy<Parsers>(server, 'http.server.connections');
}

/** What Node keeps on an object under a symbol of its own; undefined when this version has none of that name. */
export function keptBy<T>(object: object, description: string): T | undefined {
  const symbol = Object.getOwnPropertySymbols(object).find((one) => one.description === description);
  return symbol === undefined ? undefined : (object as Record<symbol, T>)[symbol];
}

export function isTls(server: Server): boolean {
  return 'setSecureContext' in server;
}
