import { longer, MARKS_MAX, noHistory } from './apply.js';
import { Difference, type Surroundings } from './difference.js';
import { type Look, Lookout } from './look.js';
import { scopeOf } from './scope.js';
import { countOf } from './totals.js';
import type { KeeperMark, WatchedKeeper, WatchFilter, WatchHistory, WatchUpdate } from './view.js';

/** The kernel has room for some hundred ends of sockets: they are read so often. */
const EVENTS_MS = 100;

/** Where keepers are known from. */
export interface KeeperSource {
  /** Those of this user that run; the same object as long as nothing of it has changed. */
  look(): readonly WatchedKeeper[];
  /** What they have done since it was asked last. */
  takeMarks(): readonly KeeperMark[];
  close(): void;
}

export interface SamplerOptions {
  readonly intervalMs: number;
  readonly keepers: KeeperSource;
}

/** One who is told. */
export interface Viewer {
  /**
   * The snapshot first, then what has changed at the next look, or at all looks since it was asked last. Undefined after
   * `close`.
   *
   * @throws {SyscallError} a look failed.
   */
  next(): Promise<WatchUpdate | undefined>;
  close(): void;
}

/** Looks at the sockets at one interval for all who watch, as long as anybody does. */
export class Sampler {
  readonly #options: SamplerOptions;
  readonly #viewers = new Set<LiveViewer>();
  readonly #lookout = new Lookout();
  #history: WatchHistory = noHistory();
  #marks: readonly KeeperMark[] = [];
  #timer: NodeJS.Timeout | undefined;
  #events: NodeJS.Timeout | undefined;
  #last: readonly [look: Look, surroundings: Surroundings] | undefined;
  #nextMs = 0;
  #isClosed = false;

  /** @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag. */
  constructor(options: SamplerOptions) {
    this.#options = options;
  }

  get intervalMs(): number {
    return this.#options.intervalMs;
  }

  /** A viewer of what the filter lets through. The first update is there at once. */
  view(filter: WatchFilter = {}): Viewer {
    const { port, pid, keeper } = filter;
    const isAll = port === undefined && pid === undefined && keeper === undefined;
    const difference = new Difference(filter, this.#options.intervalMs, isAll ? this.#history : undefined);
    const viewer = new LiveViewer(difference, this.#marks, () => this.#leave(viewer));
    // While others watch, there is a look that is young enough.
    if (this.#viewers.size > 0 && this.#last !== undefined) viewer.add(...this.#last);
    this.#viewers.add(viewer);
    if (this.#timer === undefined) {
      this.#nextMs = performance.now();
      this.#timer = setTimeout(() => this.#tick(), 0);
      this.#events = setInterval(() => this.#readEvents(), EVENTS_MS);
    }
    return viewer;
  }

  /** Ends all viewers. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const viewer of [...this.#viewers]) viewer.close();
    this.#options.keepers.close();
    this.#lookout.close();
  }

  #leave(viewer: LiveViewer): void {
    this.#viewers.delete(viewer);
    if (this.#viewers.size > 0) return;
    clearTimeout(this.#timer);
    clearInterval(this.#events);
    [this.#timer, this.#events, this.#last] = [undefined, undefined, undefined];
  }

  #readEvents(): void {
    try {
      this.#lookout.readEvents();
    } catch (error) {
      this.#fail(error);
    }
  }

  #tick(): void {
    try {
      this.#look();
    } catch (error) {
      this.#fail(error);
      return;
    }
    // A look that was late, because the machine was suspended for example, is not made up for.
    const { intervalMs } = this.#options;
    this.#nextMs = Math.max(this.#nextMs + intervalMs, performance.now() + intervalMs / 2);
    if (this.#viewers.size > 0) {
      this.#timer = setTimeout(() => this.#tick(), this.#nextMs - performance.now());
    }
  }

  #look(): void {
    const keepers = this.#options.keepers.look();
    const marks = this.#options.keepers.takeMarks();
    this.#marks = [...this.#marks, ...marks].slice(-MARKS_MAX);
    const look = this.#lookout.look(new Set(keepers.map(({ pid }) => pid)));
    this.#last = [look, { keepers, marks: [] }];
    for (const viewer of [...this.#viewers]) viewer.add(look, { keepers, marks });
    this.#history = longer(this.#history, countOf(look, scopeOf({}, look, keepers)));
  }

  #fail(error: unknown): void {
    for (const viewer of [...this.#viewers]) viewer.fail(error);
  }
}

class LiveViewer implements Viewer {
  readonly #difference: Difference;
  readonly #leave: () => void;
  #marks: readonly KeeperMark[] | undefined;
  #isReady = false;
  #end: { readonly error?: unknown } | undefined;
  #waiting: { resolve(update: WatchUpdate | undefined): void; reject(error: unknown): void } | undefined;

  constructor(difference: Difference, marks: readonly KeeperMark[], leave: () => void) {
    this.#difference = difference;
    this.#marks = marks;
    this.#leave = leave;
  }

  add(look: Look, { keepers, marks }: Surroundings): void {
    this.#difference.add(look, { keepers, marks: [...(this.#marks ?? []), ...marks] });
    this.#marks = undefined;
    this.#isReady = true;
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    this.#waiting = undefined;
    waiting.resolve(this.#take());
  }

  next(): Promise<WatchUpdate | undefined> {
    if (this.#isReady) return Promise.resolve(this.#take());
    if (this.#end !== undefined) {
      return 'error' in this.#end ? Promise.reject(this.#end.error) : Promise.resolve(undefined);
    }
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  close(): void {
    this.#isReady = false;
    this.#end ??= {};
    this.#leave();
    this.#waiting?.resolve(undefined);
    this.#waiting = undefined;
  }

  fail(error: unknown): void {
    this.#end ??= { error };
    this.#leave();
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }

  #take(): WatchUpdate | undefined {
    this.#isReady = false;
    return this.#difference.take();
  }
}
