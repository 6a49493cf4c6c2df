import type { InetAddress } from './address.js';
import { isBroadcast, isLocalFour, portRangeOf, takeAutomaticPort } from './bind.js';
import { inheritPort, moveTo, releasePort, takePortToConnect } from './buckets.js';
import {
  addConnection,
  type Connected,
  connectedOf,
  finish,
  forgetConnection,
  isInConnection,
  peerOf,
  removeConnection,
  removeTimeWait,
  sendReset,
  stopListening,
  takeReset,
} from './connection.js';
import { portsForConnect } from './ephemeral.js';
import { fourOf, type Host, hostOf, isFourHost, isLoopback, isMulticast, mapped, unmapped } from './host.js';
import { isReached, LOOPBACK_DEVICE, listenersFor } from './lookup.js';
import { releaseUdpPort } from './udp-ports.js';
import {
  type Draft,
  type Id,
  NotModelled,
  newSocket,
  type Owner,
  type Refusal,
  type Socket,
  type TimeWait,
  tupleKey,
  type Verdict,
  type World,
} from './world.js';

/** @see __inet_stream_connect(), tcp_v4_connect(), tcp_v6_connect(); connect(2) */
export function connect(draft: Draft, id: Id, address: InetAddress): Verdict {
  const socket = draft.socket(id);
  if (socket.protocol === 'udp') return connectUdp(draft, id, address);
  if (socket.connected || socket.state !== 'CLOSE')
    return draft.refuse('EISCONN', 'connect-needs-unconnected');
  checkSource(draft, socket);
  const to = destinationOf(draft, socket, address);
  if ('code' in to) return draft.refuse(to.code, to.rule);
  if (socket.wentMapped && to.kind === 'real' && to.family === 'ipv6') {
    throw new NotModelled('a connect to an IPv6 address after one to a v4-mapped address hangs');
  }
  if (socket.sendShut || socket.receiveShut) throw new NotModelled('a connect after shutdown');
  const remote = socket.family === 'ipv6' && to.family === 'ipv4' ? mapped(to) : to;
  takeSource(draft, socket, remote);
  draft.change(id, { remote, remotePort: address.port, timestamps: draft.sysctls.timestamps });
  const taken = takeTuple(draft, id);
  if (!taken.ok) {
    fail(draft, id);
    return taken;
  }
  const { port, wentMapped } = draft.socket(id);
  draft.change(id, {
    state: 'SYN_SENT',
    shownPort: port,
    wentMapped: wentMapped || remote.kind === 'mapped',
  });
  checkRivals(draft, connectedOf(draft.socket(id)));
  addConnection(draft, connectedOf(draft.socket(id)));
  return meet(draft, id);
}

/**
 * Whether what a connect does may depend on whether a millisecond has passed since an entry of the same two ends went
 * into TIME_WAIT.
 */
export function connectNeedsTick(world: World, id: Id, { port }: InetAddress): boolean {
  const socket = world.sockets.get(id);
  if (socket?.protocol !== 'tcp') return false;
  return [...world.timeWaits.values()].some(
    (entry) =>
      entry.since === world.now &&
      (entry.remotePort === port || entry.port === port) &&
      (socket.port === 0 || entry.port === socket.port || entry.remotePort === socket.port),
  );
}

const UNREACHABLE = { code: 'ENETUNREACH', rule: 'no-route' } as const;

/** The host that the destination means, as an IPv4 one where IPv4 carries it; or why there is no way to it. */
function destinationOf(draft: Draft, socket: Socket, address: InetAddress): Host | Omit<Refusal, 'ok'> {
  const wanted = hostOf(address.family, address.host);
  if (socket.family === 'ipv4') {
    if (address.family !== 'ipv4') return { code: 'EAFNOSUPPORT', rule: 'connect-own-family' };
    return fourDestination(draft, socket, wanted);
  }
  if (address.family !== 'ipv6') {
    if (socket.protocol === 'tcp') return { code: 'EINVAL', rule: 'connect-own-family' };
    if (socket.v6only) return { code: 'EAFNOSUPPORT', rule: 'v6only-refuses-mapped' };
    return fourDestination(draft, socket, wanted);
  }
  const meant =
    wanted.kind !== 'any'
      ? wanted
      : hostOf('ipv6', socket.local.kind === 'mapped' ? '::ffff:127.0.0.1' : '::1');
  if (meant.kind === 'mapped') {
    if (socket.v6only) return { code: 'ENETUNREACH', rule: 'v6only-refuses-mapped' };
    const four = fourDestination(draft, socket, unmapped(meant));
    return 'code' in four ? four : mapped(four);
  }
  if (isMulticast(meant) && socket.protocol === 'tcp') return UNREACHABLE;
  if (!draft.addresses.ipv6.includes(meant.text)) return UNREACHABLE;
  if (socket.local.kind === 'mapped')
    return { code: 'EAFNOSUPPORT', rule: 'mapped-source-connects-to-mapped' };
  return meant;
}

