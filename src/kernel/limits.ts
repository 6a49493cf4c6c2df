import { readFileSync } from 'node:fs';
import { errorCode } from '../errors.js';
import { check, declare } from './libc.js';
import { readOrGone } from './procfs.js';

const setrlimit = declare('int setrlimit(int resource, const void *limits)');

const prlimit = declare('int prlimit(int pid, int resource, const void *wanted, void *former)');

const RLIMIT_NOFILE = 7;
/** RLIM_INFINITY. */
const INFINITE = 0xffffffffffffffffn;

/** A limit on what a process may use; 2^64 - 1: none. @see getrlimit(2) */
export interface ResourceLimit {
  readonly soft: bigint;
  readonly hard: bigint;
}

/** The limit of a process; undefined when it cannot be read or has no bound. @see proc(5) /proc/PID/limits */
export function openFilesLimit(pid: number | 'self'): ResourceLimit | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/limits`, 'utf8');
    const [, soft, hard] = /^Max open files\s+(\d+)\s+(\d+)/m.exec(text) ?? [];
    return soft === undefined || hard === undefined ? undefined : { soft: BigInt(soft), hard: BigInt(hard) };
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT' || code === 'EACCES' || code === 'ESRCH') return undefined;
    throw error;
  }
}

/** Sets this process's limit, which what it starts from now on inherits. @throws {SyscallError} EPERM */
export function setOpenFilesLimit(limit: ResourceLimit): void {
  check('setrlimit', setrlimit(RLIMIT_NOFILE, encode(limit)));
}

/** Names of the resources in /proc/PID/limits, by their number. @see fs/proc/base.c lnames */
const NAMES = [
  ...['cpu time', 'file size', 'data size', 'stack size', 'core file size', 'resident set', 'processes'],
  ...['open files', 'locked memory', 'address space', 'file locks', 'pending signals', 'msgqueue size'],
  ...['nice priority', 'realtime priority', 'realtime timeout'],
];

/** All limits of a process, by number of the resource; none when it has ended. @see proc_pid_limits(5) */
export function resourceLimits(pid: number): readonly ResourceLimit[] {
  const text = readOrGone(`/proc/${pid}/limits`);
  if (text === undefined) return [];
  const value = (word = 'unlimited'): bigint => (word === 'unlimited' ? INFINITE : BigInt(word));
  return NAMES.map((name) => {
    const [, soft, hard] = new RegExp(`^Max ${name} +(\\S+) +(\\S+)`, 'm').exec(text) ?? [];
    return { soft: value(soft), hard: value(hard) };
  });
}

/**
 * Sets the limits of a process, by number of the resource.
 *
 * @throws {SyscallError} EPERM: it is another user's, or a hard limit would be raised. ESRCH.
 * @see prlimit(2)
 */
export function setResourceLimits(pid: number, limits: readonly ResourceLimit[]): void {
  const present = resourceLimits(pid);
  for (const [resource, wanted] of limits.entries()) {
    const { soft, hard } = present[resource] ?? wanted;
    if (soft === wanted.soft && hard === wanted.hard) continue;
    check('prlimit', prlimit(pid, resource, encode(wanted), null));
  }
}

/** Options of the shell's ulimit that every shell has, by number of the resource, and the bytes or more of its unit. */
const ULIMIT: ReadonlyMap<number, readonly [option: string, unit: bigint]> = new Map([
  [0, ['t', 1n]],
  [1, ['f', 512n]],
  [2, ['d', 1024n]],
  [3, ['s', 1024n]],
  [4, ['c', 512n]],
  [7, ['n', 1n]],
  [8, ['l', 1024n]],
  [9, ['v', 1024n]],
]);

/**
 * Lines of a shell script that set limits, as far as shells can and may. A hard limit can only be lowered by an ordinary
 * user, and the soft one comes before it.
 */
export function ulimitLines(limits: readonly ResourceLimit[]): readonly string[] {
  return limits.flatMap(({ soft, hard }, resource) => {
    const known = ULIMIT.get(resource);
    if (known === undefined) return [];
    const [option, unit] = known;
    const text = (value: bigint): string => (value === INFINITE ? 'unlimited' : `${value / unit}`);
    const set = (kind: 'S' | 'H', value: bigint): string =>
      `ulimit -${kind}${option} ${text(value)} 2>/dev/null`;
    return [set('S', soft), set('H', hard), set('S', soft)];
  });
}

function encode({ soft, hard }: ResourceLimit): Buffer {
  const limits = Buffer.alloc(16);
  limits.writeBigUInt64LE(soft, 0);
  limits.writeBigUInt64LE(hard, 8);
  return limits;
}
