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

/** Waits until a generation that has been taken over from has finished what it has. */
export class OldDrain {
  readonly #old: Generation;
  readonly #policy: ReloadPolicy;
  readonly #host: OldDrainHost;
  readonly #stopping = new AbortController();
  /** When it is over, in milliseconds since 1970. */
  #until: number;
  #seen: Pick<DrainState, 'connections' | 'owed'> = { connections: null, owed: null };

  /** `startsInMs`: at the latest. */
  constructor(old: Generation, policy: ReloadPolicy, startsInMs: number, host: OldDrainHost) {
    this.#old = old;
    this.#policy = policy;
    this.#host = host;
    this.#until = Date.now() + startsInMs + policy.drainTimeoutMs;
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
      until: this.#until,
      shared: shared.map((held) => describeHeld(held)),
    };
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
    this.#until = Date.now() + drainTimeoutMs;
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
          this.#until = Date.now() + Math.max(0, leftMs);
          this.#seen = { connections: waiting + open, owed: waiting + owed };
        },
      });
      // Servers that drain by themselves do it there too.
      const timeoutMs = drainTimeoutMs - durationMs;
      const onLook = (open: number): void => {
        this.#seen = { connections: connections + open, owed: null };
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
      await sleep(drainTimeoutMs, undefined, { ref: false });
    }
  }
}
