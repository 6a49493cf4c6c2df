/** Does something once when its time is over. Time in which it is paused does not count. */
export class PausableTimer {
  readonly #over: () => void;
  #leftMs: number;
  #sinceMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

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
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  goOn(): void {
    if (this.#isOver || this.#timer !== undefined) return;
    this.#sinceMs = performance.now();
    this.#timer = setTimeout(() => {
      this.#isOver = true;
      this.#over();
    }, this.#leftMs);
  }

  /** For good. */
  clear(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }
}
