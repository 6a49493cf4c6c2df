import { statSync } from 'node:fs';
import { errorCode, isForbidden } from '../errors.js';
import { declare } from './libc.js';
import {
  linkOrGone,
  namesOrGone,
  type ProcessStat,
  processStat,
  readOrGone,
  startEnvironment,
} from './procfs.js';

const sysconf = declare('long sysconf(int name)');

/** Of sysconf(3), the same in glibc and musl. */
const SC_CLK_TCK = 2;

/** Deeper than any tree of processes that people make; a longer one is cut. */
const ANCESTORS_MAX = 64;

/**
 * The processes above this one, its parent first, up to pid 1 or to the first that may not be seen. A parent whose
 * number was given to somebody else between two looks is not told: it would have started later than its child.
 */
export function ancestors(of: ProcessStat): readonly ProcessStat[] {
  const found: ProcessStat[] = [];
  for (let child = of; child.ppid > 0 && found.length < ANCESTORS_MAX; ) {
    const parent = orHidden(() => processStat(child.ppid));
    if (parent === undefined || parent.startTime > child.startTime) break;
    found.push(parent);
    child = parent;
  }
  return found;
}

/** The folder that a process or thread is in; undefined when it has ended or may not be looked into. */
export function workingDirectory(pid: number): string | undefined {
  return orHidden(() => linkOrGone(`/proc/${pid}/cwd`));
}

/**
 * The program that a process or thread runs; undefined when it has ended, may not be looked into or is the kernel's.
 * Ends with ` (deleted)` when the file is gone, e.g. replaced by a newer one.
 */
export function executable(pid: number): string | undefined {
  return orHidden(() => linkOrGone(`/proc/${pid}/exe`));
}

/**
 * The effective uid; undefined when it has ended or may not be seen. The folder belongs to it whether or not the
 * process may be traced, unlike the files within.
 *
 * @see proc(5), /proc/pid; task_dump_owner() in fs/proc/base.c
 */
export function effectiveUid(pid: number): number | undefined {
  return orHidden(() => {
    try {
      return statSync(`/proc/${pid}`).uid;
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  });
}

/** A variable of the environment at the start; undefined also when it may not be read. */
export function environmentVariable(pid: number, name: string): string | undefined {
  return orHidden(() => startEnvironment(pid, name));
}

/** When a process started. Moves with the clock when that is set, as `btime` does. @see proc(5), /proc/stat */
export function startDate(stat: ProcessStat): Date {
  ticksPerSecond ??= sysconf(SC_CLK_TCK);
  return new Date(bootSeconds() * 1000 + Math.round((stat.startTime * 1000) / ticksPerSecond));
}

let ticksPerSecond: number | undefined;
let bootedAt: number | undefined;

/** Read once: on machines with many interrupts this file is the slowest of /proc. */
function bootSeconds(): number {
  bootedAt ??= Number(/^btime (\d+)/m.exec(readOrGone('/proc/stat') ?? '')?.[1] ?? 0);
  return bootedAt;
}

/** Of Documentation/admin-guide/devices.txt: UNIX98 pseudo terminals, and how many one major number had in old times. */
const PTS_MAJOR = 136;
const PTS_MAJORS = 8;
const PTS_PER_MAJOR = 256;

/**
 * The path below /dev of the controlling terminal, `pts/3` or `ttyS0`; undefined for none.
 *
 * @see proc_pid_stat(5), tty_nr; new_encode_dev() in include/linux/kdev_t.h
 */
export function terminalName(stat: ProcessStat): string | undefined {
  if (stat.terminal === 0) return undefined;
  const major = (stat.terminal >> 8) & 0xfff;
  const minor = (stat.terminal & 0xff) | ((stat.terminal >>> 12) & 0xfff00);
  const block = major - PTS_MAJOR;
  if (block >= 0 && block < PTS_MAJORS) return `pts/${block * PTS_PER_MAJOR + minor}`;
  // Pseudo terminals are not in sysfs, all others are.
  const device = orHidden(() => readOrGone(`/sys/dev/char/${major}:${minor}/uevent`));
  return /^DEVNAME=(.*)$/m.exec(device ?? '')?.[1] ?? `${major}:${minor}`;
}

/**
 * The threads that run. A leader that has called pthread_exit(3) is not among them: it stays as a zombie, and what it
 * had open is seen through the others.
 */
export function livingThreads(pid: number): readonly number[] {
  return (orHidden(() => namesOrGone(`/proc/${pid}/task`)) ?? []).map(Number).filter((tid) => {
    const state = orHidden(() => readOrGone(`/proc/${pid}/task/${tid}/stat`))?.replace(/^.*\) /s, '')[0];
    return state !== undefined && state !== 'Z' && state !== 'X';
  });
}

/** The v1 hierarchies in the order in which their paths tell most; systemd's own has every unit. */
const V1_HIERARCHIES = ['name=systemd', 'pids', 'memory', 'cpu', 'devices', 'freezer'];

/**
 * The process's cgroup, seen from our cgroup namespace: that of version 2, or of version 1 where the other is not used
 * (`/` on machines that have both). Undefined when it has ended or may not be seen.
 *
 * @see cgroups(7), /proc/pid/cgroup
 */
export function cgroupPath(pid: number): string | undefined {
  const text = orHidden(() => readOrGone(`/proc/${pid}/cgroup`));
  return text === undefined ? undefined : cgroupPathIn(text);
}

/** The same from the text of the file. Pure. */
export function cgroupPathIn(text: string): string | undefined {
  const paths = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*?)(?: \(deleted\))?$/.exec(line) ?? [];
    if (path === undefined) continue;
    for (const name of controllers?.split(',') ?? []) paths.set(name, path);
  }
  const told = ['', ...V1_HIERARCHIES].map((name) => paths.get(name)).filter((path) => path !== undefined);
  return told.find((path) => path !== '/') ?? told[0];
}

/** EACCES and EPERM are what /proc says of processes that are another user's, not dumpable or hidden (hidepid=1). */
function orHidden<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isForbidden(error)) return undefined;
    throw error;
  }
}
