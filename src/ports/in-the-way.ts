import { HoldfastError } from '../errors.js';
import { walkSockets } from '../kernel/fd-walk.js';
import { type TcpSocket, tcpSockets } from '../kernel/sock-diag.js';
import { formatAddress, type InetAddress, sameAddress } from '../model/address.js';
import { formatDuration } from '../model/duration.js';
import type { TcpState } from '../model/tcp-state.js';
import { holdersOf, nameOf } from './holders.js';
import { everyPort } from './no-port.js';
import type { PortRange } from './range.js';

const CONNECTED: readonly TcpState[] = [
  ...(['ESTABLISHED', 'SYN_SENT', 'SYN_RECV', 'FIN_WAIT1', 'FIN_WAIT2'] as const),
  ...(['CLOSE_WAIT', 'LAST_ACK', 'CLOSING', 'TIME_WAIT'] as const),
];

/** The error for a connection that exists: the kernel lets no two have the same two ends. `cause`: EADDRNOTAVAIL. */
export function connectionExists(
  localPort: number,
  localHost: string | undefined,
  peer: InetAddress,
  cause: unknown,
): HoldfastError {
  const [socket] = connectionsTo(peer, localHost, { from: localPort, to: localPort });
  const from = socket === undefined ? `port ${localPort}` : formatAddress(socket.local);
  const what = socket === undefined ? 'it has ended meanwhile, try again' : describe(socket);
  const text = `there is a connection from ${from} to ${formatAddress(peer)} already: ${what}`;
  return new HoldfastError('ERR_HOLDFAST_CONNECTION_EXISTS', text, cause);
}

function describe({ state, inode, timer }: TcpSocket): string {
  if (inode === 0) return timer === null ? state : `${state}, ends in ${formatDuration(timer.expiresMs)}`;
  const [holder] = walkSockets(new Set([inode])).holders.get(inode) ?? [];
  return `${state} of ${holder === undefined ? 'another user' : nameOf(holder.pid)}`;
}

/** The error for a destination to which every port of the range has a connection. `cause`: EADDRNOTAVAIL. */
export function noPortToConnect(
  range: PortRange | undefined,
  localHost: string | undefined,
  peer: InetAddress,
  cause: unknown,
): HoldfastError {
  const { from, to } = range ?? everyPort();
  const connections = connectionsTo(peer, localHost, { from, to });
  const left = connections.filter(({ inode }) => inode === 0);
  const held = holdersOf(
    connections.filter(({ inode }) => inode !== 0),
    { count: left.length, firstMs: Math.min(...left.map(({ timer }) => timer?.expiresMs ?? 0)) },
  );
  const text = `no local port of ${from}-${to} is left for a connection to ${formatAddress(peer)}: ${held.join(', ') || 'others have bound them'}`;
  return new HoldfastError('ERR_HOLDFAST_NO_PORT', text, cause);
}

function connectionsTo(
  peer: InetAddress,
  localHost: string | undefined,
  { from, to }: PortRange,
): readonly TcpSocket[] {
  return tcpSockets(CONNECTED, from === to ? from : undefined).filter(
    ({ local, peer: other }) =>
      sameAddress(other, peer) &&
      local.port >= from &&
      local.port <= to &&
      (localHost === undefined || local.host === localHost),
  );
}

/** The ports from which there is a connection, or what is left of one, to that destination. */
export function portsConnectedTo(
  peer: InetAddress,
  localHost: string | undefined,
  range: PortRange,
): ReadonlySet<number> {
  return new Set(connectionsTo(peer, localHost, range).map(({ local }) => local.port));
}
