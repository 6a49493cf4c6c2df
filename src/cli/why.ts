import { describeWhy } from '../diagnosis/describe.js';
import type { WhyReport } from '../diagnosis/report.js';
import { whyPorts } from '../diagnosis/why.js';
import { tcpPort, udpSockets } from '../kernel/sock-diag.js';
import { parseTargets, type Target } from './port-target.js';
import { say } from './say.js';

export interface WhyFlags {
  readonly all?: boolean;
  readonly udp?: boolean;
  readonly verbose?: boolean;
  readonly json?: boolean;
  readonly netns?: 'all';
  /** False with --no-probe. */
  readonly probe?: boolean;
}

const EXIT = { free: 0, held: 1, leftovers: 1, unknown: 3, blocked: 4 } as const;

/**
 * `holdfast why [HOST:]PORT…`: exit 0 when a plain bind is expected to succeed, 1 when somebody or something has a port, 3
 * when it cannot be told, 4 when nobody has it and a bind fails for another reason.
 */
export function whyCommand(words: readonly string[], flags: WhyFlags): void {
  const protocol = flags.udp ? 'udp' : 'tcp';
  const targets = flags.all ? portsInUse(protocol) : parseTargets(words);
  const reports = targets.flatMap(({ host, ports }) => {
    const { from, to } = ports;
    const wanted = Array.from({ length: to - from + 1 }, (_, index) => from + index);
    const { probe, netns, verbose: traffic } = flags;
    return whyPorts(from === to ? from : ports, wanted, { host, protocol, probe, netns, traffic });
  });
  if (flags.json) {
    // One object for one port: what the library gives.
    const [only] = reports;
    const one = reports.length === 1 && !flags.all ? only : reports;
    say(`${JSON.stringify(one, null, 2)}\n`);
  } else {
    say(describeAll(reports, flags));
  }
  process.exitCode = exitCodeOf(reports);
}

/** Of several ports the worst news: one that is held, then one that cannot be told, then one that is blocked. */
function exitCodeOf(reports: readonly WhyReport[]): number {
  const codes = new Set<number>(reports.map(({ verdict }) => EXIT[verdict]));
  return [1, 3, 4].find((code) => codes.has(code)) ?? 0;
}

/** Free ports of a range are only counted. */
function describeAll(reports: readonly WhyReport[], { verbose, all }: WhyFlags): string {
  if (all) return reports.map(({ summary }) => `${summary}\n`).join('') || 'no port is in use\n';
  const shown =
    reports.length <= 1 || verbose ? reports : reports.filter(({ verdict }) => verdict !== 'free');
  const texts = shown.map((report) => describeWhy(report, { verbose }));
  const free = reports.length - shown.length;
  if (free > 0) texts.push(`${free} ${free === 1 ? 'port is' : 'ports are'} free.\n`);
  return texts.join('\n');
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
