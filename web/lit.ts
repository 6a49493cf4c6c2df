import type { WatchDelta, WatchedSocket, WatchSnapshot, WatchState } from '../src/watch/view.js';
import type { StageSocket } from '../src/watch/web/wire.js';
import type { Edge } from './edges.js';
import { type Opening, routeOf } from './route.js';

/** The edges that sockets have taken since the look before. */
export function litBy(before: WatchSnapshot, delta: WatchDelta): ReadonlySet<Edge> {
  const lit = new Set(delta.transitions.flatMap((transition) => routeOf(transition)));
  if (delta.sockets.length === 0) return lit;
  const known = new Map(before.sockets.map((socket) => [socket.id, socket]));
  const ports = listeningPorts([...before.sockets, ...delta.sockets]);
  for (const socket of delta.sockets) {
    const { id, state, closing, ownership } = socket;
    const earlier = known.get(id);
    if (earlier === undefined) {
      // Known before to the server, and not told yet.
      if (socket.sinceMs <= before.atMs) continue;
      for (const edge of routeOf({ from: null, to: state, closing }, openingOf(socket, ports))) lit.add(edge);
    } else if (earlier.ownership === 'queue' && ownership === 'process') {
      lit.add('ACCEPT_QUEUE-ESTABLISHED');
    }
  }
  return lit;
}

function openingOf(socket: WatchedSocket, ports: ReadonlySet<string>): Opening {
  if (!ports.has(portOf(socket.local))) return 'client';
  return socket.ownership === 'queue' ? 'queued' : 'server';
}

/** The edges between two steps of a scenario. */
export function litBetween(before: readonly StageSocket[], after: readonly StageSocket[]): ReadonlySet<Edge> {
  const ports = listeningPorts([...before, ...after]);
  const left = before.filter((socket, at) => !isAmong(after, socket, before.slice(0, at)));
  const come = after.filter((socket, at) => !isAmong(before, socket, after.slice(0, at)));
  const lit = new Set<Edge>();
  for (const socket of come) {
    const at = left.findIndex((one) => one.local === socket.local && mayBe(one, socket));
    const [earlier] = at === -1 ? [] : left.splice(at, 1);
    const opening = ports.has(portOf(socket.local)) ? 'server' : 'client';
    const from = earlier?.state ?? null;
    for (const edge of routeOf({ from, to: socket.state, closing: null }, opening)) lit.add(edge);
  }
  for (const { state } of left)
    for (const edge of routeOf({ from: state, to: null, closing: null })) lit.add(edge);
  return lit;
}

/** A socket that had no peer may have got one. */
function mayBe(earlier: StageSocket, later: StageSocket): boolean {
  if (earlier.peer === later.peer) return true;
  return earlier.peer === null && earlier.state !== 'LISTEN';
}

/** Whether the others have one more of its kind than there are among those before it. */
function isAmong(
  others: readonly StageSocket[],
  socket: StageSocket,
  earlier: readonly StageSocket[],
): boolean {
  const isAlike = (one: StageSocket): boolean =>
    one.state === socket.state && one.local === socket.local && one.peer === socket.peer;
  return others.filter(isAlike).length > earlier.filter(isAlike).length;
}

function listeningPorts(
  sockets: readonly { readonly state: WatchState; readonly local: string }[],
): ReadonlySet<string> {
  return new Set(sockets.filter(({ state }) => state === 'LISTEN').map(({ local }) => portOf(local)));
}

/** `8080` of `[::1]:8080` */
function portOf(address: string): string {
  return address.slice(address.lastIndexOf(':') + 1);
}
