/** How long a new generation is gone back from when it dies so many times. */
const PROBATION_MS = 30_000;
const DEATHS_MAX = 3;

/** What another keeper needs to go on with it. */
export interface SavedProbation {
  readonly ageMs: number;
  /** When that was its age, ms since 1970. */
  readonly atMs: number;
  readonly deaths: number;
}

/** The time after a new generation took over in which it must not die too often. Times are ms of `performance.now()`. */
export class Probation {
  /** Undefined when there is none. */
  #sinceMs: number | undefined;
  #deaths = 0;

  /** A new generation has taken over. */
  begin(): void {
    this.#sinceMs = performance.now();
    this.#deaths = 0;
  }

  end(): void {
    this.#sinceMs = undefined;
    this.#deaths = 0;
  }

  /** Of the generation that took over. */
  get deaths(): number {
    return this.#deaths;
  }

  /** It has died too often. */
  get isFailed(): boolean {
    return this.#deaths >= DEATHS_MAX;
  }

  /** A worker of it has died. */
  died(nowMs: number): void {
    if (this.#sinceMs !== undefined && nowMs - this.#sinceMs <= PROBATION_MS) this.#deaths++;
  }

  /** It stood still for so long. */
  stoodStill(ms: number): void {
    if (this.#sinceMs !== undefined) this.#sinceMs += ms;
  }

  save(nowMs: number): SavedProbation | undefined {
    if (this.#sinceMs === undefined) return undefined;
    return { ageMs: nowMs - this.#sinceMs, atMs: Date.now(), deaths: this.#deaths };
  }

  /** `standsStill`: it has not grown older meanwhile. */
  restore({ ageMs, atMs, deaths }: SavedProbation, standsStill: boolean): void {
    const sinceThen = standsStill ? 0 : Math.max(0, Date.now() - atMs);
    this.#sinceMs = performance.now() - ageMs - sinceThen;
    this.#deaths = deaths;
  }
}
