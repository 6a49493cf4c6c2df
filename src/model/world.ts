import { ANY4, anyHost, type Family, type Host } from './host.js';
import { type KernelVersion, LINUX_6_18 } from './kernel-rules.js';
import type { RuleId } from './rules.js';
import type { TcpState } from './tcp-state.js';

export type Protocol = 'tcp' | 'udp';

/** A socket or a TIME_WAIT entry; numbers are never used again. */
export type Id = number;

/** A socket. Addresses are in the kernel's own terms (`Host`); ports in host byte order. */
export interface Socket {
  readonly id: Id;
  readonly protocol: Protocol;
  readonly family: Family;
  /** Of who made it; of who accepted it. */
  readonly uid: number;
  readonly reuse: boolean;
  readonly reusePort: boolean;
  readonly v6only: boolean;
  /** The two as they were when the port was taken. */
  readonly boundReuse: boolean;
  readonly boundReusePort: boolean;
  /** SO_BINDTODEVICE; '' for none. */
  readonly device: string;
  readonly freebind: boolean;
  /** IP_BIND_ADDRESS_NO_PORT. */
  readonly bindNoPort: boolean;
  /** SO_LINGER with time 0. */
  readonly lingerZero: boolean;
  /** IP_LOCAL_PORT_RANGE. */
  readonly portRange: PortRange | null;
  readonly local: Host;
  /** The IPv4 address that it sends from, which a real IPv6 address got by connect leaves open. inet_saddr */
  readonly fourSource: Host;
  /** The port it holds; 0 for none. */
  readonly port: number;
  /** The port that getsockname shows. It outlives `port`. */
  readonly shownPort: number;
  readonly remote: Host | null;
  readonly remotePort: number;
  /** The program named the address in bind. SOCK_BINDADDR_LOCK */
  readonly addressGiven: boolean;
  /** The program named the port in bind. SOCK_BINDPORT_LOCK */
  readonly portGiven: boolean;
  /** connect chose the port. SOCK_CONNECT_BIND */
  readonly portByConnect: boolean;
  readonly state: TcpState;
  /** The file's view: stays true after a reset or a full close. SS_CONNECTED */
  readonly connected: boolean;
  /** It received a segment while it did not listen, so that the kernel knows a CPU for it. */
  readonly received: boolean;
  /** shutdown(SHUT_WR), or close: nothing can be sent. */
  readonly sendShut: boolean;
  readonly receiveShut: boolean;
  /** What the next send or receive fails with: a reset came in. sk_err */
  readonly pendingError: 'ECONNRESET' | 'EPIPE' | null;
  /** Bytes that nobody has read yet. */
  readonly unread: number;
  readonly backlog: number;
  /** Connections that wait for accept, oldest first. */
  readonly queue: readonly Id[];
  /** The listener whose queue it waits in. */
  readonly queuedAt: Id | null;
  /** SO_REUSEPORT group. */
  readonly group: number | null;
  /** Address bucket that it is an owner in; null without a port. */
  readonly bucket: string | null;
  /** Processes that have it open, one entry per fd. */
  readonly processes: readonly string[];
  /** Since when it is an orphan in FIN_WAIT2 that may last longer than TIME_WAIT; ms of the world's clock. */
  readonly orphanSince: number | null;
  /** It has started a connection to a v4-mapped address. */
  readonly wentMapped: boolean;
  /** Timestamps are in use on the connection. */
  readonly timestamps: boolean;
}

/** A TIME_WAIT entry, or an orphan in FIN_WAIT2, which the kernel keeps in the same form. */
export interface TimeWait {
  readonly id: Id;
  readonly protocol: 'tcp';
  readonly family: Family;
  readonly state: 'TIME_WAIT';
  readonly substate: 'TIME_WAIT' | 'FIN_WAIT2';
  readonly reuse: boolean;
  readonly reusePort: boolean;
  readonly v6only: boolean;
  readonly device: string;
  readonly local: Host;
  readonly port: number;
  readonly remote: Host;
  readonly remotePort: number;
  readonly portByConnect: boolean;
  readonly timestamps: boolean;
  readonly bucket: string;
  /** ms of the world's clock. */
  readonly since: number;
  readonly until: number;
}

/** Who counts when a port is asked for. */
export type Owner = Socket | TimeWait;

export interface PortRange {
  readonly low: number;
  /** Included. */
  readonly high: number;
}

