import { close, open } from './fd.js';
import { addressOf, check, declare, type Fd, lastErrno, SyscallError, syscallInto } from './libc.js';
import { processNumbers, runsProgram, threadsOf } from './procfs.js';

const readlinkat = declare('intptr_t readlinkat(int fd, uintptr_t path, uintptr_t text, size_t size)');

/** struct linux_dirent64: inode 8 bytes, offset 8, length of the entry 2, type 1, name. @see getdents(2) */
const ENTRY_LENGTH = 16;
const ENTRY_NAME = 19;
const DOT = 0x2e;
const ZERO = 0x30;
const ENOENT = 2;
/** How a socket's link begins, before its inode. */
const SOCKET = Buffer.from('socket:[');

/** A socket in a process. */
export interface SocketFd {
  readonly pid: number;
  readonly fd: number;
  /** A thread that has it, told only when the first one has ended: then the process has no fds by its own number. */
  readonly thread?: number;
}

/** Who has the sockets that were looked for. */
export interface SocketWalk {
  /** By inode, every process and number by which it is open, as far as we may see. */
  readonly holders: ReadonlyMap<number, readonly SocketFd[]>;
  /** Processes whose fds we may not see: any of them may have any socket. */
  readonly hiddenPids: readonly number[];
  /** How many processes the time was too short for. */
  readonly skipped: number;
}

/**
 * Looks for sockets in every fd of every process, which costs about 4 us for each fd. Nothing less finds all who have
 * one: the kernel keeps no list of them. Inode 0 is no socket's; without any other there is nothing to look for, and
 * `hiddenPids` is empty. Ends when it has used `withinMs` of CPU time, by default when all is seen; this process is looked
 * into first, then what was started last. `pids`: those to look into, by default all.
 *
 * @see proc_pid_fd(5)
 */
export function walkSockets(
  inodes: ReadonlySet<number>,
  withinMs: number = Number.POSITIVE_INFINITY,
  pids?: readonly number[],
): SocketWalk {
  const holders = new Map<number, SocketFd[]>();
  const hiddenPids: number[] = [];
  let skipped = 0;
  if (![...inodes].some((inode) => inode !== 0)) return { holders, hiddenPids, skipped };
  const until = cpuMs() + withinMs;
  const others = (pids ?? processNumbers()).filter((pid) => pid !== process.pid);
  for (const [index, pid] of [process.pid, ...others.toReversed()].entries()) {
    const add = (inode: number, fd: number, thread?: number): void => {
      const holder = thread === undefined ? { pid, fd } : { pid, fd, thread };
      const known = holders.get(inode);
      if (known === undefined) holders.set(inode, [holder]);
      else known.push(holder);
    };
    const looked = cpuMs() > until ? 'late' : lookInto(pid, inodes, add, until);
    if (looked === 'hidden' && runsProgram(pid)) hiddenPids.push(pid);
    if (looked === 'late') {
      skipped = others.length + 1 - index;
      break;
    }
  }
  for (const found of holders.values()) found.sort((one, other) => one.pid - other.pid);
  return { holders, hiddenPids: hiddenPids.toReversed(), skipped };
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

type AddSocket = (inode: number, fd: number, thread?: number) => void;

/** How many fds there are; `hidden` when they are not for us to see, `late` when the time was over before all were. */
type Looked = number | 'hidden' | 'late';

function lookInto(pid: number, inodes: ReadonlySet<number>, add: AddSocket, until: number): Looked {
  const looked = lookIntoFolder(`/proc/${pid}/fd`, inodes, add, until);
  if (looked !== 0) return looked;
  // A process lives on when its first thread ends, but /proc/PID/fd is that thread's.
  for (const thread of threadsOf(pid)) {
    if (thread === pid) continue;
    const folder = `/proc/${pid}/task/${thread}/fd`;
    const ofThread = lookIntoFolder(folder, inodes, (inode, fd) => add(inode, fd, thread), until);
    if (ofThread !== 0) return ofThread;
  }
  return 0;
}

function lookIntoFolder(path: string, inodes: ReadonlySet<number>, add: AddSocket, until: number): Looked {
  let folder: Fd | undefined;
  try {
    folder = open(path);
    return lookIntoFds(folder, inodes, add, until);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    if (error.code === 'EACCES' || error.code === 'EPERM') return 'hidden';
    // /proc's ways to say that it has ended meanwhile.
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return 0;
    throw error;
  } finally {
    if (folder !== undefined) close(folder);
  }
}

const entries = Buffer.alloc(1 << 15);
const entriesAt = Number(addressOf(entries));
const link = Buffer.alloc(64);
const linkAt = Number(addressOf(link));

function lookIntoFds(
  folder: Fd,
  inodes: ReadonlySet<number>,
  add: AddSocket,
  until: number,
): number | 'late' {
  let count = 0;
  for (;;) {
    if (count > 0 && cpuMs() > until) return 'late';
    const length = check('getdents64', syscallInto('getdents64', folder, entries));
    if (length === 0) return count;
    for (let at = 0; at < length; at += entries.readUInt16LE(at + ENTRY_LENGTH)) {
      const name = at + ENTRY_NAME;
      if (entries[name] === DOT) continue;
      count++;
      // The name stays where it is, and its text ends with a zero byte.
      const size = Number(readlinkat(folder, entriesAt + name, linkAt, link.length));
      if (size === -1) throwUnlessClosed();
      else if (isSocket(size)) {
        const inode = numberAt(link, SOCKET.length);
        if (inodes.has(inode)) add(inode, numberAt(entries, name));
      }
    }
  }
}

/** An fd that was closed since its folder was read is no error. */
function throwUnlessClosed(): void {
  const errno = lastErrno();
  if (errno !== ENOENT) throw new SyscallError('readlinkat', errno);
}

/** Files have a path, which begins with `/`; pipes and others another word. */
function isSocket(size: number): boolean {
  return (
    size > SOCKET.length &&
    link[0] === SOCKET[0] &&
    link.compare(SOCKET, 0, SOCKET.length, 0, SOCKET.length) === 0
  );
}

function numberAt(bytes: Buffer, first: number): number {
  let number = 0;
  for (let at = first; ; at++) {
    const digit = (bytes[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 9) return number;
    number = number * 10 + digit;
  }
}
