import { setTimeout as sleep } from 'node:timers/promises';
import { errorText } from '../errors.js';
import type { InetAddress } from '../model/address.js';
import { drain } from './drain.js';
import type { Generation } from './generation.js';
import { describeHeld } from './held.js';
import type { Notice } from './notices.js';
import type { ReloadPolicy } from './reload.js';
import type { DrainState } from './state.js';
import { drainUnix } from './unix-drain.js';

export interface OldDrainHost {
  readonly say: (notice: Notice) => void;
  readonly isPaused: () => boolean;
}

/** How often it is looked whether the time goes by, where connections cannot be seen. */
const BLIND_LOOK_MS = 100;

/** Waits until a generation that has been taken over from has finished what it has. */
export class OldDrain {
  readonly #old: Generation;
  readonly #policy: ReloadPolicy;
  readonly #host: OldDrainHost;
  readonly #stopping = new AbortController();
  readonly #startsInMs: () => number;
  /** How much time was left at the last look, and when that was, in milliseconds since 1970; undefined before the first. */
  #left: { readonly ms: number; readonly atMs: number } | undefined;
  #seen: Pick<DrainState, 'connections' | 'owed'> = { connections: null, owed: null };

  /** `startsInMs`: from now on, at the latest. */
  constructor(old: Generation, policy: ReloadPolicy, startsInMs: () => number, host: OldDrainHost) {
    this.#old = old;
    this.#policy = policy;
    this.#host = host;
    this.#startsInMs = startsInMs;
  }

  /** Aborted by `stop`. */
  get signal(): AbortSignal {
    return this.#stopping.signal;
  }

  /** It is waited for no more. */
  stop(): void {
    this.#stopping.abort();
  }

  /** `active`: has taken over. */
  state(active: Generation): Omit<DrainState, 'late'> {
    const shared = this.#old.held.all().filter(({ inode }) => active.held.byInode(inode) !== undefined);
    return {
      generation: this.#old.number,
      ...this.#seen,
      until: this.#until(),
      shared: shared.map((held) => describeHeld(held)),
    };
  }

  /** When its time is over, in milliseconds since 1970. While it is paused that is later and later. */
  #until(): number {
    if (this.#left === undefined) return Date.now() + this.#startsInMs() + this.#policy.drainTimeoutMs;
    const { ms, atMs } = this.#left;
    return ms + (this.#host.isPaused() ? Date.now() : atMs);
  }

  #note(leftMs: number, seen: Pick<DrainState, 'connections' | 'owed'>): void {
    this.#left = { ms: Math.max(0, leftMs), atMs: Date.now() };
    this.#seen = seen;
  }

  /** Settles when it has finished, its time is over, or it is waited for no more. */
  async run(): Promise<void> {
    const old = this.#old;
    const { signal } = this;
    const { say, isPaused } = this.#host;
    const since = performance.now();
    const sockets = old.held.all().filter(({ place }) => place !== undefined);
    const ports = sockets.map(({ address }) => (address as InetAddress).port);
    const paths = old.held.all().flatMap(({ address }) => (address.family === 'unix' ? [address.path] : []));
    const inodes = (): ReadonlySet<number> => new Set(old.trees().flatMap((tree) => tree.sockets()));
    const { drainWait, drainQuietMs, drainTimeoutMs } = this.#policy;
    try {
      const { drained, connections, durationMs } = await drain({
        listeners: () => sockets.filter((held) => old.held.has(held)).map(({ fd }) => fd),
        ports: [...new Set(ports)],
        inodes,
        wait: drainWait,
        quietMs: drainQuietMs,
        timeoutMs: drainTimeoutMs,
        signal,
        isPaused,
        onLook: ({ waiting, open, owed }, leftMs) => {
          this.#note(leftMs, { connections: waiting + open, owed: waiting + owed });
        },
      });
      // Servers that drain by themselves do it there too.
      const timeoutMs = drainTimeoutMs - durationMs;
      const onLook = (open: number, leftMs: number): void => {
        this.#note(leftMs, { connections: connections + open, owed: null });
      };
      const left =
        drainWait === 'queue' ? 0 : await drainUnix({ paths, inodes, timeoutMs, signal, isPaused, onLook });
      say({
        type: 'drained',
        generation: old.number,
        tookMs: Math.round(performance.now() - since),
        connections: connections + left,
        complete: drained && left === 0,
      });
    } catch (error) {
      if (signal.aborted) return;
      const text = `cannot see connections, which get ${drainTimeoutMs} ms to end: ${errorText(error)}`;
      say({ type: 'warning', text });
      await this.#waitBlindly();
    }
  }

  /** Settles when its time is over, it has ended, or it is waited for no more. */
  async #waitBlindly(): Promise<void> {
    const { signal } = this;
    for (let leftMs = this.#policy.drainTimeoutMs; leftMs > 0 && !signal.aborted && !this.#old.isOver; ) {
      this.#note(leftMs, { connections: null, owed: null });
      const sinceMs = performance.now();
      await sleep(Math.min(leftMs, BLIND_LOOK_MS), undefined, { ref: false });
      if (!this.#host.isPaused()) leftMs -= performance.now() - sinceMs;
    }
  }
}
