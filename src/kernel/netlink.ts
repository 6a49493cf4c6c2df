import { close } from './fd.js';
import { check, declare, type Fd, lastErrno, SyscallError } from './libc.js';

const socket = declare('int socket(int family, int type, int protocol)');
const send = declare('intptr_t send(int fd, const void *bytes, size_t length, int flags)');
const recv = declare('intptr_t recv(int fd, void *bytes, size_t length, int flags)');

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const NETLINK_SOCK_DIAG = 4;
const MSG_DONTWAIT = 0x40;
const EAGAIN = 11;
const ENOBUFS = 105;
const ANSWER_MAX = 1 << 16;

/** Bytes of a message before its body: length, type, flags, sequence number, port id. @see netlink(7) */
export const NLMSG_HEADER = 16;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLM_F_REQUEST = 0x1;
/** More of the same dump follow. */
export const NLM_F_MULTI = 0x2;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
/** The kernel's table changed while it was dumped, so that entries may be missing. */
export const NLM_F_DUMP_INTR = 0x10;

export const STOP = -1;

/** What was received last. One for all: a buffer for each dump would be most of what a dump costs. */
export const received: Buffer = Buffer.alloc(ANSWER_MAX);

const words = new Uint32Array(received.buffer, received.byteOffset, received.length / 4);

/** The 32-bit number at that place of `received`, which netlink aligns. Faster than Buffer's, before it is compiled too. */
export function word(at: number): number {
  return words[at >> 2] ?? 0;
}

/** A netlink socket to ask about sockets. The caller closes it. @throws {SyscallError} EPROTONOSUPPORT @see sock_diag(7) */
export function openSockDiag({ nonBlocking = false }: { readonly nonBlocking?: boolean } = {}): Fd {
  const type = SOCK_RAW_CLOEXEC | (nonBlocking ? SOCK_NONBLOCK : 0);
  return check('socket', socket(AF_NETLINK, type, NETLINK_SOCK_DIAG));
}

/** The same for as long as the work takes. */
export function withSockDiag<T>(work: (netlink: Fd) => T): T {
  const netlink = openSockDiag();
  try {
    return work(netlink);
  } finally {
    close(netlink);
  }
}

/** Sends one message or several in a row. The kernel has done what they ask when the call is over. */
export function sendMessages(netlink: Fd, messages: Uint8Array): void {
  check('send', Number(send(netlink, messages, messages.length, 0)));
}

/** Waits for an answer and puts it into `received`. Gives its length in bytes. */
export function receive(netlink: Fd): number {
  return check('recv', Number(recv(netlink, received, received.length, 0)));
}

/**
 * The same without waiting. `none`: nothing is there. `overrun`: the kernel had no room for all that it had to say
 * (ENOBUFS), some of which is lost.
 */
export function receiveNow(netlink: Fd): number | 'none' | 'overrun' {
  const length = Number(recv(netlink, received, received.length, MSG_DONTWAIT));
  if (length !== -1) return length;
  const errno = lastErrno();
  if (errno === EAGAIN) return 'none';
  if (errno === ENOBUFS) return 'overrun';
  throw new SyscallError('recv', errno);
}

/**
 * Calls back with where each of the received messages begins and ends. The answer is where to go on, which is its end
 * or that of a later one, or STOP.
 */
export function eachMessage(length: number, visit: (at: number, end: number) => number): void {
  for (let at = 0; at !== STOP && at + NLMSG_HEADER <= length; ) {
    const size = word(at);
    if (size < NLMSG_HEADER) return;
    at = visit(at, at + ((size + 3) & ~3));
  }
}
