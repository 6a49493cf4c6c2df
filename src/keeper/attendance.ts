import { stopListening } from '../kernel/socket.js';
import { describeHeld, type HeldSocket, type HeldSockets, isServed, queueLength } from './held.js';
import type { Notice } from './notices.js';
import { currentHolders, isAlive, stillHolds, type WorkerTree } from './tree.js';

/** How long after listen a process must still have the socket for it to be a server's and not a port probe's. */
const CONFIRM_MS = 100;
/** How long clients wait at a socket that its server closed on purpose before they are refused. */
const CLOSED_MS = 2_000;
const LOOK_EVERY_MS = 500;

export interface AttendanceOptions {
  readonly held: HeldSockets;
  readonly tree: () => WorkerTree | undefined;
  readonly holdForMs: number;
  readonly say: (notice: Notice) => void;
  /** A held socket is a server's beyond doubt, or is gone. */
  readonly changed: (confirmed: HeldSocket | undefined) => void;
}

/** Sees to it that no held socket becomes a black hole: whose server is gone for good, or closed it on purpose. */
export class Attendance {
  readonly #options: AttendanceOptions;
  readonly #confirmations = new Set<NodeJS.Timeout>();
  readonly #looks: NodeJS.Timeout;

  constructor(options: AttendanceOptions) {
    this.#options = options;
    this.#looks = setInterval(() => this.#look(performance.now()), LOOK_EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#looks);
    for (const timer of this.#confirmations) clearTimeout(timer);
  }

  /** A worker was started with sockets of `--listen`: if it has them a moment later, it is their server. */
  handed(sockets: readonly HeldSocket[]): void {
    const timer = setTimeout(() => {
      this.#confirmations.delete(timer);
      for (const held of sockets) this.#lookForHolders(held);
      for (const held of sockets) if (held.holders.length > 0) this.#options.changed(held);
    }, CONFIRM_MS);
    this.#confirmations.add(timer);
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
    const timer = setTimeout(() => {
      this.#confirmations.delete(timer);
      this.#confirm(held);
    }, CONFIRM_MS);
    this.#confirmations.add(timer);
  }

  #confirm(held: HeldSocket): void {
    if (this.#options.held.byInode(held.inode) !== held) return;
    // A worker that ended meanwhile had it open as far as anyone can tell.
    if (!held.claimed) return;
    const holders = currentHolders(this.#options.tree(), held.inode, held.holders);
    // Of one that was closed meanwhile the former holders stay: that they live tells that it was on purpose.
    if (holders.length > 0) {
      held.holders = holders;
      held.confirmed = true;
      held.failingSince = null;
      this.#releaseFormer(held);
      this.#options.changed(held);
    } else if (held.holders.length > 0 && !held.holders.some(isAlive)) {
      // Who listened has died since: he did not close it on purpose.
      held.confirmed = true;
      this.#options.changed(held);
    } else if (!held.confirmed) {
      this.#options.held.release(held);
      this.#options.changed(undefined);
    }
  }

  /** The server has this address now: what it had before and overlaps would only keep clients from it. */
  #releaseFormer({ place }: HeldSocket): void {
    if (place === undefined) return;
    for (const former of this.#options.held.overlapping(place)) {
      if (former.claimed || former.listened) continue;
      this.#options.held.release(former);
      this.#options.say({ type: 'released', address: describeHeld(former), reason: 'moved' });
    }
  }

  #look(now: number): void {
    for (const held of this.#options.held.all()) {
      if (held.refusing || !held.confirmed) continue;
      if (this.#isFailing(held, now)) {
        if (this.#isServing() && !held.listened) this.#release(held);
        else this.#refuse(held);
      } else if (held.claimed || held.listened) {
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

  #lookForHolders(held: HeldSocket): void {
    held.holders = currentHolders(this.#options.tree(), held.inode, held.holders);
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
    const holders = currentHolders(this.#options.tree(), held.inode, held.holders);
    if (holders.length > 0) {
      held.holders = holders;
      held.unservedSince = null;
      held.failingSince = null;
      held.abandonedSince = null;
    } else if (!held.listened && held.holders.some(isAlive)) {
      held.abandonedSince ??= now;
      if (now - held.abandonedSince >= CLOSED_MS) this.#release(held);
    } else {
      // Its process died and something in the tree will start it again (nodemon, a prefork master).
      held.holders = [];
      held.unservedSince ??= now;
      held.failingSince ??= now;
    }
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
