import { Server, Socket } from 'node:net';
import { wrong } from './options.js';

/** What has a server of node:net as its `server`: a fastify instance, for example. */
export interface HasServer {
  readonly server: Server;
}

/** A server of node:net, tls, http, https or http2, or what has one. */
export type ClosableServer = Server | HasServer;

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION: neither. */
export function serverOf(target: ClosableServer): Server {
  const server = serverIn(target);
  if (server !== undefined) return server;
  const forms =
    'what is closed is a server of node:net, tls, http, https or http2, or has one as its `server`';
  throw wrong(forms, target);
}

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION: neither a server nor a socket. */
export function serverOrSocketOf(target: ClosableServer | Socket): Server | Socket {
  // A connection has its server as `server` too.
  if (target instanceof Socket) return target;
  const server = serverIn(target);
  if (server !== undefined) return server;
  throw wrong('a socket of node:net, or a server', target);
}

function serverIn(target: unknown): Server | undefined {
  if (target instanceof Server) return target;
  const within = (target as { readonly server?: unknown } | null | undefined)?.server;
  return within instanceof Server && !(target instanceof Socket) ? within : undefined;
}
