import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { HoldfastError } from '../errors.js';
import type { Fd } from '../kernel/libc.js';
import type { Credentials } from '../kernel/process.js';
import type { TrappedCall } from '../kernel/seccomp.js';
import type { WorkerEnd } from './lifecycle.js';

/** One program to start. */
export interface SpawnRequest {
  readonly command: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Our fds that it gets as 3, 4, … besides our standard ones. */
  readonly fds: readonly Fd[];
  /** Our fd that it gets as stdout and stderr; undefined: it gets our own. */
  readonly output?: Fd;
  /** Whom it runs as; undefined: as ourselves. */
  readonly credentials?: Credentials;
  /** Node's channel for messages (process.send). */
  readonly ipc: boolean;
}

/** What the spawner is told. `call`: make a trapped call that does nothing. */
export type SpawnerRequest =
  | { readonly type: 'spawn'; readonly id: number; readonly request: SpawnRequest }
  | { readonly type: 'call' };

/** What the spawner tells. */
export type SpawnerReport =
  | {
      readonly type: 'ready';
      readonly thread: number;
      readonly notifier: Fd | null;
    }
  | { readonly type: 'unavailable'; readonly code: string; readonly message: string }
  | { readonly type: 'spawned'; readonly id: number; readonly pid: number }
  | { readonly type: 'not-spawned'; readonly id: number; readonly code: string; readonly message: string }
  | { readonly type: 'called' }
  /** It said `ready` by Node's channel. */
  | { readonly type: 'ready-told'; readonly id: number }
  | ({ readonly type: 'exited'; readonly id: number; readonly pid: number } & WorkerEnd);

export interface SpawnerSetup {
  /** Calls to trap; none: no filter. */
  readonly trap: readonly TrappedCall[];
  readonly noNewPrivileges: boolean;
}

export interface Spawned {
  readonly pid: number;
  readonly exited: Promise<WorkerEnd>;
  /** Settles when it says `ready` by Node's channel. */
  readonly toldReady: Promise<void>;
}

/**
 * The thread that starts every program. Only it is under the seccomp filter, and so is what it starts: the main
 * thread stays free to answer.
 */
export class Spawner {
  readonly #thread: Worker;
  readonly #spawned = new Map<number, (outcome: Spawned | HoldfastError) => void>();
  readonly #exited = new Map<number, (end: WorkerEnd) => void>();
  readonly #ready = new Map<number, () => void>();
  /** The seccomp notifier, owned by whoever made the spawner; null without a trap. */
  readonly notifier: Fd | null;
  /** The kernel's number of the thread, whose children the programs are. */
  readonly threadId: number;
  #ids = 0;
  #called: () => void = () => undefined;
  #failure: HoldfastError | undefined;

  private constructor(thread: Worker, ready: Extract<SpawnerReport, { type: 'ready' }>) {
    this.#thread = thread;
    this.threadId = ready.thread;
    this.notifier = ready.notifier;
    thread.on('message', (report: SpawnerReport) => this.#hear(report));
    thread.on('error', (error) => this.#fail(error));
  }

  /** @throws {HoldfastError} ERR_HOLDFAST_TRAP_UNAVAILABLE; its `cause` has the system call's code. */
  static async start(setup: SpawnerSetup): Promise<Spawner> {
    const thread = new Worker(new URL('./spawner-thread.js', import.meta.url), {
      workerData: setup,
      // None of the program's own flags and hooks (--input-type, --import, NODE_OPTIONS) are meant for this thread.
      execArgv: [],
      env: {},
      // The thread does next to nothing: without limits V8 reserves for it as for a program of its own.
      resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 32 },
    });
    const [report] = (await once(thread, 'message')) as [SpawnerReport];
    if (report.type === 'ready') return new Spawner(thread, report);
    await thread.terminate();
    const cause = report.type === 'unavailable' ? { code: report.code, message: report.message } : report;
    throw new HoldfastError(
      'ERR_HOLDFAST_TRAP_UNAVAILABLE',
      'seccomp user notification is not available',
      cause,
    );
  }

  /** @throws {HoldfastError} ERR_HOLDFAST_COMMAND; its `cause` has the code (ENOENT, EACCES …). */
  async spawn(request: SpawnRequest): Promise<Spawned> {
    if (this.#failure !== undefined) throw this.#failure;
    const id = ++this.#ids;
    const outcome = await new Promise<Spawned | HoldfastError>((resolve) => {
      this.#spawned.set(id, resolve);
      this.#thread.postMessage({ type: 'spawn', id, request } satisfies SpawnerRequest);
    });
    if (outcome instanceof HoldfastError) throw outcome;
    return outcome;
  }

  /**
   * Makes a trapped call that does nothing, and settles when it has been answered. Only from then on the notifier's owner
   * knows how the kernel numbers its notifications, and a later owner can find those that this one has lost.
   */
  async call(): Promise<void> {
    await new Promise<void>((called) => {
      this.#called = called;
      this.#thread.postMessage({ type: 'call' } satisfies SpawnerRequest);
    });
  }

  /** Ends the thread; programs that it started go on. */
  async stop(): Promise<void> {
    await this.#thread.terminate();
  }

  /** The thread has ended: nothing can be started any more. */
  #fail(cause: Error): void {
    const failure = new HoldfastError(
      'ERR_HOLDFAST_COMMAND',
      `the spawner thread ended: ${cause.message}`,
      cause,
    );
    this.#failure = failure;
    for (const settle of this.#spawned.values()) settle(failure);
    this.#spawned.clear();
    this.#called();
  }

  #hear(report: SpawnerReport): void {
    switch (report.type) {
      case 'spawned': {
        const exited = new Promise<WorkerEnd>((resolve) => this.#exited.set(report.id, resolve));
        const toldReady = new Promise<void>((resolve) => this.#ready.set(report.id, resolve));
        this.#spawned.get(report.id)?.({ pid: report.pid, exited, toldReady });
        this.#spawned.delete(report.id);
        return;
      }
      case 'not-spawned': {
        const cause = { code: report.code, message: report.message };
        this.#spawned.get(report.id)?.(new HoldfastError('ERR_HOLDFAST_COMMAND', report.message, cause));
        this.#spawned.delete(report.id);
        return;
      }
      case 'called':
        this.#called();
        return;
      case 'ready-told':
        this.#ready.get(report.id)?.();
        return;
      case 'exited':
        this.#ready.delete(report.id);
        this.#exited.get(report.id)?.({ code: report.code, signal: report.signal });
        this.#exited.delete(report.id);
        return;
      case 'ready':
      case 'unavailable':
        return;
    }
  }
}
