import type { InetAddress } from '../model/address.js';
import { endOfRow, hostAt, nextRow, portAt, ROW_ID } from './inet-diag.js';
import { received, STOP, word } from './netlink.js';
import { AF_INET, formatHost } from './sockaddr.js';

/** States in which a TCP socket may be left over: without a process, and gone when its timer fires. */
export type LeftoverState = 'TIME_WAIT' | 'FIN_WAIT2';

const FIN_WAIT2 = 5;
const TIME_WAIT = 6;
const PEERS_TOLD = 3;

/** The leftovers of one local address, state and interface, counted. */
export interface Leftovers {
  readonly state: LeftoverState;
  readonly local: InetAddress;
  /** Of the interface that their sockets were bound to; 0 for none. */
  readonly interfaceIndex: number;
  readonly count: number;
  /** Until the timer of the first one fires, and of the last one. They go some percent later than that. */
  readonly minExpiresMs: number;
  readonly maxExpiresMs: number;
  /** How many hosts they were connected to, and a few of these. */
  readonly peerHosts: number;
  readonly somePeers: readonly string[];
}

/** Whether the row of `received` is of a leftover. One in FIN_WAIT2 that has a process waits for its peer. */
export function isLeftover(at: number): boolean {
  const state = received[at + 1];
  return (state === TIME_WAIT || state === FIN_WAIT2) && word(at + 68) === 0;
}

/** What a group has in common, in the words of a row: family and state, port, address, interface. */
type Key = readonly [number, number, number, number, number, number, number];

interface Group {
  readonly key: Key;
  readonly told: Pick<Leftovers, 'state' | 'local' | 'interfaceIndex'>;
  count: number;
  minExpiresMs: number;
  maxExpiresMs: number;
  /** An IPv4 host in one number, an IPv6 one as its bytes. */
  readonly peers: Set<number | string>;
}

/** Counts leftovers straight from the rows in `received`: there may be tens of thousands. */
export class LeftoverCounter {
  readonly #groups = new Map<string, Group>();

  /**
   * Counts the leftover whose row is there, and those of the same group that follow it: one loop, which is compiled
   * sooner than what is called for each row. Gives the end of the last one.
   */
  add(first: number, length: number): number {
    const group = this.#groupOf(first);
    const { key, peers } = group;
    let last = first;
    for (let at = first; at !== STOP && isOf(key, at); at = nextRow(at, length)) {
      const expires = word(at + 52);
      group.count++;
      if (expires < group.minExpiresMs) group.minExpiresMs = expires;
      if (expires > group.maxExpiresMs) group.maxExpiresMs = expires;
      if (at === first || !isSamePeer(at, last)) peers.add(peerOf(at));
      last = at;
    }
    return endOfRow(last);
  }

  leftovers(): readonly Leftovers[] {
    return [...this.#groups.values()].map(({ told, count, minExpiresMs, maxExpiresMs, peers }) => ({
      ...told,
      ...{ count, minExpiresMs, maxExpiresMs, peerHosts: peers.size },
      somePeers: [...peers].slice(0, PEERS_TOLD).map(peerHost),
    }));
  }

  #groupOf(at: number): Group {
    const key = keyOf(at);
    const name = key.join();
    const known = this.#groups.get(name);
    if (known !== undefined) return known;
    const family = received[at] === AF_INET ? 'ipv4' : 'ipv6';
    const group: Group = {
      key,
      told: {
        state: received[at + 1] === TIME_WAIT ? 'TIME_WAIT' : 'FIN_WAIT2',
        local: { family, host: hostAt(family, at + ROW_ID + 4), port: portAt(at + ROW_ID) },
        interfaceIndex: word(at + ROW_ID + 36),
      },
      count: 0,
      minExpiresMs: Number.POSITIVE_INFINITY,
      maxExpiresMs: 0,
      peers: new Set(),
    };
    this.#groups.set(name, group);
    return group;
  }
}

function keyOf(at: number): Key {
  return [
    low(at),
    low(at + ROW_ID),
    word(at + 8),
    word(at + 12),
    word(at + 16),
    word(at + 20),
    word(at + 40),
  ];
}

/** Whether it is the row of a leftover of that group. */
function isOf(key: Key, at: number): boolean {
  return (
    key[0] === low(at) &&
    key[1] === low(at + ROW_ID) &&
    key[2] === word(at + 8) &&
    key[3] === word(at + 12) &&
    key[4] === word(at + 16) &&
    key[5] === word(at + 20) &&
    key[6] === word(at + 40) &&
    word(at + 68) === 0
  );
}

/** The first half of a word. */
function low(at: number): number {
  return word(at) & 0xffff;
}

function isSamePeer(one: number, other: number): boolean {
  return (
    word(one + 24) === word(other + 24) &&
    word(one + 36) === word(other + 36) &&
    word(one + 28) === word(other + 28) &&
    word(one + 32) === word(other + 32)
  );
}

function peerOf(at: number): number | string {
  return received[at] === AF_INET ? word(at + 24) : received.toString('latin1', at + 24, at + 40);
}

function peerHost(peer: number | string): string {
  if (typeof peer === 'string') return formatHost('ipv6', Buffer.from(peer, 'latin1'));
  return formatHost('ipv4', Uint8Array.of(peer, peer >> 8, peer >> 16, peer >> 24));
}
