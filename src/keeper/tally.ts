import type { Phase } from './lifecycle.js';
import type { Notice } from './notices.js';

/**
 * What became of a start. `listened`: the server listened, or waits in its listen as a standby. `ended`: it ended before
 * that, or could not be started. `stopped`: it was being stopped before that.
 */
export type StartOutcome = 'listened' | 'ended' | 'stopped';

/** A worker that was started. */
export interface StartedWorker {
  /** Never used again by this keeper. */
  readonly id: number;
  /** Which start in its place it is, from 1. */
  readonly attempt: number;
  readonly phase: Phase | 'parked';
}

/** How often which amount was seen, as a histogram of Prometheus counts it. */
export class Distribution {
  /** The upper bounds of the buckets; one more bucket has what is above. */
  readonly bounds: readonly number[];
  /** For each bucket, without those below it. */
  readonly counts: number[];
  sum = 0;
  count = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = Array<number>(bounds.length + 1).fill(0);
  }

  add(amount: number): void {
    const index = this.bounds.findIndex((bound) => amount <= bound);
    const bucket = index < 0 ? this.bounds.length : index;
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1;
    this.sum += amount;
    this.count++;
  }
}

const GAP_SECONDS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60];
const RELOAD_SECONDS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300];
const DRAIN_SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300];

/** What a keeper has counted since it started. */
export class Tally {
  readonly starts: Record<StartOutcome, number> = { listened: 0, ended: 0, stopped: 0 };
  /** Starts in the place of a worker that had ended by itself. */
  restarts = 0;
  /** Times without a server at a held socket, in seconds. */
  readonly gaps: Distribution = new Distribution(GAP_SECONDS);
  readonly reloads: Record<'done' | 'failed', Distribution> = {
    done: new Distribution(RELOAD_SECONDS),
    failed: new Distribution(RELOAD_SECONDS),
  };
  readonly drains: Record<'complete' | 'cut', Distribution> = {
    complete: new Distribution(DRAIN_SECONDS),
    cut: new Distribution(DRAIN_SECONDS),
  };
  /** Connections that were open when the time of a drain was over. */
  connectionsCut = 0;
  /** Of the workers that there are, whether the outcome of their start is counted. */
  readonly #isCounted = new Map<number, boolean>();

  hear(notice: Notice): void {
    switch (notice.type) {
      case 'served-again':
        this.gaps.add(notice.gapMs / 1_000);
        return;
      case 'reloaded':
        this.reloads.done.add(notice.tookMs / 1_000);
        return;
      case 'reload-failed':
        this.reloads.failed.add(notice.tookMs / 1_000);
        return;
      case 'drained':
        this.drains[notice.complete ? 'complete' : 'cut'].add(notice.tookMs / 1_000);
        if (!notice.complete) this.connectionsCut += notice.connections;
        return;
    }
  }

  /** Workers that another keeper started: their starts are its, but for the outcome of one that has none yet. */
  know(workers: readonly StartedWorker[]): void {
    for (const worker of workers) this.#isCounted.set(worker.id, outcomeOf(worker) !== undefined);
  }

  /** Takes in the workers that there are now; to be called whenever one is another or in another phase. */
  look(workers: readonly StartedWorker[]): void {
    for (const worker of workers) {
      if (!this.#isCounted.has(worker.id)) {
        this.#isCounted.set(worker.id, false);
        if (worker.attempt > 1) this.restarts++;
      }
      const outcome = outcomeOf(worker);
      if (outcome !== undefined) this.#count(worker.id, outcome);
    }
    const ids = new Set(workers.map(({ id }) => id));
    for (const id of this.#isCounted.keys()) {
      if (ids.has(id)) continue;
      this.#count(id, 'ended');
      this.#isCounted.delete(id);
    }
  }

  #count(id: number, outcome: StartOutcome): void {
    if (this.#isCounted.get(id) !== false) return;
    this.#isCounted.set(id, true);
    this.starts[outcome]++;
  }
}

function outcomeOf({ phase }: StartedWorker): StartOutcome | undefined {
  switch (phase) {
    case 'starting':
      return undefined;
    case 'serving':
    case 'parked':
      return 'listened';
    case 'stopping':
      return 'stopped';
    case 'cleaning':
    case 'backing-off':
    case 'ended':
      return 'ended';
  }
}
