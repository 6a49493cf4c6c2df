import type { InetAddress } from '../model/address.js';
import type { PortRange } from './inet-diag.js';
import type { Fd } from './libc.js';
import { attachProgram, type BpfInstruction, SOL_SOCKET, setSocketOption } from './socket.js';

const SO_ATTACH_REUSEPORT_CBPF = 51;
const SO_DETACH_REUSEPORT_BPF = 68;

/** Where the IP header begins, and a random number, for classic BPF. @see include/uapi/linux/filter.h */
const NET = -0x100000;
const RANDOM = -0x1000 + 56;
const IPPROTO_TCP = 6;

/** Stands for a jump to what follows the check: no jump within it is so long. */
const ELSE = 0xff;

/** Whom a group gives new connections to. Members are named by their index, see model/reuseport-group.ts. */
export interface Steering {
  /** The members that get clients, each as often as any other. */
  readonly to: readonly number[];
  /**
   * Connections that this machine makes to itself from these source ports go to that member instead. They have one
   * address at both ends, which no handshake with another machine has: its clients may come from any port.
   */
  readonly check?: { readonly sourcePorts: PortRange; readonly index: number } | undefined;
  /** Of the group's sockets. */
  readonly family: InetAddress['family'];
}

/**
 * Makes the socket's SO_REUSEPORT group give new connections to some of its members. The program belongs to the
 * group, not to the socket. An index that no member has means any member, by a hash.
 *
 * @throws {SyscallError} EINVAL: the socket listens without being in a group, or `to` is empty. EOPNOTSUPP: MPTCP.
 *   ENOMEM: net.core.optmem_max has no room, which of 20 KiB some 800 members need.
 * @see socket(7) SO_ATTACH_REUSEPORT_CBPF; run_bpf_filter() in net/core/sock_reuseport.c
 */
export function steerGroup(fd: Fd, { to, check, family }: Steering): void {
  const checkFirst = check === undefined ? [] : toChecked(check.sourcePorts, check.index, family);
  attachProgram(fd, SO_ATTACH_REUSEPORT_CBPF, [...checkFirst, ...toAnyOf(to)]);
}

/** The same to one member, whatever the family. */
export function steerGroupTo(fd: Fd, index: number): void {
  attachProgram(fd, SO_ATTACH_REUSEPORT_CBPF, toAnyOf([index]));
}

/**
 * Leaves it to the kernel again whom the group gives new connections to: each member by a hash of the addresses.
 *
 * @throws {SyscallError} ENOENT: the group has no program. EINVAL: there is no group.
 * @see reuseport_detach_prog() in net/core/sock_reuseport.c, Linux >= 5.3
 */
export function unsteerGroup(fd: Fd): void {
  setSocketOption(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, Buffer.alloc(4));
}

function toAnyOf(indexes: readonly number[]): readonly BpfInstruction[] {
  const last = indexes.length - 1;
  const answers = indexes.flatMap((index, at): readonly BpfInstruction[] =>
    // One after the other: a jump to the right one could be too long, for it has 8 bits.
    at === last ? [ret(index)] : [[0x15, 0, 1, at], ret(index)],
  );
  if (last === 0) return answers;
  return [
    [0x20, 0, 0, RANDOM], // ld
    [0x94, 0, 0, indexes.length], // mod
    ...answers,
  ];
}

function toChecked(
  { from, to }: PortRange,
  index: number,
  family: InetAddress['family'],
): readonly BpfInstruction[] {
  const program: readonly BpfInstruction[] = [
    ...(family === 'ipv4' ? SOURCE_PORT_4 : SOURCE_PORT),
    [0x35, 0, ELSE, from], // jge
    [0x25, ELSE, 0, to], // jgt
    ret(index),
  ];
  const jump = (by: number, at: number): number => (by === ELSE ? program.length - 1 - at : by);
  return program.map(([code, yes, no, k], at) => [code, jump(yes, at), jump(no, at), k]);
}

/** Loads the source port of an IPv4 packet from this machine to itself. */
const SOURCE_PORT_4: readonly BpfInstruction[] = [
  ...sameWords(12, 16, 1),
  [0xb1, 0, 0, NET], // ldx 4 * ([0] & 0xf): the length of the header, which may have options
  [0x48, 0, 0, NET], // ldh [x]
];

/** The same for IPv6. */
const SOURCE_PORT_6: readonly BpfInstruction[] = [
  [0x30, 0, 0, NET + 6], // ldb: the next header; with extension headers it is not TCP
  [0x15, 0, ELSE, IPPROTO_TCP],
  ...sameWords(8, 24, 4),
  [0x28, 0, 0, NET + 40], // ldh
];

/** The same for a socket that gets both. */
const SOURCE_PORT: readonly BpfInstruction[] = [
  [0x30, 0, 0, NET], // ldb: the version is its upper half
  [0x54, 0, 0, 0xf0], // and
  [0x15, 0, SOURCE_PORT_4.length + 1, 0x40], // jeq
  ...SOURCE_PORT_4,
  [0x05, 0, 0, SOURCE_PORT_6.length], // ja
  ...SOURCE_PORT_6,
];

/** Goes on if so many words of the header are the same at both places. */
function sameWords(one: number, other: number, count: number): readonly BpfInstruction[] {
  return Array.from({ length: count }, (_, word): readonly BpfInstruction[] => [
    [0x20, 0, 0, NET + one + 4 * word], // ld
    [0x07, 0, 0, 0], // tax
    [0x20, 0, 0, NET + other + 4 * word], // ld
    [0x1d, 0, ELSE, 0], // jeq x
  ]).flat();
}

function ret(value: number): BpfInstruction {
  return [0x06, 0, 0, value];
}