function fourDestination(draft: Draft, socket: Socket, wanted: Host): Host | Omit<Refusal, 'ok'> {
  if (wanted.four !== 0) {
    if (isLocalFour(draft, wanted) && !isMulticast(wanted) && !isBroadcast(draft, wanted)) return wanted;
    // Taken to be on the link of that device, ip_route_output_key_hash_rcu(): nobody answers.
    if (socket.device !== '')
      throw new NotModelled('a connect over a device to an address that is not local');
    if (socket.protocol === 'udp' && isBroadcast(draft, wanted)) {
      return { code: 'EACCES', rule: 'broadcast-needs-so-broadcast' };
    }
    return UNREACHABLE;
  }
  const isReal6 = socket.local.family === 'ipv6' && socket.local.kind === 'real';
  const own = socket.protocol === 'tcp' || isReal6 ? socket.fourSource : fourOf(socket.local);
  return isUnset(own) ? hostOf('ipv4', '127.0.0.1') : own;
}

function checkSource(draft: Draft, socket: Socket): void {
  if (!isReached(socket)) {
    throw new NotModelled('a connect from a socket bound to a device other than lo');
  }
  if (!isUsableSource(draft, socket.local))
    throw new NotModelled('a connect from an address that is not local');
}

function isUnset({ four }: Host): boolean {
  return four === 0;
}

function isUsableSource(draft: Draft, local: Host): boolean {
  if (isUnset(local)) return true;
  if (local.family === 'ipv6' && local.kind === 'real') return draft.addresses.ipv6.includes(local.text);
  const four = unmapped(local);
  return isLocalFour(draft, four) && !isMulticast(four);
}

/** Without an address it gets the one that the route names. */
function takeSource(draft: Draft, socket: Socket, remote: Host): void {
  const isFour = isFourHost(remote);
  if (isFour ? !isUnset(socket.fourSource) : socket.local.kind !== 'any') {
    if (isFour && socket.local.family === 'ipv6' && socket.local.kind === 'real') {
      throw new NotModelled('an IPv4 connection of a socket that was bound to an IPv6 address');
    }
    return;
  }
  const source = sourceFor(socket, remote);
  moveTo(draft, socket.id, source);
  if (isFour) draft.change(socket.id, { fourSource: fourOf(source) });
}

/** The address that the route names: 127.0.0.1 for loopback, otherwise the destination itself. */
function sourceFor({ family }: Socket, remote: Host): Host {
  const isFour = isFourHost(remote);
  if (!isFour) return remote;
  const four = isLoopback(remote) ? hostOf('ipv4', '127.0.0.1') : unmapped(remote);
  return family === 'ipv6' ? mapped(four) : four;
}

/** Gets the socket a port for which the 4-tuple is free. @see __inet_hash_connect() */
function takeTuple(draft: Draft, id: Id): Verdict {
  const socket = draft.socket(id);
  if (socket.port !== 0) {
    const taken = takenBy(draft, socket, socket.port, true);
    if (taken !== undefined) return draft.refuse('EADDRNOTAVAIL', 'connection-exists', taken);
    recycle(draft, socket, socket.port);
    return draft.allow('connection-free');
  }
  const range = portRangeOf(draft, socket);
  const choice = portsForConnect(draft, range, socket.portRange !== null, (port) => {
    const bucket = draft.ports.get(port);
    if (bucket !== undefined && !bucket.connectOnly && draft.kernel.rules.connectSkipsBoundPorts)
      return false;
    return takenBy(draft, socket, port, false) === undefined;
  });
  const port = draft.choose(choice);
  if (port === undefined) return draft.refuse('EADDRNOTAVAIL', 'no-port-to-connect-from');
  recycle(draft, socket, port);
  takePortToConnect(draft, id, port);
  draft.change(id, { portByConnect: true });
  return draft.allow('port-for-connection');
}

/** What comes for the one may go to the other: then the kernel's sequence numbers decide, which are not modelled. */
function checkRivals(draft: Draft, { local, port, remote, remotePort }: Connected): void {
  const rivals = draft.connections.get(tupleKey(local, port, remote, remotePort)) ?? [];
  if (rivals.some((id) => draft.sockets.has(id))) {
    throw new NotModelled('two connections of the same two ends that only an interface tells apart');
  }
}

