/** Does something once when its time is over. Time in which it is paused does not count. */
export class PausableTimer {
  readonly #over: () => void;
  #leftMs: number;
  #sinceMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number, over: () => void, { paused }: { readonly paused: boolean }) {
    this.#leftMs = ms;
    this.#over = over;
    if (!paused) this.goOn();
  }

  /** How much of its time is left. */
  get leftMs(): number {
    const ranMs = this.#timer === undefined ? 0 : performance.now() - this.#sinceMs;
    return Math.max(0, this.#leftMs - ranMs);
  }

  pause(): void {
    this.#leftMs = this.leftMs;
    this.clear();
  }

  goOn(): void {
    if (this.#timer !== undefined) return;
    this.#sinceMs = performance.now();
    this.#timer = setTimeout(this.#over, this.#leftMs);
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
