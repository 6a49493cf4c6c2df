import type { InetAddress } from './address.js';
import { judgePort, type PortVerdict, takePort } from './buckets.js';
import { type PortChoice, portsForBind } from './ephemeral.js';
import {
  ANY4,
  anyHost,
  fourOf,
  type Host,
  hostOf,
  isLinkScoped,
  isLoopback,
  isMulticast,
  isWildcardHost,
} from './host.js';
import { isReached, joinGroup } from './lookup.js';
import { judgeUdpPort, portForUdp, takeUdpPort } from './udp-ports.js';
import {
  type Draft,
  type Id,
  NotModelled,
  type PortRange,
  type Refusal,
  type Socket,
  type Verdict,
  type World,
} from './world.js';

/** What bind is asked for. */
export interface BindRequest {
  readonly address: InetAddress;
  /** Whether the caller has CAP_NET_BIND_SERVICE. */
  readonly mayBindLow: boolean;
}

type Problem = Omit<Refusal, 'ok'>;

/**
 * What bind would do. Costs the same however many other sockets there are; changes nothing.
 *
 * @see __inet_bind(), __inet6_bind(); bind(2), ip(7), ipv6(7)
 */
export function predictBind(world: World, socket: Socket, request: BindRequest): Verdict {
  const problem = checkBind(world, socket, request);
  if (problem !== undefined) return { ok: false, ...problem };
  const { port } = request.address;
  const bound = boundSocket(world, socket, request);
  if (port !== 0) return verdictOf(judge(world, bound, port));
  if (socket.bindNoPort) return { ok: true, rule: 'port-left-to-connect' };
  const choice = chosenPorts(world, bound);
  return choice.options.length > 0 ? { ok: true, rule: 'automatic-port' } : { ok: false, ...noPort() };
}

export function bind(draft: Draft, id: Id, request: BindRequest): Verdict {
  const socket = draft.socket(id);
  const problem = checkBind(draft, socket, request);
  if (problem !== undefined) return draft.refuse(problem.code, problem.rule, problem.holder);
  const bound = boundSocket(draft, socket, request);
  draft.sockets.set(id, bound);
  if (bound.v6only && !socket.v6only) draft.apply('specific-v6-is-v6only');
  const taken = takeFor(draft, id, request.address.port);
  if (taken.ok) {
    const { port } = draft.socket(id);
    draft.change(id, {
      addressGiven: bound.addressGiven,
      portGiven: socket.portGiven || request.address.port !== 0,
      shownPort: port,
      remote: null,
      remotePort: 0,
    });
    return taken;
  }
  if (draft.kernel.rules.failedBindClearsAddress) {
    draft.apply('failed-bind-clears-address');
    draft.change(id, {
      v6only: socket.v6only,
      local: anyHost(socket.family),
      fourSource: ANY4,
      addressGiven: socket.addressGiven,
    });
  } else {
    draft.change(id, { v6only: socket.v6only, local: socket.local, addressGiven: socket.addressGiven });
  }
  return taken;
}

/** Takes the port, or one that the kernel chooses for 0. */
function takeFor(draft: Draft, id: Id, wanted: number): Verdict {
  const socket = draft.socket(id);
  if (wanted === 0 && socket.bindNoPort) return draft.allow('port-left-to-connect');
  if (wanted === 0) return takeAutomaticPort(draft, id);
  const verdict = verdictOf(judge(draft, socket, wanted));
  if (!verdict.ok) return draft.refuse(verdict.code, verdict.rule, verdict.holder);
  take(draft, id, wanted);
  return draft.allow(verdict.rule);
}

/** Takes a port of the kernel's choice. */
export function takeAutomaticPort(draft: Draft, id: Id): Verdict {
  const choice = chosenPorts(draft, draft.socket(id));
  const port = draft.choose(choice);
  if (port === undefined) {
    const { code, rule } = noPort();
    return draft.refuse(code, rule);
  }
  if (sharedWouldDo(draft, id, choice)) draft.apply('automatic-port-not-shared');
  take(draft, id, port);
  return draft.allow('automatic-port');
}

