import type { Server } from 'node:net';

/** How the connections of a server end. */
export interface Manner {
  /** Every HTTP/1 response is its connection's last and says so; otherwise those alone that would be in any case. */
  readonly isLeaving: boolean;
  /** Clients that asked for the connection's end are waited for too. Some of them read up to that end, and wait as well. */
  readonly waitsForClosers: boolean;
  /** How long an idle connection may still bring a request. */
  readonly idleMs: number;
  /** How long a client that knows of the end may take to close first. */
  readonly peerFirstMs: number;
  /** Who does not close in time is reset once all has arrived, in the place of being closed. */
  readonly reset: boolean;
}

const leaving = new WeakMap<Server, Manner>();
const always = new WeakMap<Server, Manner>();
let ofAll: Manner | undefined;

/** How that server's connections end; undefined: as Node ends them. */
export function mannerOf(server: Server | undefined): Manner | undefined {
  if (server === undefined) return ofAll;
  return leaving.get(server) ?? ofAll ?? always.get(server);
}

/** From now on, for every server of this process. */
export function leaveAll(manner: Manner): void {
  ofAll = manner;
}

/** Until the server has left; undefined: it has. */
export function leaveServer(server: Server, manner: Manner | undefined): void {
  if (manner === undefined) leaving.delete(server);
  else leaving.set(server, manner);
}

/** As long as the server lives and does not leave; undefined: as Node does it. */
export function keepManner(server: Server, manner: Manner | undefined): void {
  if (manner === undefined) always.delete(server);
  else always.set(server, manner);
}
