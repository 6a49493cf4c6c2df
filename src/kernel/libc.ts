import { getSystemErrorMap } from 'node:util';
import koffi, { type LibraryHandle } from 'koffi';
import { formatAddress, type SocketAddress } from '../model/address.js';

/** A file descriptor of this process. Every one is born close-on-exec and has one owner that closes it. */
export type Fd = number;

/** The code of errno 95: Node spells it as POSIX does where Linux's manual says EOPNOTSUPP. */
export const EOPNOTSUPP = 'ENOTSUP';

/** The C library that this process already uses. */
export const libc: LibraryHandle = koffi.load(null);

/** A C function with fixed arguments, as koffi gives it. */
type CFunction = (...args: readonly unknown[]) => number;

/** A system call that failed, shaped as Node shapes its network errors. `errno` is negative, as in Node. */
export class SyscallError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly address?: string;
  readonly port?: number;

  constructor(syscall: string, errno: number, at?: SocketAddress) {
    const [code, text] = getSystemErrorMap().get(-errno) ?? [`E${errno}`, 'unknown error'];
    super(`${syscall} ${code}: ${text}${at ? ` ${formatAddress(at)}` : ''}`);
    this.name = 'SyscallError';
    this.code = code;
    this.errno = -errno;
    this.syscall = syscall;
    if (at?.family === 'unix') this.address = at.path;
    else if (at) {
      this.address = at.host;
      this.port = at.port;
    }
  }
}

/** Gives `result` back, or throws the SyscallError that errno describes when it is -1. */
export function check(syscall: string, result: number, at?: SocketAddress): number {
  // errno lives until the next libc call, so it is read before anything else runs.
  if (result === -1) throw new SyscallError(syscall, koffi.errno(), at);
  return result;
}

/** errno of the last failed call in this thread, positive. */
export function lastErrno(): number {
  return koffi.errno();
}

/** Declares a C function, e.g. `declare('int listen(int fd, int backlog)')`. */
export function declare(prototype: string): CFunction {
  return libc.func(prototype) as unknown as CFunction;
}

/**
 * Declares the same C function to run in libuv's thread pool. Resolves to its result and its errno, which the
 * pool's thread had.
 */
export function declareAsync(prototype: string): (...args: readonly unknown[]) => Promise<number> {
  const native = libc.func(prototype);
  return (...args) =>
    new Promise((resolve, reject) => {
      native.async(...args, (error: Error | null, result: number) => {
        if (error) reject(error);
        else resolve(result);
      });
    });
}

const rawSyscall = libc.func('long syscall(long number, long a, long b, long c, long d, long e)');
const rawSyscallPointer = libc.func('long syscall(long number, long a, long b, void *c, long d, long e)');

const rawSyscallRead = libc.func('long syscall(long number, long a, void *b, size_t c)');

/** Numbers of the calls that the C libraries we run on may have no function for. */
const NUMBERS = {
  x64: {
    bind: 49,
    listen: 50,
    setsockopt: 54,
    getdents64: 217,
    gettid: 186,
    accept: 43,
    accept4: 288,
    poll: 7,
    ppoll: 271,
    select: 23,
    pselect6: 270,
    ioUringEnter: 426,
    setgroups: 116,
    setfsuid: 122,
    setresuid: 117,
    setresgid: 119,
    seccomp: 317,
    pidfdSendSignal: 424,
    pidfdOpen: 434,
    pidfdGetfd: 438,
  },
  arm64: {
    bind: 200,
    listen: 201,
    setsockopt: 208,
    getdents64: 61,
    gettid: 178,
    accept: 202,
    accept4: 242,
    // There are none on arm64; libc calls the others.
    poll: -1,
    select: -1,
    ppoll: 73,
    pselect6: 72,
    ioUringEnter: 426,
    setgroups: 159,
    setfsuid: 151,
    setresuid: 147,
    setresgid: 149,
    seccomp: 277,
    pidfdSendSignal: 424,
    pidfdOpen: 434,
    pidfdGetfd: 438,
  },
} as const;

export type SyscallName = keyof (typeof NUMBERS)['x64'];

/** The number of a system call on this architecture (arch/x86/entry/syscalls, include/uapi/asm-generic). */
export function syscallNumber(name: SyscallName): number {
  const table = NUMBERS[process.arch as keyof typeof NUMBERS];
  if (!table) throw new Error(`no system call table for ${process.arch}; holdfast knows x64 and arm64`);
  return table[name];
}

/** A raw system call of numbers. It acts on the calling thread alone, where libc's wrapper may act on all. */
export function syscall(name: SyscallName, a = 0, b = 0, c = 0, d = 0, e = 0): number {
  return Number(rawSyscall(syscallNumber(name), a, b, c, d, e));
}

/** The same with memory as its third argument. */
export function syscallWithMemory(name: SyscallName, a: number, b: number, c: Uint8Array | null): number {
  return Number(rawSyscallPointer(syscallNumber(name), a, b, c, 0, 0));
}

/** The same with memory to fill, and its length, as the second and third. */
export function syscallInto(name: SyscallName, a: number, memory: Uint8Array): number {
  return Number(rawSyscallRead(syscallNumber(name), a, memory, memory.length));
}

/** The address of a buffer's first byte, for a pointer within a C struct. Keep the buffer referenced. */
export function addressOf(memory: Uint8Array): bigint {
  return BigInt(koffi.address(memory) as bigint | number);
}
