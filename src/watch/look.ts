import { close } from '../kernel/fd.js';
import type { Fd } from '../kernel/libc.js';
import { readDestroyed, subscribeToDestroyed } from '../kernel/sock-events.js';
import {
  endsOf,
  type LeftoverTimes,
  peerEndsOf,
  SocketTable,
  type TableSocket,
  type TableView,
} from '../kernel/socket-table.js';
import { userName } from '../kernel/users.js';
import { formatAddress } from '../model/address.js';
import { type Inodes, Owners } from './owners.js';
import { type Change, closingOf } from './transitions.js';
import type { Closing, Ownership, WatchedSocket, WatchState } from './view.js';

/** A socket as it is known from one look to the next. */
export interface Entry {
  readonly socket: TableSocket;
  /** The same object as long as nothing has changed that is told. */
  readonly view: WatchedSocket;
  /** The processes that have it open; undefined: nobody has been looked for. */
  readonly holders: readonly number[] | undefined;
}

/** A change of one socket. */
export interface SocketChange extends Change {
  readonly id: string;
  readonly key: number;
  /** Its local port. */
  readonly port: number;
}

/** All sockets at one time, and what has changed since the look before. */
export interface Look {
  readonly atMs: number;
  /** Since the look before; undefined for the first one. */
  readonly elapsedMs: number | undefined;
  readonly entries: ReadonlyMap<number, Entry>;
  readonly changes: readonly SocketChange[];
  readonly timeWaits: LeftoverTimes;
  readonly orphans: LeftoverTimes;
  /** Whether sockets that came and ended since then may be missing. */
  readonly missed: boolean;
  readonly owners: Pick<Owners, 'process' | 'hiddenProcesses'>;
}

/** Sockets that came and ended between two looks, as the kernel tells of them. More are missed. */
const BRIEF_MAX = 20_000;

type Ended = Pick<TableSocket, 'local' | 'peer'> & { readonly cookie: bigint };

/** Looks at the TCP sockets of this network namespace. */
export class Lookout {
  readonly #table = new SocketTable();
  readonly #owners = new Owners();
  readonly #events: Fd = subscribeToDestroyed();
  #ended: Ended[] = [];
  #missed = false;
  #entries = new Map<number, Entry>();
  #lastMs: number | undefined;

