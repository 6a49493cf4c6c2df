import {
  decodeRow,
  endOfRow,
  IPPROTO_TCP,
  nextRow,
  portAt,
  ROW_ID,
  readRows,
  type TcpSocket,
} from './inet-diag.js';
import type { LeftoverState } from './leftovers.js';
import { isLeftover } from './leftovers.js';
import { received, STOP, word } from './netlink.js';
import { ALL_STATES } from './sock-diag.js';

/** A socket of the table. The object is the same from one look to the next as long as what it tells is. */
export interface TableSocket extends Omit<TcpSocket, 'timer'> {
  /** Names it among all sockets of the system, ends of connections included: its cookie as a number, see `keyAt`. */
  readonly key: number;
  /** Null when none runs. A time within a second of what is told already is taken for the same. */
  readonly timer: {
    readonly kind: NonNullable<TcpSocket['timer']>['kind'];
    /** Milliseconds since 1970. The kernel may take some percent longer. */
    readonly firesAtMs: number;
  } | null;
}

/** Leftovers of one state, each no more than two numbers. */
export interface LeftoverTimes {
  readonly count: number;
  /** Local ports, the first `count` of them. */
  readonly ports: Uint16Array;
  /** Milliseconds until the timer of each fires. */
  readonly expiresMs: Uint32Array;
}

/** All TCP sockets of a network namespace. */
export interface TableView {
  /** Those that are no leftovers, by `key`. */
  readonly sockets: ReadonlyMap<number, TableSocket>;
  readonly timeWaits: LeftoverTimes;
  /** In FIN_WAIT2, without a process. */
  readonly orphans: LeftoverTimes;
  /** What of the ends that were asked about is a leftover now. */
  readonly left: ReadonlyMap<string, LeftoverState>;
}

/** The two ends of a connection in one word. IPv4 is the same whether a socket of IPv4 or of IPv6 has it. */
export function endsOf({ local, peer }: Pick<TcpSocket, 'local' | 'peer'>): string {
  return `${fourOrSix(local.host)} ${local.port} ${fourOrSix(peer.host)} ${peer.port}`;
}

function fourOrSix(host: string): string {
  return host.startsWith('::ffff:') ? host.slice(7) : host;
}

/** The same as the peer has them. */
export function peerEndsOf({ local, peer }: Pick<TcpSocket, 'local' | 'peer'>): string {
  return endsOf({ local: peer, peer: local });
}

const TIME_WAIT = 6;
const FIRST_ROOM = 1 << 10;
/** A timer that is set again and again, a keepalive's for example, is no change worth telling. */
const SAME_TIME_MS = 1_000;

interface Entry {
  socket: TableSocket;
  /** In words of the row: family, state and timer; queues; inode. */
  head: number;
  receiveQueue: number;
  sendQueue: number;
  inode: number;
  firesAtMs: number;
  look: number;
}

/**
 * The TCP sockets of the network namespace that the caller is in, looked at again and again. A look is one dump for each
 * family. It makes objects of sockets that are new or have changed and of no others: 50,000 TIME_WAIT cost two numbers each.
 */
export class SocketTable {
  readonly #entries = new Map<number, Entry>();
  readonly #sockets = new Map<number, TableSocket>();
  readonly #timeWaits = new Times();
  readonly #orphans = new Times();
  #left = new Map<string, LeftoverState>();
  #look = 0;

  /**
   * @param asked Connections of which it is to be told whether a leftover has their ends, or those of their peers.
   * @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
   */
  look(asked: Iterable<Pick<TcpSocket, 'local' | 'peer'>>): TableView {
    const ports = portsOf(asked);
    readRows(
      { protocol: IPPROTO_TCP, states: ALL_STATES, ports: undefined },
      () => this.#begin(),
      (now, at, end, length) =>
        isLeftover(at) ? this.#addLeftovers(at, length, ports) : this.#addSocket(at, end, now),
    );
    for (const [key, { look }] of this.#entries) {
      if (look === this.#look) continue;
      this.#entries.delete(key);
      this.#sockets.delete(key);
    }
    return {
      sockets: this.#sockets,
      timeWaits: this.#timeWaits,
      orphans: this.#orphans,
      left: this.#left,
    };
  }

  #begin(): number {
    this.#look++;
    this.#timeWaits.count = 0;
    this.#orphans.count = 0;
    this.#left = new Map();
    return Date.now();
  }

