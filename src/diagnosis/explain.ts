import { type AddressError, addressErrorIn } from '../errors.js';
import { type TcpSocket, tcpSockets } from '../kernel/sock-diag.js';
import { canonicalHost } from '../kernel/sockaddr.js';
import { sysctlText } from '../kernel/sysctl.js';
import { formatUntil } from './age.js';
import { withToolsFor } from './ask-tool.js';
import { blockersOf } from './blockers.js';
import { describeWhy } from './describe.js';
import { why } from './why.js';

/** For docker, podman and systemctl together: whoever asks is dying. */
const TOOLS_MS = 100;
/** CPU time to look for who has the port. */
const LOOK_MS = 80;

/**
 * What stands behind an EADDRINUSE, EADDRNOTAVAIL or EACCES that Node or a system call gave, itself or one level within
 * (`cause`, `errors`), in words; null for another error, and for one that names no port. Blocks for some tens of
 * milliseconds, with 80 more of CPU time at most to look into other processes, and for 100 more at most to ask docker or systemd.
 *
 * @throws {SyscallError} the kernel has no inet_diag.
 */
export function explain(error: unknown): string | null {
  const found = addressErrorIn(error);
  if (found === undefined) return null;
  const { code, port, address, syscall } = found;
  const host = hostOf(address);
  if (syscall === 'connect') return code === 'EADDRNOTAVAIL' ? explainConnect(host, port) : null;
  const protocol = isDatagram(found) ? 'udp' : 'tcp';
  // No bind is tried: the program's own has just been.
  const report = withToolsFor(TOOLS_MS, () =>
    why({ port, host, protocol, probe: false, lookWithinMs: LOOK_MS }),
  );
  const isOwn = blockersOf(report).some(({ holders }) => holders.some(({ pid }) => pid === process.pid));
  // What frees it from a stranger is no advice then.
  return isOwn
    ? `${report.summary}\nThat is the program that failed itself: it binds the port twice.\n`
    : describeWhy(report);
}

/** `bind` failed in a UDP socket, or in a worker of cluster, whose TCP sockets its primary binds. */
function isDatagram({ syscall, stack = '' }: AddressError): boolean {
  return syscall === 'bind' && stack.includes('node:dgram');
}

/** Node names the wildcard `::` also where it would have fallen back to 0.0.0.0. */
function hostOf(address: unknown): string | undefined {
  if (typeof address !== 'string') return undefined;
  const host = canonicalHost(address.includes(':') ? 'ipv6' : 'ipv4', address);
  return host === '::' || host === '0.0.0.0' ? undefined : host;
}

/** There was no port left to connect from. */
function explainConnect(host: string | undefined, port: number): string {
  const isIt = ({ peer }: TcpSocket): boolean =>
    peer.port === port && (host === undefined || peer.host.endsWith(host));
  const waiting = tcpSockets(['TIME_WAIT']).filter(isIt);
  const connected = tcpSockets(['ESTABLISHED', 'SYN_SENT', 'FIN_WAIT1', 'FIN_WAIT2', 'CLOSE_WAIT']).filter(
    isIt,
  );
  const range = (sysctlText('net/ipv4/ip_local_port_range') ?? '').replace(/\s+/, '-');
  const last = Math.max(0, ...waiting.map(({ timer }) => timer?.expiresMs ?? 0));
  const until = waiting.length === 0 ? '' : `, the last of which ends in about ${formatUntil(last)}`;
  return `No local port is left to connect to ${host ?? 'port'}${host === undefined ? ' ' : ':'}${port}: of the range ${range}, ${connected.length} are connected there and ${waiting.length} in TIME_WAIT${until}.\n`;
}
