import { setTimeout as sleep } from 'node:timers/promises';
import { formatAddress } from '../model/address.js';
import type { Generation } from './generation.js';
import type { ReusePortGroups } from './groups.js';
import { type HeldSocket, type Place, placeKey, takeClientsAgain, turnAwayClients } from './held.js';
import type { Notice } from './notices.js';
import { unservedPlaces } from './served-places.js';

/** How long a new generation may take further addresses of the old one. Somebody else may wait for those that it gives up. */
const LATE_MS = 10_000;
const LOOK_MS = 200;

export interface LateAddressesHost {
  readonly groups: ReusePortGroups;
  readonly say: (notice: Notice) => void;
  /** Whether the servers are stopped where they are: such time does not count. */
  readonly isPaused: () => boolean;
  /** Whether the old generation keeps what nobody has taken: it may be gone back to. */
  readonly oldKeeps: boolean;
}

/** Addresses of an old generation that the next one has not taken when it takes over, and may still take for a while. */
export class LateAddresses {
  readonly #host: LateAddressesHost;
  #next: Generation | undefined;
  #old: Generation | undefined;
  #places: readonly Place[] = [];
  #untilMs = 0;
  #isOver = false;
  /** Sockets of the old generation whose addresses nobody takes any more. */
  #turnedAway: HeldSocket[] = [];

  constructor(host: LateAddressesHost) {
    this.#host = host;
  }

  /** Those that have not been taken yet, and still may be. */
  get places(): readonly Place[] {
    return this.#isOver ? [] : this.#places;
  }

  /** The sockets by which the old generation serves in the place of the next one. */
  get served(): readonly HeldSocket[] {
    const [old, next] = [this.#old, this.#next];
    if (old === undefined || next === undefined || (this.#isOver && !this.#host.oldKeeps)) return [];
    const places = this.#places.filter((place) => !this.#isOver || next.held.at(place).length === 0);
    return places.flatMap((place) => old.held.at(place));
  }

  /** How long they may still be taken. */
  get leftMs(): number {
    return Math.max(0, this.#untilMs - performance.now());
  }

  /** What the next generation has not taken of the old one's addresses it may still take, at most until then. */
  expect(old: Generation, next: Generation, untilMs: number): void {
    this.#old = old;
    this.#next = next;
    const { groups } = this.#host;
    // A former keeper has seen who takes clients there; we have not looked for long enough.
    this.#places = unservedPlaces(old, next).filter(
      (place) => !next.held.at(place).some((held) => groups.isServing(held)),
    );
    this.#untilMs = Math.min(untilMs, performance.now() + LATE_MS);
    this.#isOver = false;
    if (this.#places.length === 0) return;
    next.former = old;
    old.leavesAll = true;
  }

  /** Has new connections come to the next generation where it has taken an address since it took over. */
  take(): void {
    const [old, next] = [this.#old, this.#next];
    if (old === undefined || next === undefined || this.#places.length === 0) return;
    const still = new Set(unservedPlaces(old, next).map(placeKey));
    const taken = this.#places.filter((place) => !still.has(placeKey(place)));
    this.#places = this.#places.filter((place) => still.has(placeKey(place)));
    for (const place of taken) this.#host.groups.serve(next.held.at(place));
  }

  /**
   * Waits until the next generation has taken every address, or the time to do so is over.
   *
   * @throws {DOMException} AbortError
   */
  async wait(signal: AbortSignal): Promise<void> {
    const [old, next] = [this.#old, this.#next];
    if (old === undefined || next === undefined || this.#places.length === 0) return;
    this.#say();
    while (this.#places.length > 0 && !old.isOver && this.leftMs > 0) {
      const [sinceMs, wasPaused] = [performance.now(), this.#host.isPaused()];
      await sleep(LOOK_MS, undefined, { signal, ref: false });
      if (wasPaused) this.#untilMs += performance.now() - sinceMs;
      this.take();
    }
    this.#isOver = true;
    for (const place of this.#places) {
      const own = next.held.at(place);
      // Those of --listen stay, whether anybody takes clients from them or not.
      if (own.length > 0) this.#host.groups.serve(own);
      else if (!this.#host.oldKeeps) this.#turnedAway.push(...old.held.at(place));
    }
    for (const held of this.#turnedAway) turnAwayClients(held);
    old.leavesAll = false;
  }

  #say(): void {
    const addresses = this.#places.map(({ address }) => formatAddress(address)).join(', ');
    const text = `the new generation does not listen on ${addresses}: the old one serves there until it does, for up to ${Math.round(this.leftMs)} ms`;
    this.#host.say({ type: 'warning', text });
  }

  /** The old generation has ended, perhaps before its time: then its clients wait for whoever takes the address, as after a crash. */
  oldEnded({ isStopping }: { readonly isStopping: boolean }): void {
    const [old, next] = [this.#old, this.#next];
    if (old === undefined || next === undefined) return;
    next.former = undefined;
    const isInTime = this.leftMs > 0 && !isStopping;
    for (const place of this.#places) {
      const own = next.held.at(place);
      if (own.length > 0) this.#host.groups.serve(own);
      else if (isInTime) for (const held of old.held.at(place)) old.held.giveTo(next.held, held);
    }
    this.#forget();
  }

  /** The old generation is to serve again: it has all that was its, and nothing is expected of the next one. */
  giveBack(): void {
    const [back, failed] = [this.#old, this.#next];
    if (back === undefined || failed === undefined) return;
    failed.former = undefined;
    back.leavesAll = false;
    for (const held of this.#turnedAway) if (back.held.has(held)) takeClientsAgain(held);
    this.#forget();
  }

  #forget(): void {
    this.#places = [];
    this.#turnedAway = [];
    this.#old = undefined;
    this.#next = undefined;
  }
}