/** Whether a port that was passed over would have been the program's for the asking. */
function sharedWouldDo(draft: Draft, id: Id, { options }: PortChoice): boolean {
  const socket = draft.socket(id);
  if (socket.protocol === 'udp') return false;
  const { low, high } = portRangeOf(draft, socket);
  return [...draft.ports.keys()].some(
    (port) =>
      port >= low &&
      port <= high &&
      !options.includes(port) &&
      judgePort(draft, socket, port).holder === undefined,
  );
}

function take(draft: Draft, id: Id, port: number): void {
  if (draft.socket(id).protocol === 'udp') takeUdpPort(draft, id, port);
  else takePort(draft, id, port);
}

function judge(world: World, socket: Socket, port: number): PortVerdict {
  return socket.protocol === 'udp' ? judgeUdpPort(world, socket, port) : judgePort(world, socket, port);
}

function verdictOf({ rule, holder }: PortVerdict): Verdict {
  return holder === undefined ? { ok: true, rule } : { ok: false, code: 'EADDRINUSE', rule, holder };
}

function noPort(): Problem {
  return { code: 'EADDRINUSE', rule: 'no-automatic-port' };
}

function chosenPorts(world: World, socket: Socket): ReturnType<typeof portsForBind> {
  const range = portRangeOf(world, socket);
  return socket.protocol === 'udp' ? portForUdp(world, socket, range) : portsForBind(world, socket, range);
}

/** The range that the kernel chooses from: the socket's own one within the system's. @see inet_sk_get_local_port_range() */
export function portRangeOf({ sysctls }: World, { portRange }: Socket): PortRange {
  if (portRange === null) return sysctls.portRange;
  const { low, high } = sysctls.portRange;
  const inside = (port: number): boolean => port >= low && port <= high;
  return {
    low: inside(portRange.low) ? portRange.low : low,
    high: inside(portRange.high) ? portRange.high : high,
  };
}

/** The socket with the address of the request, before it has the port. */
function boundSocket(world: World, socket: Socket, { address }: BindRequest): Socket {
  const local = hostOf(address.family, address.host);
  const isReal6 = local.family === 'ipv6' && local.kind === 'real';
  const isGiven =
    local.family === 'ipv4'
      ? local.four !== 0
      : local.kind !== 'any' && (local.four !== 0 || world.kernel.rules.mappedAnyIsGiven);
  return {
    ...socket,
    local,
    fourSource: isMulticast(local) || isBroadcast(world, local) ? ANY4 : fourOf(local),
    v6only: socket.v6only || (isReal6 && world.kernel.rules.specificV6BindIsV6only),
    addressGiven: socket.addressGiven || isGiven,
  };
}

/** What is wrong before the port is looked at, in the kernel's order. */
function checkBind(world: World, socket: Socket, request: BindRequest): Problem | undefined {
  return socket.family === 'ipv4' ? checkFour(world, socket, request) : checkSix(world, socket, request);
}

function checkFour(world: World, socket: Socket, request: BindRequest): Problem | undefined {
  const { address } = request;
  if (address.family !== 'ipv4') return { code: 'EAFNOSUPPORT', rule: 'bind-own-family' };
  const host = hostOf('ipv4', address.host);
  return (
    fourIsLocal(world, socket, host) ??
    mayHavePort(world, request) ??
    (isBound(socket) ? { code: 'EINVAL', rule: 'bind-once' } : undefined)
  );
}

