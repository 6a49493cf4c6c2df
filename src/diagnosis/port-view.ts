import { type SocketFd, type SocketWalk, walkSockets } from '../kernel/fd-walk.js';
import { type SocketOptions, type SocketOptionsUnread, socketOptionsOf } from '../kernel/foreign-socket.js';
import { interfaceName } from '../kernel/interface.js';
import { type Leftovers, type PortRange, type TcpSocket, tcpPort, udpSockets } from '../kernel/sock-diag.js';
import type { SeenSocket } from '../model/seen.js';
import type { Protocol } from '../model/world.js';
import { lookAtMachine, type Machine } from './machine.js';

/** A socket of this network namespace, with all that can be seen of it. */
export interface ViewedSocket extends TcpSocket {
  /** Name of the interface that it is bound to, '' for none. */
  readonly device: string;
  /** Every process and number by which it is open, as far as we may see. */
  readonly holders: readonly SocketFd[];
  /** What its holder has set; null when nobody that we can see has it open. */
  readonly options: SocketOptions | SocketOptionsUnread | null;
}

/** What has a local port, or one of several, as far as this user may see it. */
export interface PortView {
  readonly protocol: Protocol;
  readonly sockets: readonly ViewedSocket[];
  readonly leftovers: readonly Leftovers[];
  /** Processes whose open files we may not see. */
  readonly hiddenPids: readonly number[];
  /** How many processes the time was too short for. */
  readonly skipped: number;
  readonly machine: Machine;
}

/** Which ports; undefined for all. */
export type Ports = number | PortRange | undefined;

/**
 * Looks at the sockets of this network namespace that have the port.
 *
 * @throws {SyscallError} EPROTONOSUPPORT: the kernel has no inet_diag.
 */
export function lookAtPorts(
  protocol: Protocol,
  ports: Ports,
  { holders = true, withinMs }: { readonly holders?: boolean; readonly withinMs?: number | undefined } = {},
): PortView {
  const { sockets, leftovers } = protocol === 'tcp' ? tcpPort(ports) : udpOf(ports);
  const inodes = new Set(sockets.map(({ inode }) => inode).filter((inode) => inode !== 0));
  const walk = walkSockets(holders ? inodes : new Set(), withinMs);
  return {
    protocol,
    sockets: sockets.map((socket) => viewed(socket, walk)),
    leftovers,
    hiddenPids: walk.hiddenPids,
    skipped: walk.skipped,
    machine: lookAtMachine(),
  };
}

/** The part of a view that has this port. */
export function onlyPort(view: PortView, port: number): PortView {
  return {
    ...view,
    sockets: view.sockets.filter(({ local }) => local.port === port),
    leftovers: view.leftovers.filter(({ local }) => local.port === port),
  };
}

function udpOf(ports: Ports): { readonly sockets: readonly TcpSocket[]; readonly leftovers: [] } {
  if (typeof ports !== 'object') return { sockets: udpSockets(ports), leftovers: [] };
  const { from, to } = ports;
  return {
    sockets: udpSockets().filter(({ local }) => local.port >= from && local.port <= to),
    leftovers: [],
  };
}

function viewed(socket: TcpSocket, { holders }: SocketWalk): ViewedSocket {
  const own = holders.get(socket.inode) ?? [];
  return {
    ...socket,
    device: interfaceName(socket.interfaceIndex),
    holders: own,
    options: optionsThrough(own, socket.inode),
  };
}

/** Of the first holder that lets us; else why the last one does not. */
function optionsThrough(holders: readonly SocketFd[], inode: number): ViewedSocket['options'] {
  let refused: ViewedSocket['options'] = null;
  for (const holder of holders) {
    const options = socketOptionsOf(holder, inode);
    if (options.ok) return options;
    refused = options;
  }
  return refused;
}

/** One thing that has the port, as the model sees it, and what it stands for. */
export interface Origin {
  readonly seen: SeenSocket;
  /** Several that do not differ in what decides about a bind are seen as one. */
  readonly sockets: readonly ViewedSocket[];
  readonly leftovers: readonly Leftovers[];
}

/** The sockets of a view as the model wants them. Sockets that are alike to it are one. */
export function originsOf({ protocol, sockets, leftovers }: PortView): readonly Origin[] {
  const origins = new Map<string, Origin>();
  for (const socket of sockets) {
    const seen = seenSocket(protocol, socket);
    const { local, state, uid, device, v6only, reuse, reusePort, isOrphan } = seen;
    const stateKey = state === 'LISTEN' ? state : 'other';
    const key = [
      stateKey,
      local.family,
      local.host,
      local.port,
      uid,
      device,
      v6only,
      reuse,
      reusePort,
      isOrphan,
    ];
    const name = key.join(' ');
    const known = origins.get(name);
    origins.set(
      name,
      known === undefined
        ? { seen, sockets: [socket], leftovers: [] }
        : { ...known, sockets: [...known.sockets, socket] },
    );
  }
  return [...origins.values(), ...leftovers.map(originOfLeftovers)];
}

function seenSocket(protocol: Protocol, socket: ViewedSocket): SeenSocket {
  const { state, local, peer, v6only, uid, inode, device, options } = socket;
  return {
    protocol,
    state,
    local,
    peer,
    v6only,
    uid,
    device,
    reuse: options?.ok ? options.reuse : undefined,
    reusePort: options?.ok ? options.reusePort : undefined,
    isOrphan: inode === 0,
  };
}

function originOfLeftovers(group: Leftovers): Origin {
  const { state, local, interfaceIndex } = group;
  const seen: SeenSocket = {
    protocol: 'tcp',
    state,
    local,
    peer: { family: local.family, host: local.family === 'ipv4' ? '0.0.0.0' : '::', port: 0 },
    v6only: false,
    uid: 0,
    device: interfaceName(interfaceIndex),
    reuse: undefined,
    reusePort: undefined,
    isOrphan: true,
  };
  return { seen, sockets: [], leftovers: [group] };
}
