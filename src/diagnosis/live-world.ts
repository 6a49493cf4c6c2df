import { release } from 'node:os';
import { type SocketFd, walkSockets } from '../kernel/fd-walk.js';
import { socketOptionsOf } from '../kernel/foreign-socket.js';
import { interfaceName, interfaceNames, localAddresses } from '../kernel/interface.js';
import { ALL_STATES, type TcpSocket, tcpSockets, udpSockets } from '../kernel/sock-diag.js';
import { sysctlNumber, sysctlText } from '../kernel/sysctl.js';
import { kernelVersion } from '../model/kernel-rules.js';
import type { SeenSocket } from '../model/seen.js';
import { type Addresses, DEFAULT_SYSCTLS, type Protocol, type Sysctls, type World } from '../model/world.js';

/** What decides about a port on this machine now, as far as this user may see it. */
export interface LiveView {
  readonly sockets: readonly SeenSocket[];
  /** For each of `sockets`, in the same order, who has it open. */
  readonly holders: readonly (readonly SocketFd[])[];
  readonly given: Pick<World, 'kernel' | 'sysctls' | 'addresses'>;
}

/**
 * Looks at the sockets of this network namespace that have the port, or at all for port 0.
 *
 * @throws {SyscallError} EPROTONOSUPPORT: the kernel has no inet_diag.
 */
export function lookAtPort(protocol: Protocol, port: number): LiveView {
  const wanted = port === 0 ? undefined : port;
  const rows = protocol === 'udp' ? udpSockets(wanted) : tcpSockets(ALL_STATES, wanted);
  // For a port of the kernel's choice the flags of others do not count.
  const inodes = new Set(port === 0 ? [] : rows.map(({ inode }) => inode));
  const { holders } = walkSockets(inodes);
  const found = rows.map((row) => holders.get(row.inode) ?? []);
  return {
    sockets: rows.map((row, index) => seenSocket(protocol, row, found[index] ?? [])),
    holders: found,
    given: { kernel: kernelVersion(release()), sysctls: liveSysctls(), addresses: liveAddresses() },
  };
}

function seenSocket(protocol: Protocol, row: TcpSocket, holders: readonly SocketFd[]): SeenSocket {
  const { state, local, peer, v6only, uid, inode, interfaceIndex } = row;
  const flags = holders.map((holder) => socketOptionsOf(holder, inode)).find((seen) => seen.ok);
  return {
    protocol,
    state,
    local,
    peer,
    v6only,
    uid,
    device: interfaceName(interfaceIndex),
    reuse: flags?.reuse,
    reusePort: flags?.reusePort,
    isOrphan: inode === 0,
  };
}

function liveSysctls(): Sysctls {
  const number = (path: string, otherwise: number): number => sysctlNumber(path) ?? otherwise;
  const [low, high] = (sysctlText('net/ipv4/ip_local_port_range') ?? '').split(/\s+/).map(Number);
  return {
    ...DEFAULT_SYSCTLS,
    ...(low && high ? { portRange: { low, high } } : {}),
    reservedPorts: portList(sysctlText('net/ipv4/ip_local_reserved_ports') ?? ''),
    unprivilegedPortStart: number('net/ipv4/ip_unprivileged_port_start', 1024),
    autobindReuse: number('net/ipv4/ip_autobind_reuse', 0) === 1,
    twReuse: number('net/ipv4/tcp_tw_reuse', 2) as Sysctls['twReuse'],
    twReuseDelayMs: number('net/ipv4/tcp_tw_reuse_delay', 1000),
    finTimeoutS: number('net/ipv4/tcp_fin_timeout', 60),
    maxTwBuckets: number('net/ipv4/tcp_max_tw_buckets', DEFAULT_SYSCTLS.maxTwBuckets),
    timestamps: number('net/ipv4/tcp_timestamps', 1) !== 0,
    v6only: number('net/ipv6/bindv6only', 0) === 1,
    nonlocalBind4: number('net/ipv4/ip_nonlocal_bind', 0) === 1,
    nonlocalBind6: number('net/ipv6/ip_nonlocal_bind', 0) === 1,
  };
}

/** `8080,9000-9005`, as the kernel prints it. */
function portList(text: string): readonly number[] {
  return text
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [first = 0, last = first] = part.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}

function liveAddresses(): Addresses {
  const all = localAddresses();
  const four = all.filter(({ family }) => family === 'ipv4');
  return {
    ipv4: four.map(({ host }) => host).filter((host) => !host.startsWith('127.')),
    ipv6: all.filter(({ family }) => family === 'ipv6').map(({ host }) => host),
    broadcast: four
      .map(({ host, netmask }) => broadcastOf(host, netmask))
      .filter((host) => host !== undefined),
    devices: interfaceNames(),
  };
}

function broadcastOf(host: string, netmask: string): string | undefined {
  const mask = netmask.split('.').map(Number);
  // A network of one or two addresses has none.
  if ((mask[3] ?? 255) >= 254) return undefined;
  return host
    .split('.')
    .map((part, index) => (Number(part) & (mask[index] ?? 255)) | (~(mask[index] ?? 255) & 255))
    .join('.');
}
