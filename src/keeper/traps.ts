import { close } from '../kernel/fd.js';
import type { Fd } from '../kernel/libc.js';
import type { Poller } from '../kernel/poller.js';
import { threadsOf, waitingCall } from '../kernel/procfs.js';
import { callOf, type Notification, SeccompNotifier } from '../kernel/seccomp.js';
import type { SavedNotifier } from './recovery.js';
import { Trap, type TrapOptions } from './trap.js';

/** Calls of the server that come in while those from before are looked for. */
const CALLS_MAX = 1_000;

/** What a keeper's traps have in common. */
export interface TrapsOptions extends Omit<TrapOptions, 'notifier' | 'isTakenOver'> {
  /** Processes of all workers. */
  readonly pids: () => readonly number[];
  /** There is one less. */
  readonly changed: () => void;
}

interface InstalledTrap {
  readonly notifier: SeccompNotifier;
  readonly trap: Trap;
}

/** The traps that a keeper answers: its own, and those of keepers that it goes on for, whose servers are under their filters. */
export class Traps {
  readonly #options: TrapsOptions;
  readonly #poller: Poller;
  /** By the notifier's fd. */
  readonly #traps = new Map<Fd, InstalledTrap>();

  constructor(poller: Poller, options: TrapsOptions) {
    this.#poller = poller;
    this.#options = options;
  }

  /** Fds of the notifiers, in the order of `save`. */
  get fds(): readonly Fd[] {
    return [...this.#traps.keys()];
  }

  /**
   * Answers what comes to the notifier from now on, and owns its fd. `lastId`: see SeccompNotifier; undefined for one that
   * no other keeper has answered.
   */
  answer(fd: Fd, lastId?: bigint): InstalledTrap {
    const notifier = new SeccompNotifier(fd, lastId);
    const isTakenOver = lastId !== undefined;
    const installed = { notifier, trap: new Trap({ ...this.#options, notifier, isTakenOver }) };
    this.#traps.set(fd, installed);
    this.#poller.add(fd, (isOver) => {
      if (isOver) this.#end(fd);
      // What was readable when the poller's thread looked may have been answered since: we would wait in it for ever.
      else if (notifier.isReadable()) installed.trap.handle();
    });
    return installed;
  }

  /** Answers what waits at the notifier of another keeper, from now on and from before. */
  takeOver(fd: Fd, { lastId, pending }: SavedNotifier): void {
    const { notifier, trap } = this.answer(fd, lastId);
    const known = new Set(pending.map(({ id }) => id));
    const lost = notifier.unanswered().filter((id) => !known.has(id));
    trap.resume(pending);
    if (lost.length === 0) return;
    // A call that nobody has received yet looks the same from outside: those are received first.
    const tids = new Set(pending.map(({ tid }) => tid));
    let calls: readonly Omit<Notification, 'id'>[];
    let received = 0;
    do {
      while (notifier.isReadable() && received++ < CALLS_MAX) tids.add(trap.handle()?.tid ?? 0);
      calls = waitingCalls(this.#options.pids()).filter(({ tid }) => !tids.has(tid));
    } while (notifier.isReadable() && received < CALLS_MAX);
    const [id] = lost;
    const [call] = calls;
    if (lost.length === 1 && calls.length === 1 && id !== undefined && call !== undefined) {
      trap.resume([{ id, ...call }]);
      return;
    }
    trap.letRun(lost);
    const text = `${lost.length} calls of the server were waiting for the former keeper, and run as without one`;
    this.#options.say({ type: 'warning', text });
  }

  /** What another keeper needs to go on with them, but for the fds. */
  save(): readonly SavedNotifier[] {
    return [...this.#traps.values()].map(({ notifier, trap }) => ({
      lastId: notifier.lastId,
      pending: trap.pending,
    }));
  }

  /** Answers nothing any more. */
  stop(): void {
    for (const [fd, { trap }] of this.#traps) {
      trap.stop();
      this.#poller.remove(fd);
    }
  }

  close(): void {
    for (const fd of this.#traps.keys()) close(fd);
    this.#traps.clear();
  }

  /** Nobody is under its filter any more. */
  #end(fd: Fd): void {
    this.#poller.remove(fd);
    this.#traps.get(fd)?.trap.stop();
    this.#traps.delete(fd);
    close(fd);
    this.#options.changed();
  }
}

/** Threads whose calls another keeper has received and nobody has answered yet. */
export function waitingThreads(
  notifiers: readonly (Pick<SavedNotifier, 'pending'> & { readonly copy: Fd })[],
): ReadonlySet<number> {
  const tids = notifiers.flatMap(({ copy, pending }) => {
    const notifier = new SeccompNotifier(copy);
    return pending.filter(({ id }) => notifier.stillWaits(id)).map(({ tid }) => tid);
  });
  return new Set(tids);
}

/** Trapped calls in which threads of these processes wait now, without the numbers of their notifications. */
export function waitingCalls(pids: readonly number[]): readonly Omit<Notification, 'id'>[] {
  return pids.flatMap((pid) =>
    threadsOf(pid).flatMap((tid) => {
      const waiting = waitingCall(pid, tid);
      const call = waiting === undefined ? undefined : callOf(waiting.nr);
      return waiting === undefined || call === undefined ? [] : [{ tid, call, args: waiting.args }];
    }),
  );
}
