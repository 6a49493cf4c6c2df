import { spawnSync } from 'node:child_process';

/**
 * Does `work` before all else that the machine does, which would make single times several times as long; where that
 * is not allowed, `otherwise`, by default the same. What is started from here inherits it. A nice value would count
 * among the processes of one session only.
 *
 * @see chrt(1); sched(7), "The autogroup feature"
 */
export function undisturbed<T>(work: () => T, otherwise: () => T = work): T {
  const schedule = (policy: string, priority: number): boolean =>
    spawnSync('chrt', [policy, '--pid', `${priority}`, `${process.pid}`]).status === 0;
  if (!schedule('--fifo', 1)) return otherwise();
  try {
    return work();
  } finally {
    schedule('--other', 0);
  }
}
