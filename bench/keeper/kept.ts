import { setTimeout as sleep } from 'node:timers/promises';
import { descendantsOf } from '../../test/support/proc.js';
import { until } from '../../test/support/wait.js';
import { ask } from '../support/ask.js';
import type { Stoppable } from '../support/rounds.js';

/** A running server, bare or with whatever keeps it. */
export interface Kept extends Stoppable {
  readonly port: number;
  /** The supervisor's first process; of a bare server its own. */
  readonly root: number;
  /** Begins a reload in the way of whatever keeps the server, which may be over before or after this is. */
  reload?(): Promise<unknown>;
  /** Whose processes are whose, now. */
  processes(): Promise<Processes>;
}

export interface Processes {
  /** What keeps the server; none when it runs bare. */
  readonly supervisor: readonly number[];
  readonly server: readonly number[];
}

/** What was started. */
export interface Begun extends Stoppable {
  readonly port: number;
  /** The supervisor's first process; of a bare server its own. */
  readonly root: number;
  readonly bare: boolean;
  /** How many copies of the server run. Default 1. With more, all that the root has started is the server's. */
  readonly workers?: number | undefined;
  reload?(): Promise<unknown>;
}

/** Waits until the server answers and all its workers run. @throws Error, and stops what was started, when not. */
export async function whenAnswering(begun: Begun): Promise<Kept> {
  const { port, root, bare, workers = 1, reload } = begun;
  try {
    await answering(port);
    // They are counted once, and the first of them answers before the last has been started.
    if (workers > 1) await until(`${workers} workers`, () => descendantsOf(root).length >= workers);
  } catch (error) {
    await begun.stop();
    throw error;
  }
  return {
    port,
    root,
    stop: () => begun.stop(),
    ...(reload === undefined ? {} : { reload }),
    processes: async () => {
      const everyone = [root, ...descendantsOf(root)];
      if (bare) return { supervisor: [], server: everyone };
      if (workers > 1) return { supervisor: [root], server: descendantsOf(root) };
      const server = serverOf(root, await answering(port));
      return { supervisor: everyone.filter((pid) => !server.includes(pid)), server };
    },
  };
}

/** Asks until the server answers; gives the pid that did. */
export async function answering(port: number, timeoutMs = 20_000): Promise<number> {
  for (const deadlineMs = performance.now() + timeoutMs; performance.now() < deadlineMs; await sleep(20)) {
    const pid = await ask(port);
    if (pid !== undefined) return pid;
  }
  throw new Error(`no answer on port ${port} within ${timeoutMs} ms`);
}

/** The child of the root that answers, or has a descendant that does, with all its descendants. */
function serverOf(root: number, answers: number): number[] {
  for (const child of childrenOf(root)) {
    const tree = [child, ...descendantsOf(child)];
    if (tree.includes(answers)) return tree;
  }
  throw new Error(`pid ${answers} answers and does not descend from ${root}`);
}

function childrenOf(pid: number): number[] {
  const descendants = descendantsOf(pid);
  const deeper = new Set(descendants.flatMap((child) => descendantsOf(child)));
  return descendants.filter((child) => !deeper.has(child));
}
