import type { Writable } from 'node:stream';
import type { Notice } from './notices.js';

/** How many events a keeper remembers. */
export const EVENTS_KEPT = 500;

/** A notice with when it was told. */
export type KeeperEvent = Notice & {
  /** Counts the events of a keeper, from 1. */
  readonly id: number;
  /** Milliseconds since 1970. */
  readonly time: number;
};

/** Told to who follows and has read too slowly: so many events, from `id` on, are no longer remembered. */
export interface MissedEvents {
  readonly type: 'missed';
  readonly id: number;
  readonly time: number;
  readonly count: number;
}

/** What a keeper has told last. */
export class EventLog {
  readonly #events: KeeperEvent[] = [];
  readonly #followers = new Map<Writable, () => void>();
  #nextId = 1;

  add(notice: Notice): void {
    this.#events.push({ id: this.#nextId++, time: Date.now(), ...notice });
    if (this.#events.length > EVENTS_KEPT) this.#events.shift();
    for (const send of this.#followers.values()) send();
  }

  recent(): readonly KeeperEvent[] {
    return [...this.#events];
  }

  /**
   * Writes every event that is remembered, and each that comes, as a line of JSON. A reader that is slow costs what its
   * stream buffers and no more: it is written to again when it has read, and told what it has missed.
   */
  follow(reader: Writable): void {
    let nextId = this.#events[0]?.id ?? this.#nextId;
    let isFull = false;
    const send = (): void => {
      while (!isFull && nextId < this.#nextId) {
        const next = this.#from(nextId);
        nextId = next.type === 'missed' ? nextId + next.count : nextId + 1;
        isFull = !reader.write(`${JSON.stringify(next)}\n`);
      }
    };
    this.#followers.set(reader, send);
    reader.once('close', () => this.#followers.delete(reader));
    reader.on('drain', () => {
      isFull = false;
      send();
    });
    send();
  }

  /** Nothing more comes: ends the streams of all who follow. */
  end(): void {
    for (const reader of this.#followers.keys()) reader.end();
    this.#followers.clear();
  }

  /** The event of that number, or that it is gone, with those after it that are gone too. */
  #from(id: number): KeeperEvent | MissedEvents {
    const first = this.#events[0];
    const event = first === undefined ? undefined : this.#events[id - first.id];
    if (event !== undefined) return event;
    return { type: 'missed', id, time: first?.time ?? Date.now(), count: (first?.id ?? this.#nextId) - id };
  }
}
