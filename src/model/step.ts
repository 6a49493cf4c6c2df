import type { InetAddress } from './address.js';
import { type BindRequest, bind, listen } from './bind.js';
import { connect, disconnect, leaveState } from './connect.js';
import {
  becomeOrphan,
  connectedOf,
  destroy,
  enterTimeWait,
  finish,
  forgetConnection,
  isInConnection,
  isOrphan,
  peerOf,
  removeTimeWait,
  sendFin,
  sendReset,
  TIME_WAIT_MS,
  takeReset,
} from './connection.js';
import type { RuleId } from './rules.js';
import { releaseUdpPort } from './udp-ports.js';
import {
  type Chooser,
  chooseFirst,
  Draft,
  type Id,
  NotModelled,
  newSocket,
  type PortRange,
  type Protocol,
  type Refusal,
  type Socket,
  type Sysctls,
  type World,
} from './world.js';

/** A socket option as `set` takes it. */
export type Setting =
  | {
      readonly option:
        | 'SO_REUSEADDR'
        | 'SO_REUSEPORT'
        | 'IPV6_V6ONLY'
        | 'IP_FREEBIND'
        | 'IP_BIND_ADDRESS_NO_PORT';
      readonly value: boolean;
    }
  /** SO_LINGER with time 0, or off. */
  | { readonly option: 'SO_LINGER'; readonly value: boolean }
  | { readonly option: 'SO_BINDTODEVICE'; readonly value: string; readonly mayRebind: boolean }
  | { readonly option: 'IP_LOCAL_PORT_RANGE'; readonly value: PortRange | null };

/** One call, or something else that happens. Sockets are named by their numbers. */
export type Operation =
  | {
      readonly type: 'socket';
      readonly protocol: Protocol;
      readonly family: Socket['family'];
      readonly uid: number;
      readonly process: string;
    }
  | ({ readonly type: 'set'; readonly socket: Id } & Setting)
  | ({ readonly type: 'bind'; readonly socket: Id } & BindRequest)
  | { readonly type: 'listen'; readonly socket: Id; readonly backlog: number }
  | { readonly type: 'connect'; readonly socket: Id; readonly address: InetAddress }
  | { readonly type: 'disconnect'; readonly socket: Id }
  | { readonly type: 'accept'; readonly socket: Id; readonly uid: number; readonly process: string }
  | { readonly type: 'send' | 'receive'; readonly socket: Id; readonly bytes: number }
  | { readonly type: 'shutdown'; readonly socket: Id; readonly how: 'read' | 'write' | 'both' }
  /** fork or SCM_RIGHTS: another process has it open too. */
  | { readonly type: 'share'; readonly socket: Id; readonly process: string }
  | { readonly type: 'close'; readonly socket: Id; readonly process: string }
  | { readonly type: 'exit'; readonly process: string }
  /** SOCK_DESTROY of sock_diag(7), of a socket or a TIME_WAIT entry. */
  | { readonly type: 'destroy'; readonly id: Id }
  | { readonly type: 'wait'; readonly ms: number }
  | { readonly type: 'sysctl'; readonly settings: Partial<Sysctls> };

export interface Done {
  readonly ok: true;
  readonly rule: RuleId;
  /** The socket that `socket` or `accept` made. */
  readonly made?: Id;
}

export interface Step {
  readonly world: World;
  readonly outcome: Done | Refusal;
  /** Every rule that took part, in order. */
  readonly applied: readonly RuleId[];
}

/**
 * What an operation does. `choose` decides where the kernel is free: a port out of several, a member of an SO_REUSEPORT
 * group.
 *
 * @throws {NotModelled} where the model knows that it does not know.
 */
export function step(world: World, operation: Operation, choose: Chooser = chooseFirst): Step {
  const draft = new Draft(world, choose);
  const outcome = perform(draft, operation);
  return { world: draft, outcome, applied: draft.applied };
}

