import type { SocketFd } from '../kernel/fd-walk.js';
import { formatAddress, type InetAddress } from '../model/address.js';
import { predictBind } from '../model/bind.js';
import { type Rule, type RuleId, rules } from '../model/rules.js';
import { assumptions, type SeenSocket, worldOf } from '../model/seen.js';
import { type Id, newSocket, type Protocol, type Socket, type Verdict, type World } from '../model/world.js';
import { type LiveView, lookAtPort } from './live-world.js';

/** The socket that is to be bound. */
export interface PredictRequest {
  readonly protocol: Protocol;
  readonly address: InetAddress;
  readonly uid: number;
  readonly reuse: boolean;
  readonly reusePort: boolean;
  /** Undefined: as net.ipv6.bindv6only says. */
  readonly v6only: boolean | undefined;
  readonly device: string;
  readonly freebind: boolean;
  /** Whether the caller has CAP_NET_BIND_SERVICE. */
  readonly mayBindLow: boolean;
}

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
export function predictLive(request: PredictRequest): PredictReport {
  return predictFrom(lookAtPort(request.protocol, request.address.port), request);
}

/** The same for what was seen before. Pure. */
export function predictFrom(view: LiveView, request: PredictRequest): PredictReport {
  const outcomes = new Map<string, Prediction>();
  for (const assumed of assumptions(request.uid)) {
    const world = worldOf(view.sockets, view.given, assumed);
    const verdict = predictBind(world, askerFor(world, request), request);
    const prediction = describe(view, verdict);
    // By what decides, not by whom it meets first.
    outcomes.set(
      `${prediction.ok} ${prediction.code}`,
      outcomes.get(`${prediction.ok} ${prediction.code}`) ?? prediction,
    );
  }
  const all = [...outcomes.values()];
  return {
    outcomes: all,
    unknown: all.length > 1 ? unknownParts(view) : [],
    kernel: { name: view.given.kernel.name, verified: view.given.kernel.verified },
  };
}

function askerFor(world: World, request: PredictRequest): Socket {
  const { protocol, address, uid, reuse, reusePort, v6only, device, freebind } = request;
  const fresh = newSocket(protocol, address.family, world, uid, 'asker');
  return {
    ...fresh,
    id: 0,
    reuse,
    reusePort,
    device,
    freebind,
    v6only: address.family === 'ipv6' && (v6only ?? fresh.v6only),
  };
}

function describe(view: LiveView, verdict: Verdict): Prediction {
  const rule: Rule = rules[verdict.rule];
  return {
    ok: verdict.ok,
    code: verdict.ok ? null : verdict.code,
    rule: verdict.rule,
    says: rule.says,
    kernel: rule.kernel,
    holder: verdict.ok || verdict.holder === undefined ? null : holderOf(view, verdict.holder),
  };
}

function holderOf({ sockets, holders }: LiveView, id: Id): Prediction['holder'] {
  const socket = sockets[id - 1];
  if (socket === undefined) return null;
  const { state, local, peer, uid } = socket;
  return {
    state,
    local: formatAddress(local),
    peer: peer.port === 0 ? null : formatAddress(peer),
    uid,
    holders: holders[id - 1] ?? [],
  };
}

function unknownParts({ sockets, holders }: LiveView): readonly string[] {
  const hidden = sockets.filter(({ reuse }) => reuse === undefined);
  const parts = hidden.map((socket) => describeHidden(socket));
  const remembers =
    holders.length > 0
      ? ['what the port remembers of binds with SO_REUSEPORT (the kernel shows it to nobody)']
      : [];
  return [...new Set([...parts, ...remembers])];
}

function describeHidden({ state, local, uid, isOrphan }: SeenSocket): string {
  const whose = isOrphan ? '' : ` of uid ${uid}`;
  return `whether ${formatAddress(local)} in ${state}${whose} has SO_REUSEADDR or SO_REUSEPORT`;
}
