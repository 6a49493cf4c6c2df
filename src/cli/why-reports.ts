import type { WhyReport } from '../diagnosis/report.js';
import { whyPorts } from '../diagnosis/why.js';
import { tcpPort, udpSockets } from '../kernel/sock-diag.js';
import { parseTargets, type Target } from './port-target.js';

export interface Asked {
  readonly all?: boolean | undefined;
  readonly udp?: boolean | undefined;
  readonly verbose?: boolean | undefined;
  readonly netns?: 'all' | undefined;
  /** Whether binds are tried. */
  readonly probe?: boolean | undefined;
}

/** What is known of each port of the words, `[HOST:]PORT`, or with `all` of each port in use. @throws {HoldfastError} ERR_HOLDFAST_ADDRESS */
export function reportsOn(words: readonly string[], asked: Asked): readonly WhyReport[] {
  const { all, udp, verbose: traffic, netns, probe } = asked;
  const protocol = udp ? 'udp' : 'tcp';
  const targets = all ? portsInUse(protocol) : parseTargets(words);
  return targets.flatMap(({ host, ports }) => {
    const { from, to } = ports;
    const wanted = Array.from({ length: to - from + 1 }, (_, index) => from + index);
    return whyPorts(from === to ? from : ports, wanted, { host, protocol, probe, netns, traffic });
  });
}

/** Every port that a socket listens at or is bound to, or of UDP has. */
function portsInUse(protocol: 'tcp' | 'udp'): readonly Target[] {
  const sockets = protocol === 'udp' ? udpSockets() : tcpPort().sockets;
  const ports = sockets
    .filter(({ state }) => protocol === 'udp' || state === 'LISTEN' || state === 'CLOSE')
    .map(({ local }) => local.port);
  return [...new Set(ports)]
    .sort((a, b) => a - b)
    .map((port) => ({ host: undefined, ports: { from: port, to: port } }));
}
