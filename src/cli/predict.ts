import { type Prediction, type PredictReport, predictLive } from '../diagnosis/predict.js';
import { HoldfastError } from '../errors.js';
import { interfaceNames } from '../kernel/interface.js';
import { CAP_NET_BIND_SERVICE, commandLine, hasCapability } from '../kernel/procfs.js';
import { parseInetAddress } from '../kernel/sockaddr.js';
import { formatAddress } from '../model/address.js';

export interface PredictFlags {
  readonly udp?: boolean;
  readonly reuseAddr?: boolean;
  readonly reusePort?: boolean;
  readonly v6only?: boolean;
  readonly freebind?: boolean;
  readonly device?: string;
  readonly uid?: number;
  readonly json?: boolean;
}

/** `holdfast predict bind ADDRESS`: exit 0 when it would succeed, 1 when not, 2 when that cannot be seen. */
export function predictBindCommand(text: string, flags: PredictFlags): void {
  const address = parseInetAddress(text);
  if (typeof address === 'string') {
    throw new HoldfastError(
      'ERR_HOLDFAST_ADDRESS',
      `${text}: ${address}; the forms are 8080, 127.0.0.1:8080, [::1]:8080, 127.0.0.1:0`,
    );
  }
  const { device = '' } = flags;
  if (device !== '' && !interfaceNames().includes(device)) {
    throw new HoldfastError(
      'ERR_HOLDFAST_OPTION',
      `--device: there is no interface "${device}" here; there are ${interfaceNames().join(', ')}`,
    );
  }
  const report = predictLive({
    protocol: flags.udp ? 'udp' : 'tcp',
    address,
    uid: flags.uid ?? process.getuid?.() ?? 0,
    reuse: flags.reuseAddr ?? false,
    reusePort: flags.reusePort ?? false,
    v6only: flags.v6only,
    device,
    freebind: flags.freebind ?? false,
    mayBindLow: hasCapability('self', CAP_NET_BIND_SERVICE),
  });
  if (flags.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else process.stdout.write(describeReport(`bind ${formatAddress(address)}`, report));
  const [first] = report.outcomes;
  process.exitCode = report.outcomes.length > 1 ? 2 : first?.ok ? 0 : 1;
}

function describeReport(call: string, { outcomes, unknown, kernel }: PredictReport): string {
  const [first] = outcomes;
  const lines =
    outcomes.length === 1 && first !== undefined
      ? describeOutcome(`${call} would`, first)
      : [
          `${call}: it cannot be seen what decides:`,
          ...unknown.map((part) => `  ${part}`),
          ...outcomes.flatMap((outcome) => describeOutcome('  then it would', outcome)),
        ];
  if (!kernel.verified)
    lines.push(`by the rules of ${kernel.name}, which were read and not compared with this kernel`);
  return `${lines.join('\n')}\n`;
}

function describeOutcome(begin: string, { ok, code, rule, says, kernel, holder }: Prediction): string[] {
  const lines = [`${begin} ${ok ? 'succeed' : `fail with ${code}`} [${rule}]`, `  ${says}`];
  if (kernel !== '') lines.push(`  decided in ${kernel}`);
  if (holder !== null) lines.push(`  in the way: ${describeHolder(holder)}`);
  return lines;
}

function describeHolder({ state, local, peer, uid, holders }: NonNullable<Prediction['holder']>): string {
  const pids = [...new Set(holders.map(({ pid }) => pid))];
  const who =
    pids.length === 0
      ? state === 'TIME_WAIT'
        ? 'nobody has it open'
        : `uid ${uid}; run as root to see the process`
      : pids.map((pid) => `pid ${pid} (${commandLine(pid).join(' ')})`).join(', ');
  return `${state} ${local}${peer === null ? '' : ` to ${peer}`}, ${who}`;
}
