import { errorText } from '../errors.js';
import type { Generation } from './generation.js';
import type { ReusePortGroups } from './groups.js';
import { chooseCheckPorts, httpCheck } from './http-check.js';
import { PausableTimer } from './pausable-timer.js';
import type { Readiness } from './readiness.js';

const LOOK_MS = 200;
const CHECK_EVERY_MS = 200;
/** The check gives its reason before the time for all is over. */
const ANSWER_MS = 100;

export interface ReadyCheckHost {
  readonly readiness: Readiness;
  /** From the start of the new generation until it is ready. */
  readonly readyTimeoutMs: number;
  readonly groups: ReusePortGroups;
  readonly isPaused: () => boolean;
  /** Time to look whether it listens: nobody tells that a server which was handed its socket has come to rest. */
  readonly look: () => void;
  readonly ready: () => void;
  readonly failed: (why: string) => void;
  /** Its time is over. */
  readonly late: () => void;
}

/** Whether a generation that starts is ready, in the time that it has. Time in which it is paused does not count. */
export class ReadyCheck {
  readonly #host: ReadyCheckHost;
  #timer: PausableTimer | undefined;
  /** Until a server is ready that is so by running for a while. */
  #delay: PausableTimer | undefined;
  #looks: NodeJS.Timeout | undefined;
  /** The question that is being asked. */
  #asking: AbortController | undefined;

  constructor(host: ReadyCheckHost) {
    this.#host = host;
  }

  /** The generation is being started. */
  begin(): void {
    this.#looks = setInterval(this.#host.look, LOOK_MS);
    this.#timer = this.#pausable(this.#host.readyTimeoutMs, this.#host.late);
  }

  /** It listens on every address that it is to have. What comes of that counts until the end. */
  listens(starting: Generation): void {
    const { readiness, ready } = this.#host;
    switch (readiness.type) {
      case 'listen':
        ready();
        return;
      case 'notify':
      case 'ipc':
        if (starting.slots.every(({ worker }) => worker?.toldReady)) ready();
        return;
      case 'delay':
        this.#delay ??= this.#pausable(readiness.delayMs, ready);
        return;
      case 'http':
        if (this.#asking === undefined) void this.#ask(starting, readiness);
        return;
    }
  }

  pause(): void {
    this.#timer?.pause();
    this.#delay?.pause();
    // Nobody would answer.
    this.#askNoMore();
  }

  goOn(): void {
    this.#timer?.goOn();
    this.#delay?.goOn();
  }

  end(): void {
    clearInterval(this.#looks);
    this.#timer?.clear();
    this.#delay?.clear();
    this.#delay = undefined;
    this.#askNoMore();
  }

  #pausable(ms: number, over: () => void): PausableTimer {
    return new PausableTimer(ms, over, { paused: this.#host.isPaused() });
  }

  #askNoMore(): void {
    this.#asking?.abort();
    this.#asking = undefined;
  }

  async #ask(starting: Generation, readiness: Extract<Readiness, { type: 'http' }>): Promise<void> {
    const asking = new AbortController();
    this.#asking = asking;
    try {
      await this.#askOver(starting, readiness, asking.signal);
      if (this.#asking === asking) this.#host.ready();
    } catch (error) {
      if (this.#asking === asking) this.#host.failed(errorText(error));
    }
  }

  /** Asks the new generation alone, while everybody else goes to the one that serves. */
  async #askOver(
    starting: Generation,
    { path, port }: Extract<Readiness, { type: 'http' }>,
    signal: AbortSignal,
  ): Promise<void> {
    const { groups } = this.#host;
    const held = starting.held
      .all()
      .find((one) => one.place && (port === undefined || one.place.address.port === port));
    if (held?.place === undefined)
      throw new Error(`it listens on no port${port === undefined ? '' : ` ${port}`} to ask`);
    const sourcePorts = chooseCheckPorts(16);
    const serving = starting.predecessor?.held.at(held.place) ?? [];
    groups.serve(serving, { held, sourcePorts });
    const timeoutMs = Math.max(0, (this.#timer?.leftMs ?? 0) - ANSWER_MS);
    try {
      const answer = await httpCheck({
        address: held.place.address,
        path,
        sourcePorts,
        timeoutMs,
        everyMs: CHECK_EVERY_MS,
        signal,
      });
      if (!answer.ok) throw new Error(`it was not ready in time: GET ${path}: ${answer.why}`);
    } finally {
      if (!signal.aborted) groups.serve(serving);
    }
  }
}
