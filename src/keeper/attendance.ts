import { stopListening } from '../kernel/socket.js';
import { describeHeld, type HeldSocket, type HeldSockets, isServed, queueLength } from './held.js';
import type { Notice } from './notices.js';
import {
  currentHolders,
  isAtRest,
  isAtWork,
  type SocketHolder,
  stillHolds,
  type WorkerTree,
} from './tree.js';

/** How long after listen a process must still have the socket for it to be a server's and not a port probe's. */
const CONFIRM_MS = 100;
/** How long clients wait at a socket that its server closed on purpose before they are refused. */
const CLOSED_MS = 2_000;
const LOOK_EVERY_MS = 500;
/** How long after listen a socket may still be a port probe's of a program that goes on to its former address. */
const SETTLED_MS = 1_000;
/** How long a program that has no moment of rest may load until it counts as settled all the same. */
const LOADING_MS = 10_000;

export interface AttendanceOptions {
  readonly held: HeldSockets;
  /** Those of the workers that run now. */
  readonly trees: () => readonly WorkerTree[];
  readonly holdForMs: number;
  /** The server is stopped where it is, and its clients wait for as long as somebody wants. */
  readonly isPaused: () => boolean;
  readonly say: (notice: Notice) => void;
  /** A held socket is a server's beyond doubt, or is gone. */
  readonly changed: (confirmed: HeldSocket | undefined) => void;
}

/** Sees to it that no held socket becomes a black hole: whose server is gone for good, or closed it on purpose. */
export class Attendance {
  readonly #options: AttendanceOptions;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #looks: NodeJS.Timeout;

  constructor(options: AttendanceOptions) {
    this.#options = options;
    this.#looks = setInterval(() => this.#look(performance.now()), LOOK_EVERY_MS);
  }

