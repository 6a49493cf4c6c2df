import { errorCode } from '../errors.js';
import { close } from '../kernel/fd.js';
import { EOPNOTSUPP, type Fd } from '../kernel/libc.js';
import { type Steering, steerGroup, unsteerGroup } from '../kernel/reuseport-group.js';
import {
  type AcceptQueue,
  acceptQueue,
  BACKLOG_MAX,
  isListening,
  listen,
  refuseNewConnections,
  socketInode,
} from '../kernel/socket.js';
import { takeSyns } from '../kernel/syn-filter.js';
import {
  type Endpoint,
  endpointsOverlap,
  formatAddress,
  type SocketAddress,
  sameAddress,
} from '../model/address.js';
import type { SocketHolder } from './tree.js';

/** Where a socket is: sockets with different places never compete and are never exchanged. */
export interface Place extends Endpoint {
  /** Identity of the network namespace. */
  readonly netns: string;
  /** Interface it is bound to (SO_BINDTODEVICE), '' for none. */
  readonly device: string;
}

/** A listening socket of which the keeper has an fd. */
export interface HeldSocket {
  readonly fd: Fd;
  readonly inode: number;
  /** Undefined for a unix socket. */
  readonly place: Place | undefined;
  readonly address: SocketAddress;
  /** Named by `--listen` or handed to the keeper by a service manager: never released. */
  listened: boolean;
  /** The program asked for SO_REUSEPORT itself, so others may join on purpose. Undefined: nobody knows. */
  programReusesPort: boolean | undefined;
  /** Longest accept queue; undefined: as long as the kernel allows. */
  readonly backlog?: number | undefined;
  /** False until a process still has it open a moment after listen: programs that look for a port close it. */
  confirmed: boolean;
  /** It is on its way into a process: nobody else may get it meanwhile. */
  isBeingGiven: boolean;
  /** A service manager above us has it too, and goes on with it when we have ended. */
  inherited: boolean;
  /** Workers, by id, of which a process has bound or listened to it. */
  readonly claims: Set<number>;
  /** Who had it open when last looked. */
  holders: readonly SocketHolder[];
  /** Since when nobody of the worker has had it open, ms of `performance.now()`; null while somebody has. */
  unservedSince: number | null;
  /** Since when no server has kept it open beyond the moment of its confirmation, ms of `performance.now()`. */
  failingSince: number | null;
  /** `--hold-for` is over: clients are refused until a server listens again. */
  refusing: boolean;
  /** Since when clients have been seen waiting while it was closed on purpose. */
  abandonedSince: number | null;
}

/** The keeper's listening sockets. One place may have several: a program with SO_REUSEPORT sockets of its own. */
export class HeldSockets {
  readonly #sockets = new Set<HeldSocket>();
  readonly #released: (held: HeldSocket) => void;

  /** `released` is told of every socket before its fd is closed. */
  constructor(released: (held: HeldSocket) => void = () => undefined) {
    this.#released = released;
  }

  /** Takes over an fd of ours. The caller gives up its ownership. */
  add(
    socket: Pick<HeldSocket, 'fd' | 'place' | 'address' | 'listened' | 'programReusesPort' | 'backlog'> & {
      readonly inherited?: boolean;
    },
  ): HeldSocket {
    const held: HeldSocket = {
      ...socket,
      inherited: socket.inherited ?? false,
      isBeingGiven: false,
      inode: socketInode(socket.fd),
      confirmed: socket.listened,
      claims: new Set(),
      holders: [],
      unservedSince: null,
      failingSince: null,
      refusing: false,
      abandonedSince: null,
    };
    this.#sockets.add(held);
    return held;
  }

