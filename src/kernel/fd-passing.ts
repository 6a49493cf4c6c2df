import type { UnixAddress } from '../model/address.js';
import { close } from './fd.js';
import { addressOf, check, declare, type Fd } from './libc.js';
import { encodeSocketAddress } from './sockaddr.js';

const socket = declare('int socket(int family, int type, int protocol)');
const sendmsg = declare('intptr_t sendmsg(int fd, const void *message, int flags)');

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
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