  #addSocket(at: number, end: number, nowMs: number): number {
    const key = keyAt(at);
    const [head, receiveQueue, sendQueue, inode] = [
      word(at) & 0xffffff,
      word(at + 56),
      word(at + 60),
      word(at + 68),
    ];
    const firesAtMs = (head & 0xff0000) === 0 ? 0 : nowMs + word(at + 52);
    const known = this.#entries.get(key);
    if (
      known !== undefined &&
      known.head === head &&
      known.receiveQueue === receiveQueue &&
      known.sendQueue === sendQueue &&
      known.inode === inode &&
      Math.abs(known.firesAtMs - firesAtMs) < SAME_TIME_MS
    ) {
      known.look = this.#look;
      return end;
    }
    const decoded = decodeRow(at, end);
    const timer = decoded.timer === null ? null : { kind: decoded.timer.kind, firesAtMs };
    const socket = { ...decoded, key, timer };
    this.#entries.set(key, { socket, head, receiveQueue, sendQueue, inode, firesAtMs, look: this.#look });
    this.#sockets.set(key, socket);
    return end;
  }

  /** The leftover whose row is there and those that follow it: one loop, which is compiled sooner than a call for each row. */
  #addLeftovers(first: number, length: number, asked: Uint8Array): number {
    let last = first;
    for (let at = first; at !== STOP && isLeftover(at); at = nextRow(at, length)) {
      const times = received[at + 1] === TIME_WAIT ? this.#timeWaits : this.#orphans;
      times.add(portAt(at + ROW_ID), word(at + 52));
      if (asked[placeOf(word(at + ROW_ID))] === 1) this.#noteLeft(at);
      last = at;
    }
    return endOfRow(last);
  }

  #noteLeft(at: number): void {
    const { local, peer } = decodeRow(at, endOfRow(at));
    this.#left.set(endsOf({ local, peer }), received[at + 1] === TIME_WAIT ? 'TIME_WAIT' : 'FIN_WAIT2');
  }
}

class Times implements LeftoverTimes {
  count = 0;
  ports: Uint16Array = new Uint16Array(FIRST_ROOM);
  expiresMs: Uint32Array = new Uint32Array(FIRST_ROOM);

  add(port: number, expiresMs: number): void {
    if (this.count === this.ports.length) this.#grow();
    this.ports[this.count] = port;
    this.expiresMs[this.count] = expiresMs;
    this.count++;
  }

  #grow(): void {
    const [ports, expiresMs] = [this.ports, this.expiresMs];
    this.ports = new Uint16Array(2 * ports.length);
    this.ports.set(ports);
    this.expiresMs = new Uint32Array(2 * expiresMs.length);
    this.expiresMs.set(expiresMs);
  }
}

/**
 * A socket's cookie as a number. The kernel counts up from 1, and down from 2^64 for those that it makes within an
 * interrupt: as a signed number both are exact.
 *
 * @see gen_cookie_next() in include/linux/cookie.h
 */
function keyAt(at: number): number {
  return (word(at + ROW_ID + 44) | 0) * 2 ** 32 + word(at + ROW_ID + 40);
}

/** Marks the ports of each connection, so that nearly all leftovers are passed by with one look. */
function portsOf(connections: Iterable<Pick<TcpSocket, 'local' | 'peer'>>): Uint8Array {
  const marks = new Uint8Array(1 << 16);
  for (const { local, peer } of connections) {
    const both = local.port ^ peer.port;
    marks[((both & 0xff) << 8) | (both >> 8)] = 1;
  }
  return marks;
}

/** The same of a row, which has its ports in network byte order. In whichever order they are, it is the same place. */
function placeOf(ports: number): number {
  return (ports ^ (ports >>> 16)) & 0xffff;
}