function perform(draft: Draft, operation: Operation): Done | Refusal {
  switch (operation.type) {
    case 'socket': {
      const { protocol, family, uid, process } = operation;
      const { id } = draft.add(newSocket(protocol, family, draft, uid, process));
      return { ...draft.allow('done'), made: id };
    }
    case 'set':
      return set(draft, operation.socket, operation);
    case 'bind':
      return bind(draft, operation.socket, operation);
    case 'listen':
      return listen(draft, operation.socket, operation.backlog);
    case 'connect':
      return connect(draft, operation.socket, operation.address);
    case 'disconnect':
      return disconnect(draft, operation.socket);
    case 'accept':
      return accept(draft, operation.socket, operation.uid, operation.process);
    case 'send':
      return send(draft, operation.socket, operation.bytes);
    case 'receive':
      return receive(draft, operation.socket, operation.bytes);
    case 'shutdown':
      return shutdown(draft, operation.socket, operation.how);
    case 'share': {
      const { processes } = draft.socket(operation.socket);
      draft.change(operation.socket, { processes: [...processes, operation.process] });
      return draft.allow('done');
    }
    case 'close':
      return close(draft, operation.socket, operation.process);
    case 'exit': {
      for (const { id, processes } of [...draft.sockets.values()]) {
        for (const process of processes) if (process === operation.process) close(draft, id, process);
      }
      return draft.allow('done');
    }
    case 'destroy':
      return destroyByAdministrator(draft, operation.id);
    case 'wait':
      return wait(draft, operation.ms);
    case 'sysctl':
      draft.sysctls = { ...draft.sysctls, ...operation.settings };
      return draft.allow('done');
  }
}

/** @see setsockopt(2), socket(7), ip(7), ipv6(7) */
function set(draft: Draft, id: Id, setting: Setting): Done | Refusal {
  const socket = draft.socket(id);
  switch (setting.option) {
    case 'SO_REUSEADDR':
      draft.change(id, { reuse: setting.value });
      break;
    case 'SO_REUSEPORT':
      draft.change(id, { reusePort: setting.value });
      break;
    case 'IPV6_V6ONLY':
      if (socket.family === 'ipv4') return draft.refuse('ENOPROTOOPT', 'v6only-is-for-ipv6');
      if (socket.port !== 0) return draft.refuse('EINVAL', 'v6only-before-bind');
      draft.change(id, { v6only: setting.value });
      break;
    case 'IP_FREEBIND':
      draft.change(id, { freebind: setting.value });
      break;
    case 'IP_BIND_ADDRESS_NO_PORT':
      draft.change(id, { bindNoPort: setting.value });
      break;
    case 'SO_LINGER':
      draft.change(id, { lingerZero: setting.value });
      break;
    case 'SO_BINDTODEVICE':
      if (setting.value !== '' && !draft.addresses.devices.includes(setting.value))
        return draft.refuse('ENODEV', 'no-such-device');
      if (socket.device !== '' && !setting.mayRebind)
        return draft.refuse('EPERM', 'rebinding-device-needs-privilege');
      if (socket.protocol === 'tcp' && isInConnection(socket))
        throw new NotModelled('a device for a connection');
      draft.change(id, { device: setting.value });
      break;
    case 'IP_LOCAL_PORT_RANGE':
      draft.change(id, { portRange: setting.value });
      break;
  }
  return draft.allow('done');
}

/** @see inet_csk_accept(); accept(2) */
function accept(draft: Draft, id: Id, uid: number, process: string): Done | Refusal {
  const { state, queue } = draft.socket(id);
  if (draft.socket(id).protocol === 'udp') return draft.refuse('EOPNOTSUPP', 'listen-is-for-streams');
  if (state !== 'LISTEN') return draft.refuse('EINVAL', 'accept-needs-listener');
  const [child, ...others] = queue;
  if (child === undefined) return draft.refuse('EAGAIN', 'nobody-waits');
  draft.change(id, { queue: others });
  draft.change(child, { queuedAt: null, uid, processes: [process], connected: true });
  return { ...draft.allow('accepted'), made: child };
}

/** @see tcp_sendmsg_locked(); send(2) with MSG_NOSIGNAL */
function send(draft: Draft, id: Id, bytes: number): Done | Refusal {
  const socket = draft.socket(id);
  if (socket.pendingError !== null) return takeError(draft, id, socket.pendingError);
  if (socket.sendShut || !(socket.state === 'ESTABLISHED' || socket.state === 'CLOSE_WAIT')) {
    return draft.refuse('EPIPE', 'send-needs-connection');
  }
  const peer = peerOf(draft, connectedOf(socket));
  if (peer !== undefined && !('substate' in peer) && mayTakeData(peer)) {
    draft.change(peer.id, { unread: peer.unread + bytes, received: true });
    draft.change(id, { received: true });
    return draft.allow('done');
  }
  // Nobody is left to read it: the other end answers with a reset and is gone itself.
  if (peer !== undefined && 'substate' in peer) removeTimeWait(draft, peer.id);
  else if (peer !== undefined) finish(draft, peer.id);
  draft.apply('data-to-closed-is-reset');
  takeReset(draft, draft.socket(id));
  return draft.allow('done');
}

/** After shutdown for both directions, and for an orphan, data is not taken. After one for reading alone it is. */
function mayTakeData(peer: Socket): boolean {
  return !isOrphan(peer) && !(peer.state === 'FIN_WAIT2' && peer.receiveShut);
}

