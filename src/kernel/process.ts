import { check, declare, lastErrno, syscall, syscallNumber } from './libc.js';

const prctl = declare(
  'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
);
const rawSetgroups = declare('long syscall(long number, size_t count, const void *groups)');
const nativeWait4 = declare('int wait4(int pid, void *status, int options, void *usage)');

const PR_SET_DUMPABLE = 4;
const PR_SET_CHILD_SUBREAPER = 36;
const PR_SET_NO_NEW_PRIVS = 38;
/** "Yama" in ASCII. */
const PR_SET_PTRACER = 0x59616d61;
const PR_SET_PTRACER_ANY = 0xffff_ffff_ffff_ffffn;
const EINVAL = 22;
const WNOHANG = 1;

/** The number of the calling thread. @see gettid(2) */
export function threadId(): number {
  return check('gettid', syscall('gettid'));
}

/** Makes orphaned descendants children of this process instead of pid 1. @see prctl(2) */
export function becomeSubreaper(): void {
  check('prctl', prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
}

/**
 * Gives up, for the calling thread and all that it starts, gaining privileges by execve (setuid programs, file
 * capabilities). There is no way back. @see prctl(2) PR_SET_NO_NEW_PRIVS
 */
export function setNoNewPrivileges(): void {
  check('prctl', prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

/**
 * Has Yama, at kernel.yama.ptrace_scope 1, let every process look into this one that otherwise may: of the same user, as
 * ptrace has it. Lasts through execve and is not inherited. Nothing where the kernel has no Yama.
 *
 * @see PR_SET_PTRACER(2const); yama_task_prctl() in security/yama/yama_lsm.c
 */
export function allowAnyTracer(): void {
  const result = prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
  if (result === -1 && lastErrno() !== EINVAL) check('prctl', result);
}

/** How a child ended. Exactly one is not null. */
export interface ChildEnd {
  readonly code: number | null;
  readonly signal: number | null;
}

/**
 * Reaps one child of ours if it has ended, undefined if it runs or is not ours. Never call it for a child that
 * Node started: libuv waits for those itself. @see wait4(2)
 */
export function reap(pid: number): ChildEnd | undefined {
  const status = Buffer.alloc(4);
  if (nativeWait4(pid, status, WNOHANG, null) !== pid) return undefined;
  return endOf(status.readInt32LE(0));
}

/** What a wait status says. @see WIFEXITED in wait(2) */
export function endOf(status: number): ChildEnd {
  const signal = status & 0x7f;
  return signal === 0 ? { code: (status >> 8) & 0xff, signal: null } : { code: null, signal };
}

/** Whom a process runs as. */
export interface Credentials {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups. */
  readonly groups: readonly number[];
}

/**
 * Runs `work` with the calling thread's effective identity changed; what it starts by execve keeps only that
 * identity. Other threads are not touched, which is why these are raw calls and not libc's.
 *
 * @throws {SyscallError} EPERM: not privileged.
 * @see setresuid(2), NOTES on threads; execve(2): the saved ids become copies of the effective ones
 */
export function withCredentials<T>(credentials: Credentials, own: Credentials, work: () => T): T {
  setGroups(credentials.groups);
  check('setresgid', syscall('setresgid', credentials.gid, credentials.gid, own.gid));
  check('setresuid', syscall('setresuid', credentials.uid, credentials.uid, own.uid));
  try {
    return work();
  } finally {
    check('setresuid', syscall('setresuid', own.uid, own.uid, own.uid));
    check('setresgid', syscall('setresgid', own.gid, own.gid, own.gid));
    setGroups(own.groups);
    // Changing ids made the process undumpable, which would hide /proc/self from its own user.
    check('prctl', prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
  }
}

function setGroups(groups: readonly number[]): void {
  const list = Buffer.alloc(Math.max(4, groups.length * 4));
  groups.forEach((gid, index) => {
    list.writeUInt32LE(gid, index * 4);
  });
  check('setgroups', rawSetgroups(syscallNumber('setgroups'), groups.length, list));
}
