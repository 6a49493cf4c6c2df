import { readFileSync } from 'node:fs';
import { errorCode } from '../errors.js';
import { check, declare } from './libc.js';

const setrlimit = declare('int setrlimit(int resource, const void *limits)');

const RLIMIT_NOFILE = 7;

/** A limit on the number of open files. @see getrlimit(2) */
export interface OpenFilesLimit {
  readonly soft: bigint;
  readonly hard: bigint;
}

/** The limit of a process; undefined when it cannot be read or has no bound. @see proc(5) /proc/PID/limits */
export function openFilesLimit(pid: number | 'self'): OpenFilesLimit | undefined {
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
export function setOpenFilesLimit({ soft, hard }: OpenFilesLimit): void {
  const limits = Buffer.alloc(16);
  limits.writeBigUInt64LE(soft, 0);
  limits.writeBigUInt64LE(hard, 8);
  check('setrlimit', setrlimit(RLIMIT_NOFILE, limits));
}