/** Who has the 4-tuple and cannot be replaced. @see __inet_check_established(), tcp_twsk_unique() */
function takenBy(draft: Draft, socket: Socket, port: number, isExplicit: boolean): Id | undefined {
  for (const owner of equals(draft, socket, port)) {
    if (!('substate' in owner)) return owner.id;
    if (!mayRecycle(draft, owner, isExplicit)) return owner.id;
  }
  return undefined;
}

function mayRecycle(draft: Draft, entry: TimeWait, isExplicit: boolean): boolean {
  const { sysctls, kernel } = draft;
  if (!entry.timestamps) return false;
  if (isExplicit) return kernel.rules.explicitPortRecyclesTimeWait;
  if (sysctls.twReuse === 0 || entry.substate !== 'TIME_WAIT') return false;
  const isLocal = isLoopback(entry.local) || isLoopback(entry.remote) || entry.device === LOOPBACK_DEVICE;
  if (sysctls.twReuse === 2 && kernel.rules.twReuse2NeedsLoopback && !isLocal) return false;
  return draft.now - entry.since > (kernel.rules.twReuseDelay ? sysctls.twReuseDelayMs : 1000);
}

/** Everybody with this 4-tuple whose device does not tell it apart. */
function equals(draft: Draft, socket: Socket, port: number): readonly Owner[] {
  const { local, remote, remotePort, device, id } = socket;
  if (remote === null) return [];
  return (draft.connections.get(tupleKey(local, port, remote, remotePort)) ?? [])
    .filter((other) => other !== id)
    .map((other) => draft.sockets.get(other) ?? draft.timeWaits.get(other))
    .filter((owner) => owner !== undefined)
    .filter((owner) => owner.device === '' || owner.device === device);
}

/** The TIME_WAIT entry whose place the connection takes. */
function recycle(draft: Draft, socket: Socket, port: number): void {
  for (const owner of equals(draft, socket, port)) {
    if (!('substate' in owner)) continue;
    draft.apply(socket.port === 0 ? 'tw-reuse' : 'explicit-port-recycles-time-wait');
    removeTimeWait(draft, owner.id);
  }
}

/** The connection did not come about. */
function fail(draft: Draft, id: Id): void {
  const { state, portGiven, port } = draft.socket(id);
  if (isInConnection(draft.socket(id))) removeConnection(draft, connectedOf(draft.socket(id)));
  draft.change(id, { state: 'CLOSE' });
  if (!portGiven && draft.kernel.rules.automaticPortReleased) {
    if (port !== 0) draft.apply('automatic-port-released');
    releasePort(draft, id);
  }
  if (state === 'SYN_SENT') draft.change(id, { received: true });
  forgetConnection(draft, id);
}

/** What the SYN meets. */
function meet(draft: Draft, id: Id): Verdict {
  const socket = draft.socket(id);
  const own = connectedOf(socket);
  if (own.local.key === own.remote.key && own.port === own.remotePort) {
    draft.change(id, { state: 'ESTABLISHED', connected: true, received: true });
    return draft.allow('self-connection');
  }
  const former = peerOf(draft, own);
  if (former !== undefined) clearWay(draft, former);
  const listeners = listenersFor(draft, own.remote, own.remotePort);
  // A group's members are not asked for their interface.
  if (listeners.some((listener) => !isReached(draft.socket(listener)))) {
    throw new NotModelled('an SO_REUSEPORT group with a member at another interface: what it gets hangs');
  }
  const listener =
    listeners.length <= 1
      ? listeners[0]
      : draft.choose({ kind: 'listener', options: listeners, mayFail: false });
  if (listener === undefined) {
    fail(draft, id);
    return draft.refuse('ECONNREFUSED', 'nobody-listens');
  }
  if (draft.socket(listener).wentMapped && own.remote.kind === 'real' && own.remote.family === 'ipv6') {
    throw new NotModelled('an IPv6 connection to a listener that has connected to a v4-mapped address');
  }
  if (draft.socket(listener).queue.length > draft.socket(listener).backlog) {
    throw new NotModelled('a connect to a listener whose accept queue is full');
  }
  if (listeners.length > 1) draft.apply('reuseport-group-shares');
  draft.change(id, { state: 'ESTABLISHED', connected: true, received: true });
  addChild(draft, draft.socket(listener), draft.socket(id));
  return draft.allow('connected');
}

/** Who is left over from an earlier connection of the same two ends. */
function clearWay(draft: Draft, former: Owner): void {
  if ('substate' in former) {
    if (former.substate === 'FIN_WAIT2') throw new NotModelled('a SYN that meets an orphan in FIN_WAIT2');
    draft.apply('syn-replaces-time-wait');
    removeTimeWait(draft, former.id);
    return;
  }
  if (former.state !== 'CLOSE_WAIT') throw new NotModelled(`a SYN that meets a socket in ${former.state}`);
  draft.apply('syn-resets-former-peer');
  takeReset(draft, former);
}

