import { addressesOverlap } from './conflict.js';
import { ANY4, ANY6, type Host, isFourHost } from './host.js';
import type { Draft, Id, Socket, World } from './world.js';

/** The device over which everything comes here. */
export const LOOPBACK_DEVICE = 'lo';

/** Whether what arrives there gets through to a socket or entry that may be bound to an interface. */
export function isReached({ device }: { readonly device: string }): boolean {
  return device === '' || device === LOOPBACK_DEVICE;
}

/** Puts a socket that listens from now on into the look-up and into its SO_REUSEPORT group. @see __inet_hash() */
export function joinGroup(draft: Draft, id: Id): void {
  const socket = draft.socket(id);
  const others = draft.listeners.get(socket.port) ?? [];
  if (socket.reusePort) enterReusePortGroup(draft, socket, others);
  const last = socket.reusePort && socket.family === 'ipv6' && draft.kernel.rules.v6ReuseportListenersLast;
  draft.listeners.set(socket.port, last ? [...others, id] : [id, ...others]);
}

/** The group of the first that is its equal, or one of its own. @see inet_reuseport_add_sock(), udp_reuseport_add_sock() */
export function enterReusePortGroup(draft: Draft, socket: Socket, others: readonly Id[]): void {
  const mate = others.map((other) => draft.socket(other)).find((other) => isMate(socket, other));
  const group = mate?.group ?? draft.nextId++;
  if (mate !== undefined && mate.group === null) draft.change(mate.id, { group });
  draft.change(socket.id, { group });
}

function isMate(socket: Socket, other: Socket): boolean {
  return (
    other.family === socket.family &&
    other.v6only === socket.v6only &&
    other.device === socket.device &&
    other.reusePort &&
    other.uid === socket.uid &&
    addressesOverlap(socket, other, false, false)
  );
}

export function leaveLookup(draft: Draft, id: Id): void {
  const { port } = draft.socket(id);
  const left = (draft.listeners.get(port) ?? []).filter((other) => other !== id);
  if (left.length === 0) draft.listeners.delete(port);
  else draft.listeners.set(port, left);
  draft.change(id, { group: null });
}

/**
 * The listeners that a connection to that host and port may come to; several when an SO_REUSEPORT group decides by a
 * hash.
 *
 * @see __inet_lookup_listener(), inet6_lookup_listener()
 */
export function listenersFor(world: World, host: Host, port: number): readonly Id[] {
  const listeners = (world.listeners.get(port) ?? [])
    .map((id) => world.sockets.get(id))
    .filter((socket) => socket !== undefined);
  const isFour = isFourHost(host);
  const exact = best(world, listeners, (socket) => isExact(socket, host, isFour), isFour);
  return exact.length > 0 ? exact : best(world, listeners, (socket) => isAny(socket, isFour), isFour);
}

function isExact({ local, family }: Socket, host: Host, isFour: boolean): boolean {
  if (isFour) return local.four === host.four;
  return family === 'ipv6' && local.text === host.text;
}

function isAny({ local, family }: Socket, isFour: boolean): boolean {
  if (isFour) return local.four === ANY4.four;
  return family === 'ipv6' && local === ANY6;
}

/** The first of the highest score; with SO_REUSEPORT the first that is better than all before, and its whole group. */
function best(
  world: World,
  listeners: readonly Socket[],
  isAt: (socket: Socket) => boolean,
  isFour: boolean,
): readonly Id[] {
  let result: Socket | undefined;
  let highest = -1;
  for (const socket of listeners) {
    if (!isAt(socket) || (isFour ? socket.v6only : socket.family !== 'ipv6')) continue;
    if (!isReached(socket)) continue;
    const score = scoreOf(world, socket, isFour);
    if (score <= highest) continue;
    if (socket.reusePort && socket.group !== null) return membersOf(world, listeners, socket.group);
    result = socket;
    highest = score;
  }
  return result === undefined ? [] : [result.id];
}

/** @see compute_score() in net/ipv4/inet_hashtables.c and net/ipv6/inet6_hashtables.c */
function scoreOf(world: World, { device, family, received }: Socket, isFour: boolean): number {
  const own = isFour && family === 'ipv4' ? 1 : 0;
  const cpu = received && world.kernel.rules.incomingCpuScores ? 1 : 0;
  return (device === '' ? 1 : 2) + own + cpu;
}

/** @see reuseport_select_sock_by_hash() */
function membersOf(world: World, listeners: readonly Socket[], group: number): readonly Id[] {
  const members = listeners.filter((socket) => socket.group === group);
  const near = world.kernel.rules.incomingCpuScores ? members.filter((socket) => socket.received) : [];
  return (near.length > 0 ? near : members).map((socket) => socket.id);
}
