import { readdirSync, readFileSync } from 'node:fs';

export interface Memory {
  readonly rssMb: number;
  /** Not shared with any other process: what would be free again without it. */
  readonly privateMb: number;
}

/** What the processes have together. RSS counts a page once for each process that maps it. @see proc_pid_smaps_rollup(5) */
export function memoryOf(pids: readonly number[]): Memory {
  let rssKb = 0;
  let privateKb = 0;
  for (const pid of pids) {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    for (const [, name, kb] of text.matchAll(/^(Rss|Private_\w+): +(\d+) kB$/gm)) {
      if (name === 'Rss') rssKb += Number(kb);
      else privateKb += Number(kb);
    }
  }
  return { rssMb: rssKb / 1024, privateMb: privateKb / 1024 };
}

/**
 * The time that living threads of the processes have spent on a CPU, in ms. From schedstat, which counts nanoseconds:
 * utime and stime of `stat` count ticks of 10 ms, more than an idle keeper uses in a run.
 */
export function cpuMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + cpuNsOf(pid), 0) / 1e6;
}

function cpuNsOf(pid: number): number {
  let ns = 0;
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) ns += threadNsOf(pid, thread);
  } catch {
    // ENOENT, ESRCH: the process ended meanwhile, one of a look at the keeper's tree
  }
  return ns;
}

function threadNsOf(pid: number, thread: string): number {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  } catch {
    // ENOENT, ESRCH: the thread ended meanwhile
    return 0;
  }
}

/** The CPU time that the whole machine has used, in ms. Counted in ticks. @see proc_stat(5) */
export function machineCpuMs(): number {
  const [, user, nice, system, , , irq, softirq] =
    readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]?.split(/ +/) ?? [];
  return TICK_MS * [user, nice, system, irq, softirq].reduce((sum, ticks) => sum + Number(ticks), 0);
}

/** The CPU time of this process and of its children that have ended, in ms. Counted in ticks. @see proc_pid_stat(5) */
export function ownCpuMs(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const [utime, stime, cutime, cstime] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11);
  return TICK_MS * [utime, stime, cutime, cstime].reduce((sum, ticks) => sum + Number(ticks), 0);
}

/** USER_HZ, which is 100 on every architecture that Node runs on. */
const TICK_MS = 10;