/** The connection at the listener's side. @see tcp_v4_syn_recv_sock(), inet_csk_clone_lock(), sk_clone_lock() */
function addChild(draft: Draft, listener: Socket, client: Socket): void {
  const { local, port, remote, remotePort } = connectedOf(client);
  const asSeen = (host: Host): Host =>
    listener.family === 'ipv4' ? unmapped(host) : host.family === 'ipv4' ? mapped(host) : host;
  const child = draft.add({
    ...newSocket('tcp', listener.family, draft, listener.uid, ''),
    reuse: listener.reuse,
    reusePort: listener.reusePort,
    v6only: listener.v6only,
    device: listener.device,
    freebind: listener.freebind,
    bindNoPort: listener.bindNoPort,
    portRange: listener.portRange,
    lingerZero: listener.lingerZero,
    addressGiven: listener.addressGiven,
    processes: [],
    queuedAt: listener.id,
    state: 'ESTABLISHED',
    received: true,
    local: asSeen(remote),
    fourSource: fourOf(asSeen(remote)),
    remote: asSeen(local),
    remotePort: port,
    shownPort: remotePort,
    timestamps: client.timestamps && draft.sysctls.timestamps,
    wentMapped: listener.family === 'ipv6' && asSeen(remote).kind === 'mapped',
  });
  inheritPort(draft, child.id, remotePort);
  draft.change(child.id, { port: remotePort });
  addConnection(draft, connectedOf(draft.socket(child.id)));
  draft.change(listener.id, { queue: [...listener.queue, child.id] });
}

/** connect() with AF_UNSPEC. @see tcp_disconnect(), __udp_disconnect() */
export function disconnect(draft: Draft, id: Id): Verdict {
  const socket = draft.socket(id);
  if (socket.protocol === 'udp') return disconnectUdp(draft, id);
  leaveState(draft, id);
  forgetConnection(draft, id);
  return draft.allow('disconnect');
}

/** From any state to CLOSE; a connection is reset. */
export function leaveState(draft: Draft, id: Id): void {
  const socket = draft.socket(id);
  if (socket.state === 'CLOSE') return;
  if (socket.state === 'LISTEN') {
    stopListening(draft, id);
    draft.change(id, { state: 'CLOSE' });
    if (!socket.portGiven && draft.kernel.rules.automaticPortReleased) releasePort(draft, id);
    return;
  }
  sendReset(draft, socket);
  finish(draft, id);
}

function connectUdp(draft: Draft, id: Id, address: InetAddress): Verdict {
  if (draft.socket(id).port === 0) {
    const taken = takeAutomaticPort(draft, id);
    if (!taken.ok) return draft.refuse('EAGAIN', 'no-automatic-port');
    draft.change(id, { shownPort: draft.socket(id).port });
  }
  const socket = draft.socket(id);
  checkSource(draft, socket);
  if (isMulticast(hostOf(address.family, address.host)))
    throw new NotModelled('UDP connect to a multicast address');
  if (socket.local.kind === 'mapped' && address.family === 'ipv6') {
    const { kind } = hostOf('ipv6', address.host);
    if (kind === 'real') throw new NotModelled('UDP connect to an IPv6 address from a v4-mapped one');
  }
  const to = destinationOf(draft, socket, address);
  if ('code' in to) return draft.refuse(to.code, to.rule);
  const remote = socket.family === 'ipv6' && to.family === 'ipv4' ? mapped(to) : to;
  const local = isUnset(socket.local) ? sourceFor(socket, remote) : socket.local;
  // Moving to another address takes it out of its SO_REUSEPORT group.
  const group = local === socket.local ? socket.group : null;
  draft.change(id, { local, group, remote, remotePort: address.port, state: 'ESTABLISHED', connected: true });
  return draft.allow('udp-connect-takes-address');
}

function disconnectUdp(draft: Draft, id: Id): Verdict {
  const { addressGiven, portGiven, family } = draft.socket(id);
  draft.change(id, { state: 'CLOSE', connected: false, remote: null, remotePort: 0, device: '' });
  if (!addressGiven) {
    draft.change(id, { local: hostOf(family, family === 'ipv4' ? '0.0.0.0' : '::'), group: null });
  }
  if (!portGiven) {
    releaseUdpPort(draft, id);
    draft.change(id, { shownPort: 0 });
  }
  return draft.allow('udp-disconnect');
}
