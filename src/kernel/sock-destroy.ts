import {
  encodeRequest,
  ID_SIZE,
  IPPROTO_TCP,
  type PortRange,
  REQUEST_ID,
  REQUEST_SIZE,
  ROW_ID,
  rangesOf,
  readRows,
  type TcpSocket,
  writeEnds,
} from './inet-diag.js';
import { isLeftover, type LeftoverState } from './leftovers.js';
import { type Fd, SyscallError } from './libc.js';
import {
  eachMessage,
  NLM_F_ACK,
  NLMSG_HEADER,
  receive,
  received,
  receiveNow,
  sendMessages,
  withSockDiag,
} from './netlink.js';
import { AF_INET, AF_INET6, encodeHost } from './sockaddr.js';

const SOCK_DESTROY = 21;
const ENOENT = 2;
const ESTALE = 116;
const ENOBUFS = 105;
/** Messages in one send. Were each of them refused, the refusals would fit the socket's receive buffer. */
const BATCH = 128;

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
  writeEnds(request, local, peer);
  request.writeBigUInt64LE(cookie, REQUEST_ID + 40);
  withSockDiag((netlink) => {
    sendMessages(netlink, request);
    receive(netlink);
    const errno = -received.readInt32LE(NLMSG_HEADER);
    if (errno !== 0) throw new SyscallError('sock_diag', errno, local);
  });
}

/** Which leftovers are meant. */
export interface LeftoverTarget {
  /** The local port, or those of a range. */
  readonly port: number | PortRange;
  /** The local host alone; `127.0.0.1` is not `::ffff:127.0.0.1`. Default: every one. */
  readonly host?: string | undefined;
  readonly states: readonly LeftoverState[];
}

/** What became of the leftovers that were seen. */
export interface DestroyedLeftovers {
  readonly destroyed: number;
  /** Had ended by themselves meanwhile. */
  readonly gone: number;
}

/**
 * Ends the sockets in TIME_WAIT and the orphans in FIN_WAIT2 of a port that are there now: no process notices. Each is
 * named by its cookie, so that a later socket of the same two ends is none of them. 50,000 take about 0.2 s.
 *
 * @throws {SyscallError} EPERM: no CAP_NET_ADMIN. EOPNOTSUPP: no CONFIG_INET_DIAG_DESTROY. Neither when there are none.
 * @see sock_diag(7) SOCK_DESTROY
 */
export function destroyLeftovers(target: LeftoverTarget): DestroyedLeftovers {
  const requests = requestsFor(target);
  return withSockDiag((netlink) => {
    let gone = 0;
    for (let at = 0; at < requests.length; at += BATCH * REQUEST_SIZE) {
      sendMessages(netlink, requests.subarray(at, at + BATCH * REQUEST_SIZE));
      gone += refusals(netlink);
    }
    return { destroyed: requests.length / REQUEST_SIZE - gone, gone };
  });
}

interface Requests {
  bytes: Buffer;
  length: number;
}

/** A message for each of the leftovers, in a row. */
function requestsFor({ port, host, states }: LeftoverTarget): Buffer {
  const heads = {
    four: encodeRequest(SOCK_DESTROY, 0, AF_INET),
    six: encodeRequest(SOCK_DESTROY, 0, AF_INET6),
  };
  const isWanted = host === undefined ? isLeftover : isLeftoverOf(host);
  const { bytes, length } = readRows<Requests>(
    { protocol: IPPROTO_TCP, states, ports: rangesOf(port) },
    () => ({ bytes: Buffer.alloc(BATCH * REQUEST_SIZE), length: 0 }),
    (requests, at, end) => {
      if (!isWanted(at)) return end;
      if (requests.length === requests.bytes.length) {
        requests.bytes = Buffer.concat([requests.bytes, Buffer.alloc(requests.length)]);
      }
      const head = received[at] === AF_INET ? heads.four : heads.six;
      head.copy(requests.bytes, requests.length);
      received.copy(requests.bytes, requests.length + REQUEST_ID, at + ROW_ID, at + ROW_ID + ID_SIZE);
      requests.length += REQUEST_SIZE;
      return end;
    },
  );
  return bytes.subarray(0, length);
}

function isLeftoverOf(host: string): (at: number) => boolean {
  const family = host.includes(':') ? 'ipv6' : 'ipv4';
  const bytes = encodeHost({ family, host, port: 0 });
  const number = family === 'ipv4' ? AF_INET : AF_INET6;
  return (at) => {
    const local = at + ROW_ID + 4;
    return (
      received[at] === number && isLeftover(at) && bytes.compare(received, local, local + bytes.length) === 0
    );
  };
}

/**
 * How many of the messages that were sent found nothing any more. They ask for no answer, so that only refusals come,
 * and all of these are there when the send is over.
 */
function refusals(netlink: Fd): number {
  let count = 0;
  for (;;) {
    const length = receiveNow(netlink);
    if (length === 'none') return count;
    if (length === 'overrun') throw new SyscallError('recv', ENOBUFS);
    eachMessage(length, (at, end) => {
      const errno = -received.readInt32LE(at + NLMSG_HEADER);
      if (errno !== ENOENT && errno !== ESTALE) throw new SyscallError('sock_diag', errno);
      count++;
      return end;
    });
  }
}
