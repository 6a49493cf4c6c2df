import { randomBytes } from 'node:crypto';
import { allProcesses, childrenOf, processStat } from '../kernel/procfs.js';
import { ownProcesses } from './own-processes.js';
import { type ProcessId, WorkerTree, type WorkerTreeOptions, workerMarkOf } from './tree.js';
import type { Worker } from './worker.js';

export interface WorkerProcessesOptions {
  /** The keeper's. */
  readonly name: string;
  /** This process starts nothing else, so that every orphan that comes to it is the server's and is reaped. */
  readonly reapsAll: boolean;
  /** Those of all generations; the active one's come first. */
  readonly workers: () => readonly Worker[];
  /** The number of our thread that starts them. */
  readonly spawnerThread: () => number;
}

/** Which process is which worker's. */
export class WorkerProcesses {
  /** With this the marks of its workers begin. Other users can not guess it. */
  readonly keeper: string;
  readonly #options: WorkerProcessesOptions;
  /** Children that this process had before: not the server's. */
  readonly #before: ReadonlySet<number> = new Set(orphans());

  constructor(options: WorkerProcessesOptions) {
    this.#options = options;
    this.keeper = `${options.name}:${process.pid}:${randomBytes(8).toString('hex')}`;
  }

  /** What every process of the worker has as WORKER_VARIABLE. */
  markOf({ id }: Worker): string {
    return `${this.keeper}:${id}`;
  }

  treeOf(worker: Worker, its: Pick<WorkerTreeOptions, 'root' | 'mark' | 'adopted'>): WorkerTree {
    const { reapsAll, workers, spawnerThread } = this.#options;
    return new WorkerTree({
      ...its,
      spawnerThread: spawnerThread(),
      ownsOrphans: reapsAll && process.pid !== 1,
      before: this.#before,
      isOthers: (process, mark) => this.#isOfOther(worker, process, mark),
      takesStrays: () => workers()[0] === worker,
    });
  }

  /**
   * Whose process that is; where nothing tells, that of a worker that is being started. With one worker there is nothing to
   * look for, and its bind waits for the answer.
   */
  whose(pid: number): Worker | undefined {
    const workers = this.#options.workers();
    if (workers.length <= 1) return workers[0];
    for (let at = pid; at > 1 && at !== process.pid; at = processStat(at)?.ppid ?? 0) {
      const worker = workers.find(({ root }) => root?.pid === at);
      if (worker !== undefined) return worker;
    }
    const stat = processStat(pid);
    const known = workers.find(({ tree }) => stat !== undefined && tree?.knows(stat));
    return (
      known ??
      this.#marked(workerMarkOf(pid)) ??
      this.memberOf(pid) ??
      workers.find(({ root }) => root === undefined) ??
      workers[0]
    );
  }

  /** The worker of which that is a process beyond doubt. */
  memberOf(pid: number): Worker | undefined {
    return this.#options.workers().find(({ tree }) => tree?.members().some((member) => member.pid === pid));
  }

  /** A child of this process has ended. */
  childEnded(): void {
    this.reapOrphans();
    for (const worker of this.#options.workers()) worker.childEnded();
  }

  /** Reaps orphans of the server that ended as our children. libuv waits for the first processes itself. */
  reapOrphans(): void {
    const workers = this.#options.workers();
    for (const pid of orphans()) {
      const stat = processStat(pid);
      if (stat?.state !== 'Z' || ownProcesses.has(pid)) continue;
      const owner = workers.find(({ tree }) => tree?.knows(stat));
      if (owner !== undefined) owner.reap(pid);
      else if (this.#options.reapsAll) workers[0]?.reap(pid);
    }
  }

  /** The worker whose processes say that of themselves. */
  #marked(mark: string | undefined): Worker | undefined {
    return this.#options.workers().find((worker) => mark === (worker.tree?.mark ?? this.markOf(worker)));
  }

  #isOfOther(worker: Worker, process: ProcessId, mark: string | undefined): boolean {
    const marked = this.#marked(mark);
    if (marked !== undefined && marked !== worker) return true;
    return this.#options
      .workers()
      .some((other) => other !== worker && (other.root?.pid === process.pid || other.tree?.knows(process)));
  }
}

/** Children that we did not start: they come to the main thread, what we start is the spawner thread's. */
function orphans(): readonly number[] {
  return (
    childrenOf(process.pid, [process.pid]) ??
    allProcesses()
      .filter((stat) => stat.ppid === process.pid)
      .map((stat) => stat.pid)
  );
}
