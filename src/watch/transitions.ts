import type { Closing, Transition, WatchState } from './view.js';

/** One socket that is in another state than at the last look, that is new, or that is gone. */
export interface Change {
  /** Null: it was not there. */
  readonly from: WatchState | null;
  /** Null: nothing is left of it. */
  readonly to: WatchState | null;
  readonly closing: Closing | null;
}

const ACTIVE: readonly (WatchState | null)[] = ['FIN_WAIT1', 'FIN_WAIT2', 'CLOSING', 'TIME_WAIT'];
const PASSIVE: readonly (WatchState | null)[] = ['CLOSE_WAIT', 'LAST_ACK'];

/**
 * Which end closes first, as far as states tell. Two that close at the same time are both active. `known`: what was told
 * before. `peerIsLeft`: the peer's end is on this machine and is a leftover now, so that the peer has closed first.
 *
 * @see RFC 9293, 3.6
 */
export function closingOf(
  { from, to }: Pick<Change, 'from' | 'to'>,
  known: Closing | null = null,
  peerIsLeft = false,
): Closing | null {
  if (known !== null) return known;
  if (ACTIVE.includes(from) || ACTIVE.includes(to)) return 'active';
  return PASSIVE.includes(from) || PASSIVE.includes(to) || (to === null && peerIsLeft) ? 'passive' : null;
}

/** Counts changes by what they have in common: there are at most a few hundred kinds. */
export class TransitionCounter {
  #counts = new Map<string, Transition>();

  add({ from, to, closing }: Change, count = 1): void {
    if (count <= 0) return;
    const key = `${from} ${to} ${closing}`;
    const known = this.#counts.get(key)?.count ?? 0;
    this.#counts.set(key, { from, to, closing, count: known + count });
  }

  /** Those since it was asked last, the most frequent first. */
  take(): readonly Transition[] {
    const all = [...this.#counts.values()].sort((one, other) => other.count - one.count);
    this.#counts = new Map();
    return all;
  }
}
