import { closeSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import { errorCode, isForbidden } from '../errors.js';

/** One process, as /proc/PID/stat tells it. @see proc(5) */
export interface ProcessStat {
  readonly pid: number;
  /** The first 15 bytes of its name. */
  readonly comm: string;
  /** R, S, D, Z (ended, not yet reaped), T … */
  readonly state: string;
  readonly ppid: number;
  readonly processGroup: number;
  readonly session: number;
  /** Device number of the controlling terminal, 0 for none. */
  readonly terminal: number;
  /** Foreground process group of that terminal, -1 for none. */
  readonly foregroundGroup: number;
  /** When it started, in clock ticks since boot: pid and this name a process without a doubt. */
  readonly startTime: number;
  /** How many threads it has; its first one counts as long as others live, though it may have ended. */
  readonly threads: number;
  /** Whether it is a thread of the kernel, which has no program. */
  readonly isKernelThread: boolean;
  /** Whether its first thread is ending: its files may be closed already, long before it is a zombie on a busy machine. */
  readonly isExiting: boolean;
  /** Whether it has begun a program since it was forked; before that it has the files and the memory of its parent. */
  readonly hasBegunProgram: boolean;
  /** Its wait status once it is a zombie; 0 for those who may not look into it. */
  readonly exitStatus: number;
}

/** In include/linux/sched.h. */
const PF_EXITING = 0x4;
const PF_FORKNOEXEC = 0x40;
const PF_KTHREAD = 0x200000;

/** What /proc tells of a process, or undefined when it has ended. */
export function processStat(pid: number | 'self'): ProcessStat | undefined {
  const text = readOrGone(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name is in parentheses and may hold any byte, so the fields are counted from the last one.
  const end = text.lastIndexOf(')');
  const fields = text.slice(end + 2).split(' ');
  const number = (index: number): number => Number(fields[index - 3]);
  return {
    pid: Number(text.slice(0, text.indexOf(' '))),
    comm: utf8(text.slice(text.indexOf('(') + 1, end)),
    state: fields[0] ?? '?',
    ppid: number(4),
    processGroup: number(5),
    session: number(6),
    terminal: number(7),
    foregroundGroup: number(8),
    startTime: number(22),
    threads: number(20),
    isKernelThread: (number(9) & PF_KTHREAD) !== 0,
    isExiting: (number(9) & PF_EXITING) !== 0,
    hasBegunProgram: (number(9) & PF_FORKNOEXEC) === 0,
    exitStatus: number(52),
  };
}

/** Whether it runs a program: is no kernel thread, and has not wholly ended. Only then it has files and namespaces. */
export function runsProgram(pid: number): boolean {
  const stat = processStat(pid);
  if (stat === undefined || stat.isKernelThread) return false;
  return stat.state !== 'Z' || stat.threads > 1;
}

/** The numbers of the processes that /proc shows. */
export function processNumbers(): readonly number[] {
  return numbersIn('/proc');
}

/** The numbers of the threads of a process; none when it has ended. */
export function threadsOf(pid: number): readonly number[] {
  return numbersIn(`/proc/${pid}/task`);
}

function numbersIn(folder: string): readonly number[] {
  return namesOrGone(folder).map(Number).filter(Number.isInteger);
}

/** Every process that /proc shows. */
export function allProcesses(): readonly ProcessStat[] {
  return processNumbers()
    .map((pid) => processStat(pid))
    .filter((stat) => stat !== undefined);
}

/**
 * The living children of a process, by the kernel's own list, which is one per thread that forked. `threads`: those
 * that can have children; default all. Undefined where the kernel keeps no such list (CONFIG_PROC_CHILDREN).
 */
export function childrenOf(pid: number, threads?: readonly number[]): readonly number[] | undefined {
  const children: number[] = [];
  for (const thread of threads ?? threadsOf(pid)) {
    const text = readOrGone(`/proc/${pid}/task/${thread}/children`);
    if (text === undefined && !hasChildrenLists()) return undefined;
    for (const child of text?.split(' ') ?? []) if (child !== '') children.push(Number(child));
  }
  return children;
}

let childrenLists: boolean | undefined;

function hasChildrenLists(): boolean {
  childrenLists ??= readOrGone(`/proc/self/task/${process.pid}/children`) !== undefined;
  return childrenLists;
}

/** A field of /proc/PID/status such as `Tgid`; undefined when it or the process is not there. */
export function statusField(pid: number | 'self', field: string): string | undefined {
  const text = readOrGone(`/proc/${pid}/status`);
  return text === undefined ? undefined : new RegExp(`^${field}:[ \\t]*(.*)$`, 'm').exec(text)?.[1];
}

/** Bits of the capability sets in /proc/PID/status. @see capabilities(7) */
export const CAP_NET_BIND_SERVICE = 10;
export const CAP_NET_ADMIN = 12;
export const CAP_SYS_PTRACE = 19;
export const CAP_SYS_ADMIN = 21;

/** Whether the process may use the capability now. */
export function hasCapability(pid: number | 'self', capability: number): boolean {
  const effective = BigInt(`0x${statusField(pid, 'CapEff') ?? '0'}`);
  return ((effective >> BigInt(capability)) & 1n) === 1n;
}

/** The process that a thread belongs to, or undefined when it has ended. */
export function threadGroup(tid: number): number | undefined {
  const field = statusField(tid, 'Tgid');
  return field === undefined ? undefined : Number(field);
}

/** The command line as its arguments; empty for a kernel thread or one that has ended. */
export function commandLine(pid: number): readonly string[] {
  const text = utf8(readOrGone(`/proc/${pid}/cmdline`) ?? '');
  return text.split('\0').filter((part, index, all) => part !== '' || index < all.length - 1);
}

/** One entry of /proc/PID/fd. `target` is what its link says, e.g. `socket:[1234]`. */
export interface OpenFile {
  readonly fd: number;
  readonly target: string;
}

/**
 * The open files of a process; none when it has ended.
 *
 * @throws {Error} EACCES: it is another user's, or not dumpable.
 */
export function openFiles(pid: number | 'self'): readonly OpenFile[] {
  const files: OpenFile[] = [];
  for (const name of namesOrGone(`/proc/${pid}/fd`)) {
    const target = linkOrGone(`/proc/${pid}/fd/${name}`);
    if (target !== undefined) files.push({ fd: Number(name), target });
  }
  return files;
}

/** The socket inode of a link such as `socket:[1234]`, or undefined. */
export function socketInodeOf(target: string): number | undefined {
  const found = /^socket:\[(\d+)\]$/.exec(target)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** The inode of the socket that a process has at that number; undefined when it has none there. @throws {Error} EACCES */
export function socketAt(pid: number, fd: number): number | undefined {
  const target = linkOrGone(`/proc/${pid}/fd/${fd}`);
  return target === undefined ? undefined : socketInodeOf(target);
}

/** The fds by which a process has the socket open, as far as `files` tells. @throws {Error} EACCES, as `openFiles` */
export function fdsOfSocket(
  pid: number,
  inode: number,
  files: readonly OpenFile[] = openFiles(pid),
): readonly number[] {
  const link = `socket:[${inode}]`;
  return files.filter((file) => file.target === link).map((file) => file.fd);
}

/** The flags of an fd as open(2) spells them, O_CLOEXEC included; undefined when it is not there. */
export function fdFlags(pid: number, fd: number): number | undefined {
  const flags = /^flags:\s*([0-7]+)/m.exec(readOrGone(`/proc/${pid}/fdinfo/${fd}`) ?? '')?.[1];
  return flags === undefined ? undefined : Number.parseInt(flags, 8);
}

/** One file that an epoll instance of a process watches. */
export interface EpollRegistration {
  /** Number of the epoll instance in the process. */
  readonly epoll: number;
  /** Number of the watched fd in the process. */
  readonly fd: number;
  readonly events: number;
  readonly data: bigint;
}

/** The registrations of the file with that inode in all epoll instances of the process. @see proc(5), fdinfo: tfd */
export function epollRegistrations(
  pid: number,
  inode: number,
  files: readonly OpenFile[] = openFiles(pid),
): readonly EpollRegistration[] {
  const watched = new RegExp(
    `^tfd:\\s*(\\d+) events:\\s*([0-9a-f]+) data:\\s*([0-9a-f]+) .*ino:${inode.toString(16)} `,
    'gm',
  );
  return files
    .filter((file) => file.target === 'anon_inode:[eventpoll]')
    .flatMap(({ fd: epoll }) =>
      [...(readOrGone(`/proc/${pid}/fdinfo/${epoll}`) ?? '').matchAll(watched)].map(
        ([, fd, events, data]) => ({
          epoll,
          fd: Number(fd),
          events: Number.parseInt(events ?? '0', 16),
          data: BigInt(`0x${data}`),
        }),
      ),
    );
}

/**
 * Reads a process's memory.
 *
 * @throws {Error} EACCES or EPERM: it may not be traced by us. EIO: nothing is mapped there.
 */
export function readMemory(pid: number, address: bigint, length: number): Buffer {
  const fd = openSync(`/proc/${pid}/mem`, 'r');
  try {
    const bytes = Buffer.alloc(length);
    const got = readSync(fd, bytes, 0, length, address);
    return bytes.subarray(0, got);
  } finally {
    closeSync(fd);
  }
}

/** An identity of the process's network namespace; undefined when it has ended or may not be looked into. */
export function networkNamespace(pid: number | 'self'): string | undefined {
  return namespaceOf(pid, 'net');
}

function namespaceOf(pid: number | 'self', kind: string): string | undefined {
  try {
    return linkOrGone(`/proc/${pid}/ns/${kind}`);
  } catch (error) {
    if (errorCode(error) === 'EACCES') return undefined;
    throw error;
  }
}

/** An identity of the process's user namespace; undefined when it has ended or may not be looked into. */
export function userNamespace(pid: number | 'self'): string | undefined {
  return namespaceOf(pid, 'user');
}

/** A variable of the environment that the process was started with, as far as its memory still has it. */
export function startEnvironment(pid: number, name: string): string | undefined {
  const text = readOrGone(`/proc/${pid}/environ`);
  const entry = text?.split('\0').find((line) => line.startsWith(`${name}=`));
  return entry === undefined ? undefined : utf8(entry.slice(name.length + 1));
}

/** The environment that the process was started with; undefined when it has written over it, as for a title. */
export function startVariables(pid: number): Readonly<Record<string, string>> | undefined {
  const text = utf8(readOrGone(`/proc/${pid}/environ`) ?? '');
  const entries = text === '' ? [] : text.replace(/\0$/, '').split('\0');
  if (entries.some((entry) => entry.indexOf('=') < 1)) return undefined;
  return Object.fromEntries(
    entries.map((entry) => {
      const at = entry.indexOf('=');
      return [entry.slice(0, at), entry.slice(at + 1)];
    }),
  );
}

/** Room for one read of most files in /proc; what is longer is read on. */
const page = Buffer.allocUnsafe(1 << 16);

/** A file of /proc, each byte a character (see `utf8`); undefined when it is not there or its process has ended. */
export function readOrGone(path: string): string | undefined {
  return orGone(() => {
    // readFileSync would ask for the size first, which /proc does not tell.
    const fd = openSync(path, 'r');
    try {
      let text = '';
      for (let length = readSync(fd, page); length > 0; length = readSync(fd, page)) {
        text += page.toString('latin1', 0, length);
      }
      return text;
    } finally {
      closeSync(fd);
    }
  });
}

/** Words of programs and users, out of bytes: a read may end within a character, so it is decoded afterwards. */
function utf8(bytes: string): string {
  return /[^\0-\x7f]/.test(bytes) ? Buffer.from(bytes, 'latin1').toString() : bytes;
}

/** What a link of /proc says; undefined when it is not there or its process has ended. */
export function linkOrGone(path: string): string | undefined {
  return orGone(() => readlinkSync(path));
}

/** The names in a folder of /proc; none when it is not there. */
export function namesOrGone(path: string): readonly string[] {
  return orGone(() => readdirSync(path)) ?? [];
}

/** ENOENT and ESRCH are /proc's ways to say that the process or fd has gone since. */
function orGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

/** A system call in which a thread waits. */
export interface WaitingCall {
  readonly nr: number;
  /** As the kernel passes them: unsigned. */
  readonly args: readonly bigint[];
}

/** The system call in which the thread waits; undefined when it runs, has ended or may not be looked into. */
export function waitingCall(pid: number, tid: number): WaitingCall | undefined {
  try {
    const text = readOrGone(`/proc/${pid}/task/${tid}/syscall`) ?? '';
    const [nr, ...args] = text.trim().split(' ');
    // `running` has no arguments; -1 is a wait outside any call.
    return args.length < 6 ? undefined : { nr: Number(nr), args: args.slice(0, 5).map(BigInt) };
  } catch (error) {
    if (isForbidden(error)) return undefined;
    throw error;
  }
}
