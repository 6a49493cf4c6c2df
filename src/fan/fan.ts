import { setMaxListeners } from 'node:events';
import type { Readable } from 'node:stream';
import { HoldfastError } from '../errors.js';
import type { Phase, RemoteEnd, RemoteJob, RunningRemote, Take } from './remote.js';
import { userAndHost } from './remote.js';
import { Spool, SpoolFolder } from './spool.js';

/** Starts one command at one host. */
export type StartRemote = (job: RemoteJob) => RunningRemote;

export interface FanOptions {
  readonly hosts: readonly string[];
  /** One word is a line for the remote shell, several are a program and its arguments, which arrive as they are. */
  readonly command: readonly string[];
  /** A program's text to run in the place of a command, with `command` as its arguments. */
  readonly script?: string | undefined;
  readonly user?: string | undefined;
  readonly port?: number | undefined;
  /** How many at a time. Default 32. */
  readonly fanout?: number | undefined;
  /** Default 10 s. */
  readonly connectTimeoutMs?: number | undefined;
  /** For the command at one host; then it is ended there too. Default: none. */
  readonly timeoutMs?: number | undefined;
  /**
   * How long a host may take to close the connection when its command is over; what the command has left behind may keep it
   * open. Then this side closes, and counts it. Default 10 s.
   */
  readonly closeTimeoutMs?: number | undefined;
  /** How often a host is tried again that could not be reached. Default 0. */
  readonly retries?: number | undefined;
  /** What every host's command reads. Default: nothing. */
  readonly input?: (() => Readable) | undefined;
  /** Gets the output as it comes; it is kept for the result all the same, unless `keepsOutput` is false. */
  readonly onOutput?:
    | ((host: string, stream: 'stdout' | 'stderr', bytes: Buffer) => void | Promise<void>)
    | undefined;
  readonly onStart?: ((host: string) => void) | undefined;
  readonly keepsOutput?: boolean | undefined;
  /** Aborted: no host is begun any more, and commands that run are ended, remotely too. */
  readonly signal?: AbortSignal | undefined;
  /** Aborted: no host is begun any more, and commands that run are let end. Who was not begun has no result. */
  readonly noMore?: AbortSignal | undefined;
}

/** What became of one host. */
export interface FanResult {
  readonly host: string;
  /** The exit status; null when it is not known. */
  readonly status: number | null;
  /** Which signal ended the command, when its status says so. */
  readonly signal: number | null;
  readonly timedOut: boolean;
  readonly error: { readonly phase: Phase | 'stopped'; readonly text: string } | null;
  readonly ms: number;
  readonly attempts: number;
  /** How many of its connections this side has closed first: by rsh each of them is a TIME_WAIT here. */
  readonly closedFirst: number;
  readonly stdout: Output;
  readonly stderr: Output;
}

/** What a command has written. It is there until the iteration is over. */
export interface Output {
  readonly bytes: number;
  /** The same for the same output. */
  readonly digest: string;
  text(): string;
  buffer(): Buffer;
  stream(): Readable;
}

/** Phases in which nothing has been run yet. */
const AGAIN: readonly Phase[] = ['resolve', 'port', 'connect'];

/**
 * Runs a command at many hosts, so many at a time, and gives each one's result when it has it.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION. What goes wrong at a host is its result.
 */
export async function* fanOut(options: FanOptions, start: StartRemote): AsyncGenerator<FanResult> {
  check(options);
  const { hosts, fanout = 32 } = options;
  const folder = new SpoolFolder();
  const over = new AbortController();
  const signal = options.signal === undefined ? over.signal : AbortSignal.any([options.signal, over.signal]);
  // Each host that runs listens.
  setMaxListeners(0, signal);
  const running = new Map<number, Promise<{ readonly index: number; readonly result: FanResult }>>();
  let next = 0;
  const hasNext = (): boolean => next < hosts.length && options.noMore?.aborted !== true;
  try {
    while (hasNext() || running.size > 0) {
      for (; running.size < fanout && hasNext(); next++) {
        const index = next;
        const one = new OneHost(hosts[index] ?? '', { ...options, signal }, start, folder);
        running.set(
          index,
          one.run().then((result) => ({ index, result })),
        );
      }
      const { index, result } = await Promise.race(running.values());
      running.delete(index);
      yield result;
    }
  } finally {
    // Whoever asks for no more results wants no more commands either.
    over.abort();
    await Promise.all(running.values());
    folder.remove();
  }
}

