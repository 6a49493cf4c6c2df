import { addressOf, check, declare, type Fd } from './libc.js';

const setsockopt = declare('int setsockopt(int fd, int level, int name, void *value, uint32_t length)');

const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SO_DETACH_FILTER = 27;

/** One operation of classic BPF: struct sock_filter of include/uapi/linux/filter.h. */
type Operation = readonly [code: number, ifTrue: number, ifFalse: number, value: number];

/** Of a segment the byte with its flags; it is dropped when of SYN and ACK it has SYN alone. */
const DROP_SYNS: readonly Operation[] = [
  [0x30, 0, 0, 13], // ld byte at 13 of the TCP header
  [0x54, 0, 0, 0x12], // and SYN | ACK
  [0x15, 0, 1, 0x02], // equal SYN?
  [0x06, 0, 0, 0], // ret 0: dropped
  [0x06, 0, 0, 0xffffffff], // ret: kept
];

/**
 * A listening socket answers no SYN any more, until `takeSyns`: clients send theirs again after a second. Connections whose
 * SYN has been answered come to its queue as ever. It holds for all who have the socket.
 *
 * @throws {SyscallError} EBADF, ENOTSOCK. ENOMEM: net.core.optmem_max.
 * @see socket(7) SO_ATTACH_FILTER; tcp_filter() in net/ipv4/tcp_ipv4.c, which gives a filter the segment from its TCP header on
 */
export function dropSyns(fd: Fd): void {
  const operations = Buffer.alloc(8 * DROP_SYNS.length);
  DROP_SYNS.forEach(([code, ifTrue, ifFalse, value], index) => {
    operations.writeUInt16LE(code, 8 * index);
    operations.writeUInt8(ifTrue, 8 * index + 2);
    operations.writeUInt8(ifFalse, 8 * index + 3);
    operations.writeUInt32LE(value, 8 * index + 4);
  });
  // struct sock_fprog
  const program = Buffer.alloc(16);
  program.writeUInt16LE(DROP_SYNS.length, 0);
  program.writeBigUInt64LE(addressOf(operations), 8);
  check('setsockopt', setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, program, program.length));
}

/** @throws {SyscallError} ENOENT: none are dropped. */
export function takeSyns(fd: Fd): void {
  check('setsockopt', setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, Buffer.alloc(4), 4));
}
