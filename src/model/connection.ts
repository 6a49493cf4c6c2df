import { disown, moveTo, ownAsTimeWait, releasePort } from './buckets.js';
import { ANY4, anyHost, type Host } from './host.js';
import { isReached, leaveLookup } from './lookup.js';
import { type Draft, type Id, type Owner, type Socket, type TimeWait, tupleKey } from './world.js';

/** How long TIME_WAIT lasts on Linux, ms. @see TCP_TIMEWAIT_LEN in include/net/tcp.h */
export const TIME_WAIT_MS = 60_000;

/** Puts a connection into the table of connections. */
export function addConnection(draft: Draft, { id, local, port, remote, remotePort }: Connected): void {
  const key = tupleKey(local, port, remote, remotePort);
  draft.connections.set(key, [id, ...(draft.connections.get(key) ?? [])]);
}

export function removeConnection(draft: Draft, { id, local, port, remote, remotePort }: Connected): void {
  const key = tupleKey(local, port, remote, remotePort);
  const left = (draft.connections.get(key) ?? []).filter((other) => other !== id);
  if (left.length === 0) draft.connections.delete(key);
  else draft.connections.set(key, left);
}

/** One end of a connection, with everything known. */
export interface Connected {
  readonly id: Id;
  readonly local: Host;
  readonly port: number;
  readonly remote: Host;
  readonly remotePort: number;
}

/** The socket as an end of a connection. */
export function connectedOf(socket: Socket): Connected {
  const { id, local, shownPort, remote, remotePort } = socket;
  if (remote === null) throw new Error(`socket ${id} is not connected`);
  return { id, local, port: shownPort, remote, remotePort };
}

/** Who gets what is sent from here to the other end: another socket, a TIME_WAIT entry, or nobody. */
export function peerOf(
  draft: Draft,
  { local, port, remote, remotePort }: Omit<Connected, 'id'>,
): Owner | undefined {
  const ids = draft.connections.get(tupleKey(remote, remotePort, local, port)) ?? [];
  for (const id of ids) {
    const owner = draft.sockets.get(id) ?? draft.timeWaits.get(id);
    if (owner !== undefined && isReached(owner)) return owner;
  }
  return undefined;
}

/** States in which a connection's end is in the table of connections. */
export function isInConnection({ state }: Socket): boolean {
  return state !== 'CLOSE' && state !== 'LISTEN';
}

/**
 * The connection is over here: CLOSE, out of the table, the port given up unless the program named it. An orphan
 * ends.
 *
 * @see tcp_done(), tcp_set_state()
 */
export function finish(draft: Draft, id: Id): void {
  const socket = draft.socket(id);
  if (isInConnection(socket)) removeConnection(draft, connectedOf(socket));
  draft.change(id, { state: 'CLOSE', sendShut: true, receiveShut: true });
  if (!socket.portGiven && draft.kernel.rules.automaticPortReleased) {
    if (socket.port !== 0) draft.apply('automatic-port-released');
    releasePort(draft, id);
  }
  if (isOrphan(socket)) destroy(draft, id);
}

/** Nobody has it open and it is in no queue. */
export function isOrphan({ processes, queuedAt }: Socket): boolean {
  return processes.length === 0 && queuedAt === null;
}

/** The socket is no more. */
export function destroy(draft: Draft, id: Id): void {
  releasePort(draft, id);
  draft.sockets.delete(id);
}

/** A reset has come in. */
export function takeReset(draft: Draft, owner: Owner): void {
  if ('substate' in owner) {
    draft.apply('reset-ends-time-wait');
    removeTimeWait(draft, owner.id);
    return;
  }
  draft.apply('reset-closes');
  const pendingError = owner.state === 'CLOSE_WAIT' ? 'EPIPE' : 'ECONNRESET';
  draft.change(owner.id, { received: true, pendingError });
  finish(draft, owner.id);
}

/** Sends a reset to the other end; the own socket is the caller's. */
export function sendReset(draft: Draft, from: Socket): void {
  const peer = peerOf(draft, connectedOf(from));
  if (peer !== undefined && peer.id !== from.id) takeReset(draft, peer);
}