/** @see tcp_recvmsg_locked(); recv(2) */
function receive(draft: Draft, id: Id, bytes: number): Done | Refusal {
  const { unread, state, receiveShut, connected, pendingError } = draft.socket(id);
  if (unread === 0 && pendingError === 'ECONNRESET') return takeError(draft, id, pendingError);
  if (!connected && state === 'CLOSE') return draft.refuse('ENOTCONN', 'receive-needs-connection');
  if (unread === 0 && !receiveShut) return draft.refuse('EAGAIN', 'nothing-to-read');
  draft.change(id, { unread: Math.max(0, unread - bytes) });
  return draft.allow('done');
}

/** An error is told once. @see sock_error() */
function takeError(draft: Draft, id: Id, code: 'ECONNRESET' | 'EPIPE'): Refusal {
  draft.change(id, { pendingError: null });
  return draft.refuse(code, 'reset-is-told-once');
}

/** @see inet_shutdown(), tcp_shutdown(); shutdown(2) */
function shutdown(draft: Draft, id: Id, how: 'read' | 'write' | 'both'): Done | Refusal {
  const socket = draft.socket(id);
  const [read, write] = [how !== 'write', how !== 'read'];
  if (socket.protocol === 'udp') {
    if (socket.state !== 'CLOSE') return draft.allow('done');
    return draft.refuse('ENOTCONN', 'shutdown-needs-connection');
  }
  if (socket.state === 'LISTEN') {
    if (!read) return draft.allow('shutdown-write-leaves-listener');
    leaveState(draft, id);
    forgetConnection(draft, id);
    return draft.allow('shutdown-ends-listening');
  }
  draft.change(id, {
    receiveShut: socket.receiveShut || read,
    sendShut: socket.sendShut || write,
  });
  if (socket.state === 'CLOSE') return draft.refuse('ENOTCONN', 'shutdown-needs-connection');
  if (write && (socket.state === 'ESTABLISHED' || socket.state === 'CLOSE_WAIT')) sendFin(draft, id);
  return draft.allow('done');
}

/** One process closes its fd; the last one ends the socket. @see __tcp_close(), tcp_disconnect(); close(2) */
function close(draft: Draft, id: Id, process: string): Done | Refusal {
  const socket = draft.socket(id);
  const at = socket.processes.indexOf(process);
  const processes = socket.processes.filter((_, index) => index !== at);
  draft.change(id, { processes });
  if (processes.length > 0) return draft.allow('another-process-has-it');
  if (socket.protocol === 'udp') {
    releaseUdpPort(draft, id);
    draft.sockets.delete(id);
    return draft.allow('done');
  }
  closeTcp(draft, draft.socket(id));
  return draft.allow('done');
}

function closeTcp(draft: Draft, socket: Socket): void {
  const { id, state, unread, lingerZero } = socket;
  if (state === 'CLOSE' || state === 'LISTEN') {
    leaveState(draft, id);
    destroy(draft, id);
  } else if (unread > 0 || lingerZero) {
    draft.apply(unread > 0 ? 'unread-data-resets' : 'linger-zero-resets');
    leaveState(draft, id);
  } else if (state === 'ESTABLISHED' || state === 'CLOSE_WAIT') {
    sendFin(draft, id);
  } else if (state === 'FIN_WAIT2') {
    becomeOrphan(draft, id);
  }
}

/** @see tcp_abort() */
function destroyByAdministrator(draft: Draft, id: Id): Done | Refusal {
  if (draft.timeWaits.has(id)) removeTimeWait(draft, id);
  else destroyConnection(draft, id);
  return draft.allow('destroyed');
}

function destroyConnection(draft: Draft, id: Id): void {
  const socket = draft.socket(id);
  if (isInConnection(socket)) sendReset(draft, socket);
  leaveState(draft, id);
}

/** Time passes: TIME_WAIT and orphans in FIN_WAIT2 end. */
function wait(draft: Draft, ms: number): Done {
  draft.now += ms;
  for (const { id, until } of [...draft.timeWaits.values()]) {
    if (until > draft.now) continue;
    draft.apply('time-wait-ends');
    removeTimeWait(draft, id);
  }
  for (const { id, orphanSince } of [...draft.sockets.values()]) {
    const excess = draft.sysctls.finTimeoutS * 1000 - TIME_WAIT_MS;
    if (orphanSince !== null && draft.now - orphanSince >= excess) enterTimeWait(draft, id, 'FIN_WAIT2');
  }
  return draft.allow('done');
}