  /** Closes our fd: when no process has the socket either, waiting clients are reset and the port is free. */
  release(held: HeldSocket): void {
    if (!this.#sockets.delete(held)) return;
    this.#released(held);
    close(held.fd);
  }

  releaseAll(): void {
    for (const held of this.all()) this.release(held);
  }

  /** Gives all to another keeper of sockets, whose worker is yet to start. */
  moveTo(other: HeldSockets): void {
    for (const held of this.#sockets) other.#sockets.add(held);
    this.#sockets.clear();
  }

  /** Gives one to another keeper of sockets. */
  giveTo(other: HeldSockets, held: HeldSocket): void {
    if (this.#sockets.delete(held)) other.#sockets.add(held);
  }

  has(held: HeldSocket): boolean {
    return this.#sockets.has(held);
  }

  all(): readonly HeldSocket[] {
    return [...this.#sockets];
  }

  byInode(inode: number): HeldSocket | undefined {
    return this.all().find((held) => held.inode === inode);
  }

  /** The sockets of exactly this place, oldest first. */
  at(place: Place): readonly HeldSocket[] {
    return this.all().filter((held) => held.place !== undefined && samePlace(held.place, place));
  }

  /** The unix socket with that path. */
  atPath(path: string): HeldSocket | undefined {
    return this.all().find(({ address }) => address.family === 'unix' && address.path === path);
  }

  /** The sockets at other places that the kernel would let conflict with this one. */
  overlapping(place: Place): readonly HeldSocket[] {
    return this.all().filter(
      ({ place: other }) =>
        other !== undefined &&
        other.netns === place.netns &&
        (other.device === place.device || other.device === '' || place.device === '') &&
        !samePlace(other, place) &&
        endpointsOverlap(other, place),
    );
  }

  /**
   * The worker is gone: it claims nothing any more, and where no other worker has the socket, which `othersWith` tells,
   * clients begin to wait.
   */
  workerGone(
    worker: number,
    now: number,
    othersWith: (held: HeldSocket) => readonly SocketHolder[] = () => [],
  ): void {
    for (const held of this.#sockets) {
      held.confirmed ||= held.claims.has(worker);
      held.claims.delete(worker);
      held.holders = othersWith(held);
      if (held.holders.length > 0) continue;
      held.claims.clear();
      held.unservedSince ??= now;
      held.failingSince ??= now;
      held.abandonedSince = null;
    }
  }
}

/** Whether a process of the worker has it open, as far as was looked. */
export function isServed(held: HeldSocket): boolean {
  return held.unservedSince === null && (held.claims.size > 0 || held.holders.length > 0);
}

/** Makes the socket take clients, as many as the kernel lets wait, and its group give them to nobody else. */
export function acceptClients(held: HeldSocket): void {
  const wasOpen = isListening(held.fd);
  listen(held.fd, held.backlog ?? BACKLOG_MAX);
  held.refusing = false;
  // A socket that stopped listening has left its group, and the group's program is gone.
  if (wasOpen || held.place === undefined || held.programReusesPort) return;
  steer(held.fd, { to: [0], family: held.place.address.family });
}

/**
 * Has newcomers come again: their first packet is dropped. A service manager's socket stays open. Without CAP_NET_ADMIN
 * newer kernels let nobody filter TCP: then who comes in the last moment takes his chance.
 */
export function turnAwayClients(held: HeldSocket): void {
  if (held.inherited) return;
  try {
    refuseNewConnections(held.fd);
  } catch (error) {
    // MPTCP listeners take no filter at all.
    const code = errorCode(error);
    if (code !== 'EPERM' && code !== EOPNOTSUPP) throw error;
  }
}

/** Ends what `turnAwayClients` has begun. */
export function takeClientsAgain(held: HeldSocket): void {
  try {
    takeSyns(held.fd);
  } catch (error) {
    // It could not be begun.
    const code = errorCode(error);
    if (code !== 'ENOENT' && code !== EOPNOTSUPP) throw error;
  }
}

/** Says to whom the socket's SO_REUSEPORT group gives new connections. */
export function steer(fd: Fd, steering: Steering): void {
  try {
    steerGroup(fd, steering);
  } catch (error) {
    // MPTCP listeners take no program, and a socket from elsewhere may be in no group (EINVAL): held all the same.
    const code = errorCode(error);
    if (code !== EOPNOTSUPP && code !== 'EINVAL') throw error;
  }
}

/** Leaves it to the kernel again. */
export function unsteer(fd: Fd): void {
  try {
    unsteerGroup(fd);
  } catch (error) {
    // It has no program.
    const code = errorCode(error);
    if (code !== 'ENOENT' && code !== 'EINVAL') throw error;
  }
}

/** Connections that wait in the accept queue; 0 where the kernel does not tell (MPTCP, unix). */
export function queueLength(held: HeldSocket): number {
  return held.place === undefined ? 0 : (toldQueueLength(held.fd) ?? 0);
}

/** Connections that wait in the accept queue; undefined where the kernel does not tell. */
export function toldQueueLength(fd: Fd): number | undefined {
  return toldQueue(fd)?.length;
}

/** The accept queue; undefined where the kernel does not tell. */
export function toldQueue(fd: Fd): AcceptQueue | undefined {
  try {
    return acceptQueue(fd);
  } catch (error) {
    if (errorCode(error) === EOPNOTSUPP) return undefined;
    throw error;
  }
}

/** `127.0.0.1:8080`, `[::]:8080` with `(IPv6 only)` where that matters. */
export function describeHeld(held: Pick<HeldSocket, 'address' | 'place'>): string {
  const v6only = held.place?.v6only === true && held.place.address.host === '::' ? ' (IPv6 only)' : '';
  return `${formatAddress(held.address)}${v6only}`;
}

/** The same text for the same place. */
export function placeKey({ address, v6only, device, netns }: Place): string {
  return [netns, device, v6only, formatAddress(address)].join(' ');
}

/** Those that are at one place together; unix sockets are at none. */
export function byPlace(sockets: readonly HeldSocket[]): readonly (readonly HeldSocket[])[] {
  const groups = new Map<string, HeldSocket[]>();
  for (const held of sockets) {
    if (held.place === undefined) continue;
    const key = placeKey(held.place);
    groups.set(key, [...(groups.get(key) ?? []), held]);
  }
  return [...groups.values()];
}

function samePlace(one: Place, other: Place): boolean {
  return (
    one.netns === other.netns &&
    one.device === other.device &&
    one.v6only === other.v6only &&
    sameAddress(one.address, other.address)
  );
}