  /** It is paused no more: from now on its sockets are looked after again, and no server had time to come up until now. */
  goOn(): void {
    const now = performance.now();
    for (const held of this.#options.held.all()) if (held.failingSince !== null) held.failingSince = now;
  }

  stop(): void {
    clearInterval(this.#looks);
    for (const timer of this.#timers) clearTimeout(timer);
  }

  /** A worker has these without a listen that we know of: if it has them a moment later, it is their server. */
  handed(sockets: readonly HeldSocket[]): void {
    this.#after(CONFIRM_MS, () => {
      for (const held of sockets) this.#lookForHolders(held);
      for (const held of sockets) if (held.holders.length > 0) this.#options.changed(held);
    });
  }

  /** The worker has served for a while: it has the sockets it was given, whether it ever called listen or not. */
  steady(): void {
    for (const held of this.#options.held.all()) {
      if (held.listened) {
        this.#lookForHolders(held);
        if (held.holders.length > 0) held.unservedSince = null;
      }
      if (isServed(held)) held.failingSince = null;
    }
  }

  /** A process has just called listen: a moment later it must still have the socket. */
  listened(held: HeldSocket): void {
    this.#after(CONFIRM_MS, () => this.#confirm(held));
  }

  #after(ms: number, work: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work();
    }, ms);
    this.#timers.add(timer);
  }

  #confirm(held: HeldSocket): void {
    if (this.#options.held.byInode(held.inode) !== held) return;
    // A worker that ended meanwhile had it open as far as anyone can tell.
    if (held.claims.size === 0) return;
    const holders = this.#holdersOf(held);
    // Of one that was closed meanwhile the former holders stay: that they live tells that it was on purpose.
    if (holders.length > 0) {
      held.holders = holders;
      held.confirmed = true;
      held.failingSince = null;
      if (this.#formerOf(held).length > 0) this.#settle(held, LOADING_MS / SETTLED_MS);
      this.#options.changed(held);
    } else if (held.holders.length > 0 && !held.holders.some(isAtWork)) {
      // Who listened has died since: he did not close it on purpose.
      held.confirmed = true;
      this.#options.changed(held);
    } else if (!held.confirmed) {
      this.#options.held.release(held);
      this.#options.changed(undefined);
    }
  }

  /** What the server had before and overlaps: left over if it has this socket's address from now on. */
  #formerOf({ place }: HeldSocket): readonly HeldSocket[] {
    if (place === undefined) return [];
    return this.#options.held
      .overlapping(place)
      .filter(
        (former) => !former.listened && !(former.claims.size > 0 && this.#holdersOf(former).length > 0),
      );
  }

  /**
   * The server may have this address now; then what it had before only keeps clients from it. Or it looks for a free
   * port, slowly because it is loading meanwhile: then clients wait at its former address, and rightly.
   */
  #settle(held: HeldSocket, looks: number): void {
    this.#after(SETTLED_MS, () => {
      if (!this.#options.held.has(held) || held.claims.size === 0) return;
      this.#lookForHolders(held);
      if (held.holders.length === 0) return;
      if (looks > 1 && !held.holders.some(isAtRest)) {
        this.#settle(held, looks - 1);
        return;
      }
      for (const former of this.#formerOf(held)) {
        this.#options.held.release(former);
        this.#options.say({ type: 'released', address: describeHeld(former), reason: 'moved' });
      }
      this.#options.changed(undefined);
    });
  }

  #look(now: number): void {
    if (this.#options.isPaused()) return;
    for (const held of this.#options.held.all()) {
      if (held.refusing || !held.confirmed) continue;
      if (this.#isFailing(held, now)) {
        if (this.#isServing() && !held.listened) this.#release(held);
        else this.#refuse(held);
      } else if (held.claims.size > 0 || held.listened) {
        this.#lookForAbandoned(held, now);
      }
    }
  }

  /** No server came up in time. One that was given the socket and has not shown yet what it does is let be. */
  #isFailing(held: HeldSocket, now: number): boolean {
    if (held.unservedSince === null || held.failingSince === null) return false;
    if (now - held.failingSince < this.#options.holdForMs) return false;
    if (held.listened) this.#lookForHolders(held);
    return held.holders.length === 0;
  }

  #holdersOf(held: HeldSocket): readonly SocketHolder[] {
    return currentHolders(this.#options.trees(), held.inode, held.holders);
  }

  #lookForHolders(held: HeldSocket): void {
    held.holders = this.#holdersOf(held);
  }

  /** The worker serves another socket: it does not want this one any more. */
  #isServing(): boolean {
    return this.#options.held.all().some(isServed);
  }

  /** Clients wait and nobody of a living worker has the socket: did its server die, or close it? */
  #lookForAbandoned(held: HeldSocket, now: number): void {
    if (queueLength(held) === 0) {
      held.abandonedSince = null;
      return;
    }
    // A busy server has clients in its queue at every look; that it still has the socket is one look more.
    if (held.holders.some((holder) => stillHolds(holder, held.inode))) return;
    const holders = this.#holdersOf(held);
    const [first] = holders;
    if (first !== undefined) {
      held.holders = holders;
      // It has just been given the socket, or got it from its parent, and need not call listen.
      this.#sayServed(held, first.pid, now);
      held.unservedSince = null;
      held.failingSince = null;
      held.abandonedSince = null;
    } else if (!held.listened && held.holders.some(isAtWork)) {
      held.abandonedSince ??= now;
      if (now - held.abandonedSince >= CLOSED_MS) this.#release(held);
    } else {
      // Its process died and something in the tree will start it again (nodemon, a prefork master).
      held.holders = [];
      held.unservedSince ??= now;
      held.failingSince ??= now;
    }
  }

  #sayServed(held: HeldSocket, pid: number, now: number): void {
    if (held.unservedSince === null) return;
    const gapMs = Math.round(now - held.unservedSince);
    this.#options.say({ type: 'served-again', address: describeHeld(held), pid, gapMs });
  }

  #release(held: HeldSocket): void {
    this.#options.held.release(held);
    this.#options.say({ type: 'released', address: describeHeld(held), reason: 'closed' });
    this.#options.changed(undefined);
  }

  /** The port stays ours; clients and load balancers see that nobody serves it. */
  #refuse(held: HeldSocket): void {
    // A service manager's socket is not ours to close to clients.
    if (held.inherited) return;
    stopListening(held.fd);
    held.refusing = true;
    this.#options.say({ type: 'released', address: describeHeld(held), reason: 'failing' });
    this.#options.changed(undefined);
  }
}