function checkSix(world: World, socket: Socket, request: BindRequest): Problem | undefined {
  const { address } = request;
  // Too short for a sockaddr_in6.
  if (address.family !== 'ipv6') return { code: 'EINVAL', rule: 'bind-own-family' };
  const host = hostOf('ipv6', address.host);
  if (isMulticast(host) && host.kind === 'real' && socket.protocol === 'tcp') {
    return { code: 'EINVAL', rule: 'multicast-is-for-datagrams' };
  }
  const low = mayHavePort(world, request);
  if (low !== undefined) return low;
  if (isBound(socket)) return { code: 'EINVAL', rule: 'bind-once' };
  if (host.kind === 'any') return undefined;
  if (host.kind === 'mapped') {
    if (socket.v6only) return { code: 'EINVAL', rule: 'v6only-refuses-mapped' };
    return fourIsLocal(world, socket, hostOf('ipv4', host.key));
  }
  if (isLinkScoped(host) && socket.device === '' && address.scopeId === undefined) {
    return { code: 'EINVAL', rule: 'link-local-needs-device' };
  }
  // An address of host scope counts on its own interface alone.
  const isHere = !isLoopback(host) || isReached(socket);
  const isLocal = isMulticast(host) || (world.addresses.ipv6.includes(host.text) && isHere);
  if (isLocal || socket.freebind || world.sysctls.nonlocalBind6) return undefined;
  return { code: 'EADDRNOTAVAIL', rule: 'address-not-local' };
}

function fourIsLocal(world: World, socket: Socket, host: Host): Problem | undefined {
  const isUsable =
    isWildcardHost(host) || isMulticast(host) || isLocalFour(world, host) || isBroadcast(world, host);
  if (isUsable || socket.freebind || world.sysctls.nonlocalBind4) return undefined;
  return { code: 'EADDRNOTAVAIL', rule: 'address-not-local' };
}

function mayHavePort({ sysctls }: World, { address, mayBindLow }: BindRequest): Problem | undefined {
  const isLow = address.port > 0 && address.port < sysctls.unprivilegedPortStart;
  return isLow && !mayBindLow ? { code: 'EACCES', rule: 'low-port-needs-privilege' } : undefined;
}

function isBound({ state, port }: Socket): boolean {
  return state !== 'CLOSE' || port !== 0;
}

/** 127.0.0.0/8 and the machine's own addresses. */
export function isLocalFour({ addresses }: World, host: Host): boolean {
  return (
    (host.four >>> 24 === 127 && !addresses.broadcast.includes(host.text)) ||
    addresses.ipv4.includes(host.text)
  );
}

export function isBroadcast({ addresses }: World, host: Host): boolean {
  return host.four === 0xffffffff || addresses.broadcast.includes(host.text);
}

/**
 * The port is asked for again, with the flags as they are now.
 *
 * @see inet_listen(), inet_csk_listen_start(); listen(2)
 */
export function listen(draft: Draft, id: Id, backlog: number): Verdict {
  const socket = draft.socket(id);
  if (socket.protocol === 'udp') return draft.refuse('EOPNOTSUPP', 'listen-is-for-streams');
  if (socket.connected) return draft.refuse('EINVAL', 'listen-needs-unconnected');
  if (socket.state === 'LISTEN') {
    draft.change(id, { backlog });
    return draft.allow('listen-again-changes-backlog');
  }
  if (socket.state !== 'CLOSE') return draft.refuse('EINVAL', 'listen-needs-unconnected');
  if (socket.sendShut || socket.receiveShut) throw new NotModelled('listen after shutdown');
  draft.change(id, { state: 'LISTEN', backlog, queue: [] });
  const verdict = takeForListen(draft, id);
  if (!verdict.ok) {
    draft.change(id, { state: 'CLOSE' });
    return verdict;
  }
  draft.change(id, { shownPort: draft.socket(id).port });
  joinGroup(draft, id);
  return verdict;
}

function takeForListen(draft: Draft, id: Id): Verdict {
  const socket = draft.socket(id);
  if (socket.port === 0) return takeAutomaticPort(draft, id);
  if (!draft.kernel.rules.listenRechecksPort) return draft.allow('port-shared');
  const verdict = verdictOf(judgePort(draft, socket, socket.port));
  if (!verdict.ok) {
    draft.apply(verdict.rule);
    return draft.refuse('EADDRINUSE', 'listen-asks-again', verdict.holder);
  }
  takePort(draft, id, socket.port);
  return draft.allow(verdict.rule);
}
