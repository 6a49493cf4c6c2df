import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { killMarked } from '../../test/support/proc.js';
import { removeTemporaryFolders } from '../../test/support/temporary.js';
import { within } from '../../test/support/wait.js';

export interface Started {
  readonly pid: number;
  readonly child: ChildProcess;
  /** When the process itself has ended. */
  readonly exited: Promise<unknown>;
  /** When it has said all, too. */
  readonly closed: Promise<unknown>;
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
  /** A line of stdout or stderr. @throws Error with all output when the process ends, or the time is over, without it. */
  line(pattern: RegExp, options?: LineOptions): Promise<RegExpMatchArray>;
  /** SIGTERM, and after `graceMs` SIGKILL for it and for everything that came from it. */
  stop(graceMs?: number): Promise<void>;
}

export interface LineOptions {
  readonly timeoutMs?: number;
  /** How many lines that match come before the one that is meant. Default 0. */
  readonly after?: number;
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
  /** Whether it has an input, which ends with the bench. Default false. */
  readonly hasInput?: boolean | undefined;
}

/** Starts a program and keeps what it says. Ends with the bench at the latest, with everything that came from it. */
export function start(command: readonly string[], options: StartOptions = {}): Started {
  return startProcess(command, options);
}

function startProcess(command: readonly string[], options: StartOptions): Process {
  if (interruption !== undefined) throw new Error(`ended by ${interruption}`);
  const started = new Process(command, options);
  running.add(started);
  return started;
}

/** Runs a program to its end and gives its stdout. @throws Error with all output when it fails or takes too long. */
export async function run(
  command: readonly string[],
  { timeoutMs = 30_000, ...options }: StartOptions & { readonly timeoutMs?: number } = {},
): Promise<string> {
  const started = startProcess(command, options);
  try {
    await within(`the end of ${command.join(' ')}`, started.closed, timeoutMs);
    if (started.child.exitCode !== 0) throw new Error(started.describe());
    return started.stdout.join('\n');
  } finally {
    await started.stop(0);
  }
}

/** Ends everything that still runs and removes every temporary folder. */
export async function stopEverything(): Promise<void> {
  await Promise.allSettled([...running].map((started) => started.stop(2_000)));
  removeTemporaryFolders();
}

/** For the time of `work`, SIGINT and SIGTERM end the bench with everything that it started. */
export async function withCleanup(work: () => Promise<void>): Promise<void> {
  const interrupted = (signal: NodeJS.Signals): void => {
    interruption = signal;
    process.stderr.write(`${signal}: ending what was started\n`);
    void stopEverything().finally(() => process.exit(130));
  };
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  try {
    await work();
  } finally {
    // The work fails because its processes end; the exit must not overtake their end.
    if (interruption !== undefined) await new Promise(() => undefined);
    await stopEverything();
    process.off('SIGINT', interrupted);
    process.off('SIGTERM', interrupted);
  }
}

const running = new Set<Process>();

/** What ends the bench: from now on nothing is started, also not to stop something in its own way. */
let interruption: NodeJS.Signals | undefined;

/** In the environment of everything that a bench starts: finds what daemonized or outlived its parent. */
const MARK = 'HOLDFAST_BENCH_PROCESS';
const KEPT_LINES = 1_000;
const SILENT_AFTER_MS = 500;

class Process implements Started {
  readonly child: ChildProcess;
  readonly exited: Promise<unknown>;
  readonly closed: Promise<unknown>;
  readonly stdout: string[] = [];
  readonly stderr: string[] = [];
  readonly #command: readonly string[];
  readonly #mark = `${process.pid}-${randomBytes(6).toString('hex')}`;
  readonly #watchers = new Set<() => void>();
  #ended = false;
  #silent = false;

  constructor(command: readonly string[], { env, cwd, hasInput }: StartOptions) {
    const [program = '', ...args] = command;
    this.#command = command;
    this.child = spawn(program, args, {
      cwd,
      env: { ...process.env, ...env, [MARK]: this.#mark },
      stdio: [hasInput ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    });
    this.exited = once(this.child, 'exit');
    this.closed = once(this.child, 'close');
    for (const promise of [this.exited, this.closed]) promise.catch(() => undefined); // ENOENT: told by `pid`
    this.child.once('exit', () => {
      this.#ended = true;
      // What it wrote may still be in the pipes, and a process that it left behind may keep them open.
      setTimeout(() => this.#fallSilent(), SILENT_AFTER_MS).unref();
    });
    this.child.once('close', () => this.#fallSilent());
    this.#capture('stdout');
    this.#capture('stderr');
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error(`did not start: ${this.#command.join(' ')}`);
    return this.child.pid;
  }

  line(pattern: RegExp, { timeoutMs = 20_000, after = 0 }: LineOptions = {}): Promise<RegExpMatchArray> {
    let look = (): void => undefined;
    const found = new Promise<RegExpMatchArray>((resolve, reject) => {
      look = () => {
        const match = [...this.stdout, ...this.stderr].map((line) => line.match(pattern)).filter(Boolean)[
          after
        ];
        if (match != null) resolve(match);
        else if (this.#silent) reject(new Error(`no line like ${pattern}: ${this.describe()}`));
      };
      this.#watchers.add(look);
      look();
    });
    return within(`a line like ${pattern} of ${this.#command.join(' ')}`, found, timeoutMs).finally(() =>
      this.#watchers.delete(look),
    );
  }

  async stop(graceMs = 5_000): Promise<void> {
    running.delete(this);
    if (this.child.pid === undefined) return;
    if (!this.#ended) {
      this.child.kill('SIGTERM');
      await Promise.race([this.exited, sleep(graceMs, undefined, { ref: false })]);
    }
    await killMarked(`${MARK}=${this.#mark}`, this.#ended ? undefined : this.child.pid);
    await this.exited;
  }

  describe(): string {
    const end = this.#ended ? `ended with ${this.child.exitCode ?? this.child.signalCode}` : 'is running';
    return `${this.#command.join(' ')} (${end})\n${[...this.stdout, ...this.stderr].join('\n')}`;
  }

  #capture(name: 'stdout' | 'stderr'): void {
    const stream = this.child[name];
    if (stream === null) return;
    createInterface({ input: stream }).on('line', (line) => {
      if (this[name].length < KEPT_LINES) this[name].push(line);
      this.#notify();
    });
  }

  #fallSilent(): void {
    this.#silent = true;
    this.#notify();
  }

  #notify(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }
}