/** inet_bind_bucket: a TCP port that somebody has. */
export interface PortBucket {
  readonly port: number;
  /** Only connect() has used it: other connects may too. */
  readonly connectOnly: boolean;
  /** What the kernel remembers of the last bind with SO_REUSEPORT. */
  readonly reusePort: ReusePortCache | null;
  /** Every binder had SO_REUSEADDR and none listens; Linux before 6.8. */
  readonly allReuse: boolean;
  /** By `Host.key`. inet_bind2_bucket */
  readonly addresses: ReadonlyMap<string, AddressBucket>;
}

export interface ReusePortCache {
  readonly uid: number;
  readonly family: Family;
  readonly local: Host;
  readonly v6only: boolean;
}

export interface AddressBucket {
  readonly connectOnly: boolean;
  readonly owners: readonly Id[];
}

/** Settings of the network namespace, by their names below net.ipv4 and net.ipv6. */
export interface Sysctls {
  readonly portRange: PortRange;
  readonly reservedPorts: readonly number[];
  readonly unprivilegedPortStart: number;
  readonly autobindReuse: boolean;
  readonly twReuse: 0 | 1 | 2;
  readonly twReuseDelayMs: number;
  readonly finTimeoutS: number;
  readonly maxTwBuckets: number;
  readonly timestamps: boolean;
  readonly v6only: boolean;
  readonly nonlocalBind4: boolean;
  readonly nonlocalBind6: boolean;
}

export const DEFAULT_SYSCTLS: Sysctls = {
  portRange: { low: 32_768, high: 60_999 },
  reservedPorts: [],
  unprivilegedPortStart: 1024,
  autobindReuse: false,
  twReuse: 2,
  twReuseDelayMs: 1000,
  finTimeoutS: 60,
  maxTwBuckets: 131_072,
  timestamps: true,
  v6only: false,
  nonlocalBind4: false,
  nonlocalBind6: false,
};

/** The addresses of the machine besides 127.0.0.0/8. All are taken to be reached through `lo`. */
export interface Addresses {
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
  readonly broadcast: readonly string[];
  /** Names of all interfaces. */
  readonly devices: readonly string[];
}

export const LOOPBACK_ONLY: Addresses = {
  ipv4: [],
  ipv6: ['::1'],
  broadcast: ['127.255.255.255'],
  devices: ['lo'],
};

/** Everything that decides what a call does. Never changed: `step` gives a new one. */
export interface World {
  readonly kernel: KernelVersion;
  readonly sysctls: Sysctls;
  readonly addresses: Addresses;
  readonly sockets: ReadonlyMap<Id, Socket>;
  readonly timeWaits: ReadonlyMap<Id, TimeWait>;
  /** TCP ports that somebody has. */
  readonly ports: ReadonlyMap<number, PortBucket>;
  /** UDP sockets by port, in the order in which they are looked at. */
  readonly udpPorts: ReadonlyMap<number, readonly Id[]>;
  /** TCP listeners by port, in the order of the look-up. */
  readonly listeners: ReadonlyMap<number, readonly Id[]>;
  /** Connections, TIME_WAIT included, by `tupleKey`, newest first. */
  readonly connections: ReadonlyMap<string, readonly Id[]>;
  /** ms since the world began. */
  readonly now: number;
  readonly nextId: Id;
}

export function emptyWorld(given: Partial<Pick<World, 'kernel' | 'sysctls' | 'addresses'>> = {}): World {
  return {
    kernel: given.kernel ?? LINUX_6_18,
    sysctls: given.sysctls ?? DEFAULT_SYSCTLS,
    addresses: given.addresses ?? LOOPBACK_ONLY,
    sockets: new Map(),
    timeWaits: new Map(),
    ports: new Map(),
    udpPorts: new Map(),
    listeners: new Map(),
    connections: new Map(),
    now: 0,
    nextId: 1,
  };
}

/** A call that failed: by which rule, and who stood in the way. */
export interface Refusal {
  readonly ok: false;
  readonly code: ErrorCode;
  readonly rule: RuleId;
  readonly holder?: Id;
}

export interface Allowed {
  readonly ok: true;
  readonly rule: RuleId;
}

export type Verdict = Allowed | Refusal;

export type ErrorCode =
  | 'EACCES'
  | 'EADDRINUSE'
  | 'EADDRNOTAVAIL'
  | 'EAFNOSUPPORT'
  | 'EAGAIN'
  | 'ECONNREFUSED'
  | 'EDESTADDRREQ'
  | 'EINVAL'
  | 'EISCONN'
  | 'ENETUNREACH'
  | 'ENODEV'
  | 'ENOPROTOOPT'
  | 'ENOTCONN'
  | 'EOPNOTSUPP'
  | 'EPERM'
  | 'EPIPE'
  | 'ECONNRESET';

