import type { SocketFd } from '../kernel/fd-walk.js';
import { formatAddress } from '../model/address.js';
import { type Rule, type RuleId, rules } from '../model/rules.js';
import { type BindRequest, type Foreseen, foresightFor } from './foresight.js';
import { lookAtPorts, type Origin, type PortView } from './port-view.js';

/** One way in which the call may go. */
export interface Prediction {
  readonly ok: boolean;
  readonly code: string | null;
  readonly rule: RuleId;
  readonly says: string;
  readonly kernel: string;
  readonly holder: {
    readonly state: string;
    readonly local: string;
    readonly peer: string | null;
    readonly uid: number;
    readonly holders: readonly SocketFd[];
  } | null;
}

export interface PredictReport {
  /** Several when what decides cannot be seen. */
  readonly outcomes: readonly Prediction[];
  /** What could not be seen and decides, in words. */
  readonly unknown: readonly string[];
  /** The kernel whose rules were applied, and whether they were compared with a live one. */
  readonly kernel: { readonly name: string; readonly verified: boolean };
}

/** What a bind would do on this machine now. @throws {SyscallError} the kernel has no inet_diag */
export function predictLive(request: BindRequest): PredictReport {
  const { port } = request.address;
  // For a port of the kernel's choice all count, but not their flags.
  const ports = port === 0 ? undefined : port;
  return predictFrom(lookAtPorts(request.protocol, ports, { holders: port !== 0 }), request);
}

/** The same for what was seen before. Pure. */
export function predictFrom(view: PortView, request: BindRequest): PredictReport {
  const { foresee, origins } = foresightFor(view);
  const outcomes = foresee(request).map(describe);
  const { name, verified } = view.machine.kernel;
  return {
    outcomes,
    unknown: outcomes.length > 1 ? unknownParts(origins) : [],
    kernel: { name, verified },
  };
}

function describe({ verdict, holder }: Foreseen): Prediction {
  const rule: Rule = rules[verdict.rule];
  return {
    ok: verdict.ok,
    code: verdict.ok ? null : verdict.code,
    rule: verdict.rule,
    says: rule.says,
    kernel: rule.kernel,
    holder: holder === undefined ? null : describeHolder(holder),
  };
}

function describeHolder({ seen, sockets }: Origin): Prediction['holder'] {
  const { state, local, peer, uid } = seen;
  return {
    state,
    local: formatAddress(local),
    peer: peer.port === 0 ? null : formatAddress(peer),
    uid,
    holders: sockets.flatMap(({ holders }) => holders),
  };
}

/** What could not be seen and may decide about a bind, in words. */
export function unknownParts(origins: readonly Origin[]): readonly string[] {
  const hidden = origins.filter(({ seen }) => seen.reuse === undefined).map(describeHidden);
  const remembers =
    origins.length > 0
      ? ['what the port remembers of binds with SO_REUSEPORT (the kernel shows it to nobody)']
      : [];
  return [...new Set([...hidden, ...remembers])];
}

function describeHidden({ seen: { state, local, uid, isOrphan } }: Origin): string {
  const whose = isOrphan ? '' : ` of uid ${uid}`;
  return `whether ${formatAddress(local)} in ${state}${whose} has SO_REUSEADDR or SO_REUSEPORT`;
}
