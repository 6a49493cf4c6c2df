import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { killMarked, listeners, type TcpSocket } from './proc.js';
import { until, within } from './wait.js';

export interface StartOptions {
  readonly cwd?: string | undefined;
  /** Added to this process's environment; undefined removes a name. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** In a session of its own, without a controlling terminal. Default false. */
  readonly detached?: boolean | undefined;
  /** From fd 0 on; `pipe` at 1 and 2 is captured. Default: ignore, pipe, pipe. */
  readonly stdio?: StdioOptions | undefined;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A line that was waited for, in stdout or stderr. */
export interface LineOptions {
  readonly timeoutMs?: number | undefined;
  /** How many lines that match come before the one that is meant. Default 0. */
  readonly after?: number | undefined;
}

export interface Started {
  readonly pid: number;
  readonly child: ChildProcess;
  /** When the process itself ended; what it left behind may still write. */
  readonly exited: Promise<Exit>;
  readonly exit: Exit | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** Every whole line of both that matches, in the order of arrival. */
  lines(pattern: RegExp): RegExpMatchArray[];
  /** @throws Error with all output when the process ends, or the time is over, without such a line. */
  line(pattern: RegExp, options?: LineOptions): Promise<RegExpMatchArray>;
  /**
   * Waits until somebody listens on the port in this process's network namespace, and gives the sockets.
   *
   * @throws Error with all output when the process fails, or the time is over, before that.
   */
  listening(port: number, timeoutMs?: number): Promise<TcpSocket[]>;
  /** Sends the signal to this one process, unless it has ended. Gives whether it was sent. */
  kill(signal?: NodeJS.Signals): boolean;
  /** Waits for the end, with all that the process itself wrote. @throws Error with all output when it does not come in time. */
  end(timeoutMs?: number): Promise<Exit>;
  /** SIGKILL for the process and for everything that came from it, however it detached itself. */
  stop(): Promise<void>;
}

/**
 * Starts a program and captures what it says. When the running test is finished, or the test file when it was not
 * a test that started it, the process and everything that came from it is killed.
 */
export function start(command: readonly string[], options: StartOptions = {}): Started {
  const started = new Process(command, options);
  try {
    onTestFinished(() => started.stop());
  } catch {
    running.add(started); // "can only be called inside a test": from a hook; the file's end stops it
  }
  return started;
}

/** Stops what was started outside tests. */
export async function stopRunning(): Promise<void> {
  await Promise.all([...running].map((started) => started.stop()));
  running.clear();
}

const running = new Set<Started>();

/** In the environment of everything that a test starts: finds what daemonized or outlived its parent. */
const MARK = 'HOLDFAST_TEST_PROCESS';

class Process implements Started {
  readonly child: ChildProcess;
  readonly exited: Promise<Exit>;
  exit: Exit | undefined;
  stdout = '';
  stderr = '';
  readonly #command: readonly string[];
  readonly #mark = `${process.pid}-${randomBytes(6).toString('hex')}`;
  readonly #lines: string[] = [];
  readonly #listeners = new Set<() => void>();
  #closed = false;

  constructor(command: readonly string[], { env, stdio, ...options }: StartOptions) {
    this.#command = command;
    const [program, ...args] = command;
    if (program === undefined) throw new TypeError('an empty command');
    this.child = spawn(program, args, {
      ...(options as object),
      env: { ...process.env, ...env, [MARK]: this.#mark },
      stdio: stdio ?? ['ignore', 'pipe', 'pipe'],
    });
    this.#capture('stdout');
    this.#capture('stderr');
    this.exited = new Promise((resolve, reject) => {
      this.child.once('exit', (code, signal) => {
        this.exit = { code, signal };
        this.#notify();
        resolve(this.exit);
      });
      this.child.once('error', reject); // ENOENT: it never ran
    });
    this.exited.catch(() => undefined); // told by whoever waits, or by `pid`
    this.child.once('close', () => {
      this.#closed = true;
      this.#notify();
    });
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error(`did not start: ${this.#command.join(' ')}`);
    return this.child.pid;
  }

  lines(pattern: RegExp): RegExpMatchArray[] {
    return this.#lines.map((line) => line.match(pattern)).filter((match) => match !== null);
  }

  async line(
    pattern: RegExp,
    { timeoutMs = 30_000, after = 0 }: LineOptions = {},
  ): Promise<RegExpMatchArray> {
    const found = new Promise<RegExpMatchArray>((resolve, reject) => {
      const look = (): void => {
        const match = this.lines(pattern)[after];
        if (match !== undefined) resolve(match);
        else if (this.#closed) reject(new Error(`${this.#describe()} said no line like ${pattern}`));
        else return;
        this.#listeners.delete(look);
      };
      this.#listeners.add(look);
      look();
    });
    return this.#within(`a line like ${pattern}`, found, timeoutMs);
  }

  async listening(port: number, timeoutMs = 30_000): Promise<TcpSocket[]> {
    const look = (): TcpSocket[] | undefined => {
      const failed = this.exit !== undefined && this.exit.code !== 0; // a daemon's first process ends with 0
      if (failed) throw new Error('it failed');
      const found = listeners(port, this.exit === undefined ? this.pid : 'self');
      return found.length > 0 ? found : undefined;
    };
    return this.#within(
      `a listener on ${port}`,
      until(`a listener on ${port}`, look, { timeoutMs }),
      timeoutMs + 1_000,
    );
  }

  kill(signal: NodeJS.Signals = 'SIGTERM'): boolean {
    // Once it has exited its pid may be another process's.
    return this.exit === undefined && this.child.pid !== undefined && this.child.kill(signal);
  }

  async end(timeoutMs = 30_000): Promise<Exit> {
    const exit = await this.#within('the end of the process', this.exited, timeoutMs);
    // What it wrote is in the pipes by now, and each turn of the event loop reads what is there. Their end is not
    // waited for: a process that it left behind may have them.
    for (let known = -1; !this.#closed && known < this.stdout.length + this.stderr.length; ) {
      known = this.stdout.length + this.stderr.length;
      await setImmediate();
      await setImmediate();
    }
    return exit;
  }

  async stop(): Promise<void> {
    running.delete(this);
    if (this.child.pid === undefined) return;
    await killMarked(`${MARK}=${this.#mark}`, this.exit === undefined ? this.child.pid : undefined);
    await this.end();
    // Pipes close when the last that has them is gone; then the output is complete.
    for (let tries = 0; !this.#closed && tries < 100; tries++) await sleep(10);
  }

  #capture(name: 'stdout' | 'stderr'): void {
    let rest = '';
    const stream = this.child[name];
    stream?.setEncoding('utf8');
    stream?.on('data', (text: string) => {
      this[name] += text;
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      this.#lines.push(...lines);
      this.#notify();
    });
    stream?.on('end', () => {
      if (rest !== '') this.#lines.push(rest);
    });
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  async #within<T>(fact: string, promise: Promise<T>, timeoutMs: number): Promise<T> {
    try {
      return await within(fact, promise, timeoutMs);
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : String(error)}: ${this.#describe()}`);
    }
  }

  #describe(): string {
    const end = this.exit === undefined ? 'is running' : `ended with ${this.exit.code ?? this.exit.signal}`;
    return `${this.#command.join(' ')} (${end})\nstdout: ${this.stdout}\nstderr: ${this.stderr}\n`;
  }
}
