import { release } from 'node:os';
import { interfaceNames, localAddresses } from '../kernel/interface.js';
import { ephemeralPorts, reservedPorts, sysctlNumber } from '../kernel/sysctl.js';
import { kernelVersion } from '../model/kernel-rules.js';
import { type Addresses, DEFAULT_SYSCTLS, type Sysctls, type World } from '../model/world.js';

/** What decides besides the sockets: the kernel's version, the settings and addresses of this network namespace. */
export type Machine = Pick<World, 'kernel' | 'sysctls' | 'addresses'>;

export function lookAtMachine(): Machine {
  return { kernel: kernelVersion(release()), sysctls: liveSysctls(), addresses: liveAddresses() };
}

function liveSysctls(): Sysctls {
  const number = (path: string, otherwise: number): number => sysctlNumber(path) ?? otherwise;
  const range = ephemeralPorts();
  return {
    ...DEFAULT_SYSCTLS,
    ...(range === undefined ? {} : { portRange: { low: range.from, high: range.to } }),
    reservedPorts: reservedPorts(),
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