/** What the model does not know: a call that hangs, or whose outcome depends on what it does not see. */
export class NotModelled extends Error {}

/** The kernel's free choice: one of `options`, none of them (undefined) when `mayFail`. */
export interface Choice<T> {
  readonly kind: 'port' | 'listener';
  readonly options: readonly T[];
  readonly mayFail: boolean;
}

/** Decides where the kernel is free. */
export type Chooser = <T extends number>(choice: Choice<T>) => T | undefined;

export const chooseFirst: Chooser = ({ options }) => options[0];

export function tupleKey(local: Host, port: number, remote: Host, remotePort: number): string {
  return `${local.key} ${port} ${remote.key} ${remotePort}`;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** A world while one step changes it. What it shares with the world it came from is copied before it is changed. */
export class Draft implements World {
  readonly kernel: KernelVersion;
  sysctls: Sysctls;
  readonly addresses: Addresses;
  readonly sockets: Map<Id, Socket>;
  readonly timeWaits: Map<Id, TimeWait>;
  readonly ports: Map<number, PortBucket>;
  readonly udpPorts: Map<number, readonly Id[]>;
  readonly listeners: Map<number, readonly Id[]>;
  readonly connections: Map<string, readonly Id[]>;
  now: number;
  nextId: Id;
  readonly choose: Chooser;
  /** Every rule that took part. */
  readonly applied: RuleId[] = [];

  constructor(world: World, choose: Chooser) {
    this.kernel = world.kernel;
    this.sysctls = world.sysctls;
    this.addresses = world.addresses;
    this.sockets = new Map(world.sockets);
    this.timeWaits = new Map(world.timeWaits);
    this.ports = new Map(world.ports);
    this.udpPorts = new Map(world.udpPorts);
    this.listeners = new Map(world.listeners);
    this.connections = new Map(world.connections);
    this.now = world.now;
    this.nextId = world.nextId;
    this.choose = choose;
  }

  apply(rule: RuleId): void {
    this.applied.push(rule);
  }

  allow(rule: RuleId): Allowed {
    this.apply(rule);
    return { ok: true, rule };
  }

  refuse(code: ErrorCode, rule: RuleId, holder?: Id): Refusal {
    this.apply(rule);
    return holder === undefined ? { ok: false, code, rule } : { ok: false, code, rule, holder };
  }

  /** The socket that must be there. */
  socket(id: Id): Socket {
    const socket = this.sockets.get(id);
    if (socket === undefined) throw new Error(`no socket ${id}`);
    return socket;
  }

  change(id: Id, changes: Partial<Writable<Socket>>): Socket {
    const socket = { ...this.socket(id), ...changes };
    this.sockets.set(id, socket);
    return socket;
  }

  add(socket: Omit<Socket, 'id'>): Socket {
    const added = { ...socket, id: this.nextId++ };
    this.sockets.set(added.id, added);
    return added;
  }
}

/** A socket as socket(2) makes it. */
export function newSocket(
  protocol: Protocol,
  family: Family,
  { sysctls }: World,
  uid: number,
  process: string,
): Omit<Socket, 'id'> {
  return {
    protocol,
    family,
    uid,
    reuse: false,
    reusePort: false,
    boundReuse: false,
    boundReusePort: false,
    v6only: family === 'ipv6' && sysctls.v6only,
    device: '',
    freebind: false,
    bindNoPort: false,
    lingerZero: false,
    portRange: null,
    local: anyHost(family),
    fourSource: ANY4,
    port: 0,
    shownPort: 0,
    remote: null,
    remotePort: 0,
    addressGiven: false,
    portGiven: false,
    portByConnect: false,
    state: 'CLOSE',
    connected: false,
    received: false,
    sendShut: false,
    receiveShut: false,
    pendingError: null,
    unread: 0,
    backlog: 0,
    queue: [],
    queuedAt: null,
    group: null,
    bucket: null,
    processes: [process],
    orphanSince: null,
    wentMapped: false,
    timestamps: sysctls.timestamps,
  };
}

/** Whoever has the port and address, by its number. */
export function ownerOf(world: World, id: Id): Owner {
  const owner = world.sockets.get(id) ?? world.timeWaits.get(id);
  if (owner === undefined) throw new Error(`no socket or TIME_WAIT entry ${id}`);
  return owner;
}
