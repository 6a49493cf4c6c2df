export interface LoadOptions {
  /** An IP address: names are not looked up in parallel. Default 127.0.0.1. */
  readonly host?: string | undefined;
  readonly port: number;
  readonly path?: string | undefined;
  /** How many requests start per second, whatever becomes of the earlier ones. Default 100. */
  readonly ratePerSecond?: number | undefined;
  /** From the start of the connection to the end of the answer; a request that takes longer is `hung`. Default a minute: a busy machine is slow, and no fault. */
  readonly timeoutMs?: number | undefined;
  /** At most so many sockets are open; a request that would exceed it is `skipped`. Default 8,000. */
  readonly maxOpen?: number | undefined;
  /** Whether the result has every good answer. Default false. */
  readonly keepAnswers?: boolean | undefined;
  readonly localAddress?: string | undefined;
}

export interface LoadCounts {
  readonly sent: number;
  /** Not sent because `maxOpen` sockets were open. */
  readonly skipped: number;
  /** A full answer with status 200. */
  readonly ok: number;
  readonly refused: number;
  readonly reset: number;
  /** The server closed before its answer was complete. */
  readonly eof: number;
  readonly hung: number;
  /** Another error of the connection, or another status. */
  readonly other: number;
}

export interface LoadFailure {
  readonly kind: 'refused' | 'reset' | 'eof' | 'hung' | 'other';
  /** Node's error code, `EOF`, or `HTTP 503`. */
  readonly code: string;
  /** `connecting`: no connection. `waiting`: connected, no answer yet. `answering`: the answer had begun. */
  readonly phase: 'connecting' | 'waiting' | 'answering';
  readonly startedAtMs: number;
  readonly endedAtMs: number;
}

/** A good one, to 10 µs. */
export interface LoadAnswer {
  readonly atMs: number;
  /** From the start of the connection. */
  readonly tookMs: number;
}

/** All `AtMs` count from the start of the load. */
export interface LoadResult extends LoadCounts {
  /** When the load started, in ms since the epoch. */
  readonly startedAt: number;
  readonly durationMs: number;
  /** The longest time without a good answer; the start and the stop of the load count as one. */
  readonly longestGapMs: number;
  readonly longestGapAtMs: number;
  /** From the start of the connection to the end of the answer, of good answers only; null when there is none. */
  readonly medianMs: number | null;
  readonly p99Ms: number | null;
  readonly maxMs: number | null;
  /** How late the client itself started a request, at most: what it measured is not finer than this. */
  readonly lateMs: number;
  /** Who answered, in the order of the first answers. */
  readonly pids: readonly number[];
  readonly processes: readonly {
    readonly pid: number;
    readonly ok: number;
    readonly firstAtMs: number;
    readonly lastAtMs: number;
  }[];
  /** The first 10,000, in the order in which they ended. */
  readonly failures: readonly LoadFailure[];
  /** In the order in which they came; none without `keepAnswers`. */
  readonly answers: readonly LoadAnswer[];
}

export interface Load {
  counts(): LoadCounts;
  /** Starts no more requests, waits until each has ended, and gives the result; the same one at a second call. */
  stop(): Promise<LoadResult>;
}

/** Starts the load at once: the first request is already on its way when it returns. */
export function startLoad(options: LoadOptions): Load;
