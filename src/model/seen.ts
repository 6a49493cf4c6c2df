import type { InetAddress } from './address.js';
import { fourOf, hostOf } from './host.js';
import type { TcpState } from './tcp-state.js';
import {
  type AddressBucket,
  emptyWorld,
  type Id,
  newSocket,
  type PortBucket,
  type Protocol,
  type Socket,
  type TimeWait,
  type World,
} from './world.js';

/** What can be seen of a socket of a live machine. */
export interface SeenSocket {
  readonly protocol: Protocol;
  readonly state: TcpState;
  readonly local: InetAddress;
  readonly peer: InetAddress;
  readonly v6only: boolean;
  readonly uid: number;
  /** Name of the interface that it is bound to, '' for none. */
  readonly device: string;
  /** Undefined where it cannot be seen: another user's socket, an orphan, TIME_WAIT. */
  readonly reuse: boolean | undefined;
  readonly reusePort: boolean | undefined;
  /** Nobody has it open: TIME_WAIT, orphans, connections in an accept queue. */
  readonly isOrphan: boolean;
}

/** What is taken for what cannot be seen. */
export interface Assumption {
  readonly reuse: boolean;
  readonly reusePort: boolean;
  /** Whether ports remember a bind with SO_REUSEPORT that covers every address, by the user with this number. */
  readonly rememberedBy: number | null;
  /** Whether TIME_WAIT entries at IPv6 addresses are of sockets with IPV6_V6ONLY. */
  readonly timeWaitV6only: boolean;
}

/** Every assumption that these sockets leave open; what is the same under all of them is known. */
export function assumptions(uid: number, seen: readonly SeenSocket[]): readonly Assumption[] {
  const either = (isOpen: boolean): readonly boolean[] => (isOpen ? [false, true] : [false]);
  const reuses = either(seen.some(({ reuse }) => reuse === undefined));
  const reusePorts = either(seen.some(({ reusePort }) => reusePort === undefined));
  const v6onlys = either(
    seen.some((one) => one.local.family === 'ipv6' && (one.isOrphan || one.state === 'TIME_WAIT')),
  );
  return reuses.flatMap((reuse) =>
    reusePorts.flatMap((reusePort) =>
      (seen.length === 0 ? [null] : [null, uid]).flatMap((rememberedBy) =>
        v6onlys.map((timeWaitV6only) => ({ reuse, reusePort, rememberedBy, timeWaitV6only })),
      ),
    ),
  );
}

/**
 * A world of sockets that were seen. The id of the n-th is n + 1. What the kernel remembers besides them (the port
 * buckets' caches) is as assumed.
 */
export function worldOf(
  seen: readonly SeenSocket[],
  given: Partial<Pick<World, 'kernel' | 'sysctls' | 'addresses'>>,
  assumed: Assumption,
): World {
  const base = emptyWorld(given);
  const sockets = new Map<Id, Socket>();
  const timeWaits = new Map<Id, TimeWait>();
  const ports = new Map<number, PortBucket & { addresses: Map<string, AddressBucket & { owners: Id[] }> }>();
  const udpPorts = new Map<number, Id[]>();
  const listeners = new Map<number, Id[]>();
  for (const [index, one] of seen.entries()) {
    const id = index + 1;
    const { port } = one.local;
    const owner = ownerFor(base, id, one, assumed);
    if ('substate' in owner) timeWaits.set(id, owner);
    else sockets.set(id, owner);
    if (port === 0) continue;
    if (one.protocol === 'udp') {
      addTo(udpPorts, port, id);
      continue;
    }
    if (one.state === 'LISTEN') addTo(listeners, port, id);
    const bucket = ports.get(port) ?? {
      port,
      connectOnly: false,
      allReuse: false,
      reusePort:
        assumed.rememberedBy === null
          ? null
          : {
              uid: assumed.rememberedBy,
              family: 'ipv6' as const,
              local: hostOf('ipv6', '::'),
              v6only: false,
            },
      addresses: new Map(),
    };
    ports.set(port, bucket);
    const address = bucket.addresses.get(owner.local.key) ?? { connectOnly: false, owners: [] };
    address.owners.push(id);
    bucket.addresses.set(owner.local.key, address);
  }
  return { ...base, sockets, timeWaits, ports, udpPorts, listeners, nextId: seen.length + 1 };
}

function addTo(map: Map<number, Id[]>, port: number, id: Id): void {
  const ids = map.get(port);
  if (ids === undefined) map.set(port, [id]);
  else ids.push(id);
}

function ownerFor(base: World, id: Id, seen: SeenSocket, assumed: Assumption): Socket | TimeWait {
  const { protocol, state, uid, device } = seen;
  const { family } = seen.local;
  const local = hostOf(family, seen.local.host);
  const flags = { reuse: seen.reuse ?? assumed.reuse, reusePort: seen.reusePort ?? assumed.reusePort };
  const isEntry = protocol === 'tcp' && (state === 'TIME_WAIT' || (state === 'FIN_WAIT2' && seen.isOrphan));
  if (isEntry) {
    return {
      id,
      protocol: 'tcp',
      family,
      state: 'TIME_WAIT',
      substate: state === 'TIME_WAIT' ? 'TIME_WAIT' : 'FIN_WAIT2',
      ...flags,
      v6only: family === 'ipv6' && local.kind === 'real' && assumed.timeWaitV6only,
      device,
      local,
      port: seen.local.port,
      remote: hostOf(family, seen.peer.host),
      remotePort: seen.peer.port,
      portByConnect: false,
      timestamps: true,
      bucket: local.key,
      since: 0,
      until: Number.POSITIVE_INFINITY,
    };
  }
  return {
    ...newSocket(protocol, family, base, uid, 'seen'),
    id,
    ...flags,
    boundReuse: flags.reuse,
    boundReusePort: flags.reusePort,
    v6only: seen.v6only,
    device,
    local,
    fourSource: fourOf(local),
    port: seen.local.port,
    shownPort: seen.local.port,
    bucket: local.key,
    state,
  };
}
