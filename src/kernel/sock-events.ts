import { close } from './fd.js';
import { decodeRow, type TcpSocket } from './inet-diag.js';
import { check, declare, type Fd } from './libc.js';
import { eachMessage, NLMSG_HEADER, openSockDiag, receiveNow } from './netlink.js';

const bind = declare('int bind(int fd, const void *address, uint32_t length)');

const AF_NETLINK = 16;
const SKNLGRP_INET_TCP_DESTROY = 1;
const SKNLGRP_INET6_TCP_DESTROY = 3;
/** Messages of one read, so that a storm of them cannot keep the event loop. */
const READS_MAX = 1024;

/**
 * A non-blocking fd that is readable when TCP sockets of this network namespace have ended, for a Poller. Read it with
 * `readDestroyed`. Any user may have it. The caller closes it.
 *
 * @throws {SyscallError} EPROTONOSUPPORT: the kernel has no sock_diag.
 * @see sock_diag_broadcast_destroy() in net/core/sock_diag.c, Linux >= 4.4
 */
export function subscribeToDestroyed(): Fd {
  const netlink = openSockDiag({ nonBlocking: true });
  try {
    // struct sockaddr_nl. Without bind the socket has no port id, like the kernel, and gets nothing that the kernel sends.
    const address = Buffer.alloc(12);
    address.writeUInt16LE(AF_NETLINK, 0);
    const groups = [SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY];
    address.writeUInt32LE(
      groups.reduce((mask, group) => mask | (1 << (group - 1)), 0),
      8,
    );
    check('bind', bind(netlink, address, address.length));
    return netlink;
  } catch (error) {
    close(netlink);
    throw error;
  }
}

/** What has ended since the last read. */
export interface Destroyed {
  /**
   * Sockets as they were at their very end: the state is CLOSE, and inode and uid are 0. One that goes on as a
   * TIME_WAIT entry is told when it becomes one; the end of the entry is not.
   */
  readonly sockets: readonly TcpSocket[];
  /** Whether more has ended than the kernel had room to tell (ENOBUFS): only a dump says what is left. */
  readonly overrun: boolean;
}

/** Reads what is there, up to some hundreds; the fd stays readable when there is more. Does not wait. */
export function readDestroyed(fd: Fd): Destroyed {
  const sockets: TcpSocket[] = [];
  let overrun = false;
  for (let reads = 0; reads < READS_MAX; reads++) {
    const length = receiveNow(fd);
    if (length === 'none') break;
    if (length === 'overrun') {
      overrun = true;
      continue;
    }
    eachMessage(length, (at, end) => {
      sockets.push(decodeRow(at + NLMSG_HEADER, end));
      return end;
    });
  }
  return { sockets, overrun };
}