  /** Takes what the kernel has told since, before it has no more room. */
  readEvents(): void {
    const { sockets, overrun } = readDestroyed(this.#events);
    this.#missed ||= overrun || this.#ended.length + sockets.length > BRIEF_MAX;
    for (const { local, peer, cookie } of sockets) {
      if (peer.port !== 0 && this.#ended.length < BRIEF_MAX) this.#ended.push({ local, peer, cookie });
    }
  }

  /** @param keepers Processes that keep sockets for others. */
  look(keepers: ReadonlySet<number>): Look {
    this.readEvents();
    const [ended, missed] = [this.#ended, this.#missed];
    const nowMs = performance.now();
    const before = this.#entries;
    const known = [...before.values()].map(({ socket }) => socket).filter(({ peer }) => peer.port !== 0);
    const table = this.#table.look([...known, ...ended]);
    const atMs = Date.now();
    const changed = this.#owners.update(inodesOf(table), keepers);
    const { entries, changes } = this.#compare(table, changed, atMs);
    const elapsedMs = this.#lastMs === undefined ? undefined : nowMs - this.#lastMs;
    if (elapsedMs !== undefined) {
      changes.push(...goneOf(before, table), ...briefOf(ended, before, table));
    }
    // Told for the next look: what ended while this one was made.
    [this.#ended, this.#missed, this.#entries, this.#lastMs] = [[], false, entries, nowMs];
    const { timeWaits, orphans } = table;
    return {
      ...{ atMs, elapsedMs, entries, timeWaits, orphans, missed, owners: this.#owners },
      changes: elapsedMs === undefined ? [] : changes,
    };
  }

  close(): void {
    close(this.#events);
  }

  /** The sockets that there are, and the changes of those. */
  #compare(
    table: TableView,
    changedInodes: ReadonlySet<number>,
    atMs: number,
  ): { readonly entries: Map<number, Entry>; readonly changes: SocketChange[] } {
    const entries = new Map<number, Entry>();
    const changes: SocketChange[] = [];
    for (const [key, socket] of table.sockets) {
      const known = this.#entries.get(key);
      if (known?.socket === socket && !changedInodes.has(socket.inode)) {
        entries.set(key, known);
        continue;
      }
      const state = stateOf(socket);
      const from = known?.view.state ?? null;
      const isNew = from !== state;
      const closing = closingOf({ from, to: state }, known?.view.closing);
      const sinceMs = isNew ? atMs : (known?.view.sinceMs ?? atMs);
      entries.set(key, this.#entry(socket, { state, closing, sinceMs }));
      if (isNew) changes.push({ id: idOf(socket), key, port: socket.local.port, from, to: state, closing });
    }
    return { entries, changes };
  }

  #entry(
    socket: TableSocket,
    seen: { readonly state: WatchState; readonly closing: Closing | null; readonly sinceMs: number },
  ): Entry {
    const holders = socket.inode === 0 ? [] : this.#owners.holdersOf(socket.inode);
    const { local, peer, receiveQueue, sendQueue, timer } = socket;
    const view: WatchedSocket = {
      ...{ id: idOf(socket), state: seen.state, local: formatAddress(local) },
      peer: peer.port === 0 ? null : formatAddress(peer),
      ownership: ownershipOf(socket, holders),
      pid: socket.inode === 0 ? null : this.#owners.ownerOf(socket.inode),
      user: socket.inode === 0 ? null : nameOf(socket.uid),
      ...{ receiveQueue, sendQueue, timer, sinceMs: seen.sinceMs, closing: seen.closing },
    };
    return { socket, view, holders };
  }
}

function stateOf({ state }: TableSocket): WatchState {
  return state === 'CLOSE' ? 'BOUND' : state;
}

function idOf({ cookie }: Pick<TableSocket, 'cookie'>): string {
  return cookie.toString(16);
}

/** States in which a connection waits to be accepted when no process has it. In others it is an orphan. */
const QUEUED: readonly TableSocket['state'][] = ['SYN_RECV', 'ESTABLISHED', 'CLOSE_WAIT'];

function ownershipOf({ inode, state }: TableSocket, holders: readonly number[] | undefined): Ownership {
  if (inode === 0) return QUEUED.includes(state) ? 'queue' : 'none';
  if (holders === undefined) return 'pending';
  return holders.length > 0 ? 'process' : 'hidden';
}

const names = new Map<number, string>();

function nameOf(uid: number): string {
  const known = names.get(uid);
  if (known !== undefined) return known;
  const name = userName(uid) ?? `${uid}`;
  names.set(uid, name);
  return name;
}

function inodesOf({ sockets }: TableView): Inodes {
  const [connections, others] = [new Set<number>(), new Set<number>()];
  for (const { inode, peer } of sockets.values()) {
    if (inode !== 0) (peer.port === 0 ? others : connections).add(inode);
  }
  return { connections, others };
}

function goneOf(before: ReadonlyMap<number, Entry>, { sockets, left }: TableView): readonly SocketChange[] {
  const gone: SocketChange[] = [];
  for (const [key, { socket, view }] of before) {
    if (sockets.has(key)) continue;
    const [from, to] = [view.state, socket.peer.port === 0 ? null : (left.get(endsOf(socket)) ?? null)];
    const closing = closingOf({ from, to }, view.closing, left.has(peerEndsOf(socket)));
    gone.push({ id: view.id, key, port: socket.local.port, from, to, closing });
  }
  return gone;
}

function briefOf(
  ended: readonly Ended[],
  before: ReadonlyMap<number, Entry>,
  { sockets, left }: TableView,
): readonly SocketChange[] {
  return ended.flatMap((socket) => {
    const key = Number(BigInt.asIntN(64, socket.cookie));
    // One that was there is told as gone. One that is still there ended while the table was read.
    if (before.has(key) || sockets.has(key)) return [];
    const to = left.get(endsOf(socket)) ?? null;
    const closing = closingOf({ from: null, to }, null, left.has(peerEndsOf(socket)));
    return [{ id: idOf(socket), key, port: socket.local.port, from: null, to, closing }];
  });
}