/** Puts a TIME_WAIT entry in the socket's place; the socket itself ends or is CLOSE. @see tcp_time_wait() */
export function enterTimeWait(draft: Draft, id: Id, substate: TimeWait['substate']): void {
  const socket = draft.socket(id);
  const { local, port, remote, remotePort } = connectedOf(socket);
  if (draft.timeWaits.size >= draft.sysctls.maxTwBuckets) {
    draft.apply('time-wait-limit');
  } else {
    draft.apply(substate === 'TIME_WAIT' ? 'closes-first-time-wait' : 'orphan-fin-wait-2');
    const entry: TimeWait = {
      id: draft.nextId++,
      protocol: 'tcp',
      family: socket.family,
      state: 'TIME_WAIT',
      substate,
      reuse: socket.reuse,
      reusePort: socket.reusePort,
      v6only: socket.v6only,
      device: socket.device,
      local,
      port,
      remote,
      remotePort,
      portByConnect: socket.portByConnect,
      timestamps: socket.timestamps,
      bucket: local.key,
      since: draft.now,
      until: draft.now + (substate === 'TIME_WAIT' ? TIME_WAIT_MS : draft.sysctls.finTimeoutS * 1000),
    };
    draft.timeWaits.set(entry.id, entry);
    if (socket.port !== 0 && draft.kernel.rules.timeWaitHoldsPort) {
      ownAsTimeWait(draft, entry.id, port, local.key);
    }
    addConnection(draft, entry);
  }
  finish(draft, id);
}

export function removeTimeWait(draft: Draft, id: Id): void {
  const entry = draft.timeWaits.get(id);
  if (entry === undefined) return;
  removeConnection(draft, entry);
  disown(draft, id, entry.port, entry.bucket);
  draft.timeWaits.delete(id);
}

/** Sends FIN: this end closes its direction. @see tcp_close_state(), tcp_fin(), tcp_timewait_state_process() */
export function sendFin(draft: Draft, id: Id): void {
  const socket = draft.socket(id);
  const wasLast = socket.state === 'CLOSE_WAIT';
  draft.change(id, { state: wasLast ? 'LAST_ACK' : 'FIN_WAIT1', sendShut: true });
  const peer = peerOf(draft, connectedOf(socket));
  if (peer === undefined) {
    // Nobody there knows the connection: the answer is a reset.
    takeReset(draft, draft.socket(id));
    return;
  }
  if (peer.id === id) {
    draft.apply('self-connection-closes');
    draft.change(id, { received: true });
    enterTimeWait(draft, id, 'TIME_WAIT');
    return;
  }
  takeFin(draft, peer);
  // Its ACK comes back.
  draft.change(id, { received: true });
  if (wasLast) finish(draft, id);
  else acknowledged(draft, id);
}

/** The peer's side of a FIN. */
function takeFin(draft: Draft, peer: Owner): void {
  if ('substate' in peer) {
    if (peer.substate === 'FIN_WAIT2') {
      draft.apply('fin-wait-2-becomes-time-wait');
      draft.timeWaits.set(peer.id, {
        ...peer,
        substate: 'TIME_WAIT',
        since: draft.now,
        until: draft.now + TIME_WAIT_MS,
      });
    }
    return;
  }
  draft.change(peer.id, { received: true, receiveShut: true });
  if (peer.state === 'ESTABLISHED') draft.change(peer.id, { state: 'CLOSE_WAIT' });
  else if (peer.state === 'FIN_WAIT2') enterTimeWait(draft, peer.id, 'TIME_WAIT');
}

/** Our FIN was acknowledged and the other end has not closed: FIN_WAIT2, as an entry if nobody has the socket. */
function acknowledged(draft: Draft, id: Id): void {
  const socket = draft.change(id, { state: 'FIN_WAIT2' });
  if (isOrphan(socket)) becomeOrphan(draft, id);
}

/** An orphan in FIN_WAIT2 is kept as an entry, at once or after what exceeds 60 s. @see tcp_rcv_state_process(), tcp_close() */
export function becomeOrphan(draft: Draft, id: Id): void {
  if (draft.sysctls.finTimeoutS * 1000 > TIME_WAIT_MS) draft.change(id, { orphanSince: draft.now });
  else enterTimeWait(draft, id, 'FIN_WAIT2');
}

/** Back to no address and no other end, as far as the program gave none. @see tcp_disconnect() */
export function forgetConnection(draft: Draft, id: Id): void {
  const { addressGiven, family } = draft.socket(id);
  if (!addressGiven || !draft.kernel.rules.givenAddressKept) {
    moveTo(draft, id, anyHost(family));
    draft.change(id, { fourSource: ANY4 });
  }
  draft.change(id, {
    remote: null,
    remotePort: 0,
    connected: false,
    sendShut: false,
    receiveShut: false,
    pendingError: null,
    unread: 0,
  });
}

/** The listener stops: connections in its queue are reset. @see inet_csk_listen_stop() */
export function stopListening(draft: Draft, id: Id): void {
  const { queue } = draft.socket(id);
  leaveLookup(draft, id);
  draft.change(id, { queue: [] });
  for (const child of queue) {
    const connection = draft.socket(child);
    draft.apply('closing-a-listener-resets-its-queue');
    draft.change(child, { queuedAt: null });
    if (isInConnection(connection)) {
      sendReset(draft, connection);
      removeConnection(draft, connectedOf(connection));
      draft.change(child, { state: 'CLOSE' });
    }
    destroy(draft, child);
  }
}
