import { encodeRequest, REQUEST_ID, type TcpSocket } from './inet-diag.js';
import { SyscallError } from './libc.js';
import { NLM_F_ACK, NLMSG_HEADER, receive, received, sendMessages, withSockDiag } from './netlink.js';
import { AF_INET, AF_INET6, encodeHost } from './sockaddr.js';

const SOCK_DESTROY = 21;

/**
 * Ends a TCP socket or TIME_WAIT entry: the other end gets a reset, its own process ECONNABORTED.
 *
 * @throws {SyscallError} ENOENT: there is none. EPERM: no CAP_NET_ADMIN. EOPNOTSUPP: no CONFIG_INET_DIAG_DESTROY.
 * @see sock_diag(7) SOCK_DESTROY; tcp_abort() in net/ipv4/tcp.c
 */
export function destroyTcpSocket({
  local,
  peer,
  cookie,
}: Pick<TcpSocket, 'local' | 'peer' | 'cookie'>): void {
  const family = local.family === 'ipv4' ? AF_INET : AF_INET6;
  const request = encodeRequest(SOCK_DESTROY, NLM_F_ACK, family);
  request.writeUInt16BE(local.port, REQUEST_ID);
  request.writeUInt16BE(peer.port, REQUEST_ID + 2);
  encodeHost(local).copy(request, REQUEST_ID + 4);
  encodeHost(peer).copy(request, REQUEST_ID + 20);
  request.writeBigUInt64LE(cookie, REQUEST_ID + 40);
  withSockDiag((netlink) => {
    sendMessages(netlink, request);
    receive(netlink);
    const errno = -received.readInt32LE(NLMSG_HEADER);
    if (errno !== 0) throw new SyscallError('sock_diag', errno, local);
  });
}