class OneHost {
  readonly #host: string;
  readonly #options: FanOptions & { readonly signal: AbortSignal };
  readonly #start: StartRemote;
  readonly #spools: { readonly stdout: Spool; readonly stderr: Spool };
  #timedOut = false;

  constructor(
    host: string,
    options: FanOptions & { readonly signal: AbortSignal },
    start: StartRemote,
    folder: SpoolFolder,
  ) {
    this.#host = host;
    this.#options = options;
    this.#start = start;
    this.#spools = { stdout: new Spool(folder.path), stderr: new Spool(folder.path) };
  }

  async run(): Promise<FanResult> {
    const { retries = 0, signal, onStart } = this.#options;
    const begun = performance.now();
    let attempts = 0;
    let closedFirst = 0;
    let end: RemoteEnd = { status: null, error: null, closedFirst: false };
    if (!signal.aborted) onStart?.(this.#host);
    do {
      if (signal.aborted) break;
      attempts++;
      end = await this.#attempt();
      if (end.closedFirst) closedFirst++;
    } while (attempts <= retries && end.error !== null && AGAIN.includes(end.error.phase));
    for (const spool of Object.values(this.#spools)) spool.end();
    return {
      host: this.#host,
      status: this.#timedOut ? null : end.status,
      signal: end.status !== null && end.status > 128 ? end.status - 128 : null,
      timedOut: this.#timedOut,
      error: this.#errorOf(end),
      ms: performance.now() - begun,
      attempts,
      closedFirst,
      ...this.#spools,
    };
  }

  #errorOf({ status, error }: RemoteEnd): FanResult['error'] {
    if (this.#timedOut)
      return { phase: 'run', text: `not over after ${this.#options.timeoutMs} ms, and ended` };
    if (status !== null || !this.#options.signal.aborted) return error;
    return { phase: 'stopped', text: 'stopped' };
  }

  async #attempt(): Promise<RemoteEnd> {
    const { command, script, input, timeoutMs, signal } = this.#options;
    const { connectTimeoutMs = 10_000, closeTimeoutMs = 10_000 } = this.#options;
    const { user = this.#options.user, host } = userAndHost(this.#host);
    const remote = this.#start({
      ...{
        name: this.#host,
        host,
        user,
        port: this.#options.port,
        connectTimeoutMs,
        closeTimeoutMs,
        take: this.#take,
      },
      work: { command, script, takesInput: input !== undefined },
      input: input?.(),
    });
    const stop = (): void => remote.stop();
    signal.addEventListener('abort', stop);
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            this.#timedOut = true;
            remote.stop();
          }, timeoutMs);
    try {
      return await remote.ended;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    }
  }

  readonly #take: Take = (stream, bytes) => {
    const { keepsOutput = true, onOutput } = this.#options;
    if (keepsOutput) this.#spools[stream].write(bytes);
    return onOutput?.(this.#host, stream, bytes);
  };
}

function check({ hosts, command, script, fanout, retries }: FanOptions): void {
  if (hosts.length === 0) throw wrong('there are no hosts');
  if (command.length === 0 && script === undefined) throw wrong('there is no command');
  if (fanout !== undefined && !(Number.isInteger(fanout) && fanout > 0))
    throw wrong(`a fan-out is a number from 1, not ${fanout}`);
  if (retries !== undefined && !(Number.isInteger(retries) && retries >= 0))
    throw wrong(`retries is a number from 0, not ${retries}`);
  const bad = hosts.find((host) => /^-|\s|^$/.test(userAndHost(host).host));
  if (bad !== undefined) throw wrong(`"${bad}" is no host`);
}

function wrong(text: string): HoldfastError {
  return new HoldfastError('ERR_HOLDFAST_OPTION', text);
}
