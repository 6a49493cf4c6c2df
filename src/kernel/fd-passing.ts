import type { UnixAddress } from '../model/address.js';
import { close } from './fd.js';
import { addressOf, check, declare, type Fd, lastErrno, SyscallError } from './libc.js';
import { encodeSocketAddress } from './sockaddr.js';

const socket = declare('int socket(int family, int type, int protocol)');
const sendmsg = declare('intptr_t sendmsg(int fd, const void *message, int flags)');
const recvmsg = declare('intptr_t recvmsg(int fd, void *message, int flags)');

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
const MSG_TRUNC = 0x20;
const MSG_CMSG_CLOEXEC = 0x40000000;
const EAGAIN = 11;
const CMSG_HEADER = 16;

/**
 * Sends one datagram with copies of fds to a unix socket.
 *
 * @throws {SyscallError} ENOENT, ECONNREFUSED: nobody receives there.
 * @see sendmsg(2), unix(7) SCM_RIGHTS
 */
export function sendDatagram(to: UnixAddress, text: string, fds: readonly Fd[] = []): void {
  const sender = check('socket', socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0));
  try {
    const name = encodeSocketAddress(to);
    const bytes = Buffer.from(text);
    const part = Buffer.alloc(16);
    part.writeBigUInt64LE(addressOf(bytes), 0);
    part.writeBigUInt64LE(BigInt(bytes.length), 8);
    const control = controlMessage(fds);
    const message = Buffer.alloc(56);
    message.writeBigUInt64LE(addressOf(name), 0);
    message.writeUInt32LE(name.length, 8);
    message.writeBigUInt64LE(addressOf(part), 16);
    message.writeBigUInt64LE(1n, 24);
    if (control.length > 0) message.writeBigUInt64LE(addressOf(control), 32);
    message.writeBigUInt64LE(BigInt(control.length), 40);
    check('sendmsg', Number(sendmsg(sender, message, MSG_NOSIGNAL)), to);
    // What the message points to must live until here.
    for (const memory of [name, bytes, part, control]) memory.fill(0);
  } finally {
    close(sender);
  }
}

function controlMessage(fds: readonly Fd[]): Buffer {
  if (fds.length === 0) return Buffer.alloc(0);
  const length = CMSG_HEADER + 4 * fds.length;
  const control = Buffer.alloc(Math.ceil(length / 8) * 8);
  control.writeBigUInt64LE(BigInt(length), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  fds.forEach((fd, index) => {
    control.writeInt32LE(fd, CMSG_HEADER + 4 * index);
  });
  return control;
}

/** What has come to a datagram socket. */
export interface Datagram {
  readonly text: string;
  /** It was longer than there was room for. */
  readonly isCut: boolean;
  /** Control messages one after another, as cmsg(3) has them. Fds in them are ours now, close-on-exec. */
  readonly control: Buffer;
}

/**
 * Receives one datagram; undefined when none waits and the socket is non-blocking. `textMax`, `controlMax`: room in bytes.
 *
 * @throws {SyscallError} @see recvmsg(2)
 */
export function receiveDatagram(
  from: Fd,
  { textMax, controlMax }: { readonly textMax: number; readonly controlMax: number },
): Datagram | undefined {
  const text = Buffer.alloc(textMax);
  const control = Buffer.alloc(controlMax);
  const part = Buffer.alloc(16);
  part.writeBigUInt64LE(addressOf(text), 0);
  part.writeBigUInt64LE(BigInt(text.length), 8);
  const message = Buffer.alloc(56);
  message.writeBigUInt64LE(addressOf(part), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(addressOf(control), 32);
  message.writeBigUInt64LE(BigInt(control.length), 40);
  const length = Number(recvmsg(from, message, MSG_CMSG_CLOEXEC));
  if (length === -1) {
    const errno = lastErrno();
    if (errno === EAGAIN) return undefined;
    throw new SyscallError('recvmsg', errno);
  }
  // What the message points to must live until here.
  part.fill(0);
  return {
    text: text.toString('utf8', 0, length),
    isCut: (message.readInt32LE(48) & MSG_TRUNC) !== 0,
    control: control.subarray(0, Number(message.readBigUInt64LE(40))),
  };
}
