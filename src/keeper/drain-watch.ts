import type { Fd } from '../kernel/libc.js';
import { localAddress } from '../kernel/socket.js';
import {
  halfOpenConnections,
  sameConnections,
  type TcpConnection,
  tcpConnections,
} from '../kernel/tcp-connections.js';
import type { InetAddress } from '../model/address.js';
import {
  type ConnectionHistory,
  type ConnectionVerdict,
  judge,
  observe,
  type Quiet,
} from '../model/drain.js';
import { toldQueueLength } from './held.js';

/** How long a connection has been quiet when it counts as idle. */
export const QUIET_MS = 1_000;

export interface WatchOptions {
  /** Our fds of the listening TCP sockets of the old copy. They may become fewer. */
  readonly listeners: () => readonly Fd[];
  /** Their local ports. */
  readonly ports: readonly number[];
  /** Inodes of the sockets that the old copy's processes have open, read anew at each call. */
  readonly inodes: () => ReadonlySet<number>;
  /**
   * What to wait for. `queue`: every connection that was made is accepted. `idle`: nothing is owed, and each connection
   * has been quiet for `quietMs`. `open`: all are closed.
   */
  readonly wait: 'queue' | 'idle' | 'open';
  /** Default 1 s. */
  readonly quietMs?: number | undefined;
  /**
   * The same where a prompt answer and the end of a TLS handshake look alike, from the last byte on: how long the first
   * request of a TLS connection may take. Default: `quietMs`.
   */
  readonly unclearQuietMs?: number | undefined;
}

/** What one look found. */
export interface DrainLook {
  /** What is waited for is reached. */
  readonly isOver: boolean;
  /** Connections that nobody has accepted: in the accept queues, or half-open since the first look. */
  readonly waiting: number;
  /** Connections of the old copy. Not looked for with `queue`. */
  readonly open: number;
  /** Of these, how many are owed something. */
  readonly owed: number;
}

/** By the ids of the connections. */
type Histories = ReadonlyMap<string, ConnectionHistory<TcpConnection>>;

/** Up to so many it is cheaper to ask for each than to dump, and so it is for half of all that is dumped. */
const FEW = 1_000;
/** How old the last dump may become while each is asked for. */
const DUMP_EVERY_MS = 1_000;
/** An accepted connection may be handed on to another process. */
const PROCESSES_EVERY_MS = 5_000;

/** Looks at the connections of an old copy of a server, again and again. */
export class DrainWatch {
  readonly #options: WatchOptions;
  readonly #quiet: Quiet;
  /** A connection has the family of its listener, also when its client has another. */
  readonly #families: readonly InetAddress['family'][] | undefined;
  #halfOpen: ReadonlySet<bigint> | undefined;
  /** Of the old copy's processes when they were last looked into. */
  #inodes: ReadonlySet<number> = new Set();
  #ours: Histories = new Map();
  /** Accepted since then, by the old copy or by others. */
  #unknown: Histories = new Map();
  /** Those that were not the old copy's then. */
  #others: ReadonlySet<string> = new Set();
  #dumped = 0;
  #dumpedAtMs = Number.NEGATIVE_INFINITY;
  #inodesAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: WatchOptions) {
    this.#options = options;
    const { quietMs = QUIET_MS, unclearQuietMs = quietMs } = options;
    this.#quiet = { quietMs, unclearQuietMs };
    this.#families = familiesOf(options.listeners());
  }

  /** Looks once. `sure`: also into the old copy's processes, which is done otherwise when the answer hangs on it. */
  look({ sure = false }: { readonly sure?: boolean } = {}): DrainLook {
    // The queues first: what is accepted from now on is among the connections.
    const queues = this.#options.listeners().map(toldQueueLength);
    const allTold = !queues.includes(undefined);
    const waiting = queues.reduce<number>((sum, length) => sum + (length ?? 0), this.#countHalfOpen());
    if (this.#options.wait === 'queue' && allTold) return this.#tell(waiting, 0);
    if (!sure && allTold && waiting === 0 && this.#askForKnown()) {
      const look = this.#tell(waiting, performance.now());
      if (!look.isOver) return look;
    }
    return this.#lookAtAll(waiting, allTold, sure);
  }

  /** What each connection of the old copy was at the last look, by its id. */
  verdicts(): ReadonlyMap<string, ConnectionVerdict> {
    const nowMs = performance.now();
    return new Map([...this.#ours].map(([id, history]) => [id, judge(history, nowMs, this.#quiet)]));
  }

  #countHalfOpen(): number {
    if (this.#halfOpen?.size !== 0) {
      const now = halfOpenConnections(this.#options.ports, this.#families);
      const before = this.#halfOpen ?? now;
      this.#halfOpen = new Set([...before].filter((cookie) => now.has(cookie)));
    }
    return this.#halfOpen.size;
  }

  #askForKnown(): boolean {
    const known = [...this.#ours.values()].map(({ last }) => last);
    const isMany = known.length > Math.max(FEW, this.#dumped / 2);
    if (isMany || performance.now() - this.#dumpedAtMs > DUMP_EVERY_MS) return false;
    const rows = sameConnections(known);
    if (rows === undefined) return false;
    const nowMs = performance.now();
    this.#ours = new Map(rows.filter(isAccepted).map((row) => [row.id, this.#follow(row, nowMs)]));
    return true;
  }

  #lookAtAll(told: number, allTold: boolean, sure: boolean): DrainLook {
    const dumped = tcpConnections(this.#options.ports, this.#families);
    const rows = [...dumped, ...this.#missingIn(dumped)];
    const nowMs = performance.now();
    // A listener of MPTCP does not tell its queue. Those in another's are counted too, and soon accepted.
    const waiting = allTold ? told : told + rows.filter(isQueued).length;
    this.#dumped = dumped.length;
    // What waits now has been accepted by the next look, perhaps.
    this.#dumpedAtMs = waiting === 0 ? nowMs : Number.NEGATIVE_INFINITY;
    if (this.#options.wait === 'queue') return this.#tell(waiting, nowMs);
    this.#sort(rows, nowMs);
    const look = this.#tell(waiting, nowMs);
    const isDue = nowMs - this.#inodesAtMs > PROCESSES_EVERY_MS;
    if (!sure && !isDue && !(look.isOver && this.#unknown.size > 0)) return look;
    this.#lookIntoProcesses(rows, nowMs);
    return this.#tell(waiting, nowMs);
  }

  /**
   * Those of ours that are open and not in the dump. From one message to the next a dump goes on at the place in a
   * bucket of the table that it had come to: it leaves one out when one before it has gone. inet_diag_dump_icsk()
   */
  #missingIn(dumped: readonly TcpConnection[]): readonly TcpConnection[] {
    const ids = new Set(dumped.map(({ id }) => id));
    const missing = [...this.#ours.values()].map(({ last }) => last).filter(({ id }) => !ids.has(id));
    return missing.length === 0 ? [] : (sameConnections(missing) ?? missing);
  }

  #lookIntoProcesses(rows: readonly TcpConnection[], nowMs: number): void {
    this.#inodes = this.#options.inodes();
    this.#inodesAtMs = nowMs;
    this.#others = new Set();
    this.#sort(rows, nowMs);
    this.#others = new Set(this.#unknown.keys());
    this.#unknown = new Map();
  }

  /** Whose connection each is, as far as is known. */
  #sort(rows: readonly TcpConnection[], nowMs: number): void {
    const ours = new Map<string, ConnectionHistory<TcpConnection>>();
    const unknown = new Map<string, ConnectionHistory<TcpConnection>>();
    const others = new Set<string>();
    for (const row of rows) {
      if (!isAccepted(row)) continue;
      if (this.#inodes.has(row.inode)) ours.set(row.id, this.#follow(row, nowMs));
      else if (this.#others.has(row.id)) others.add(row.id);
      else unknown.set(row.id, this.#follow(row, nowMs));
    }
    this.#ours = ours;
    this.#unknown = unknown;
    this.#others = others;
  }

  #follow(row: TcpConnection, nowMs: number): ConnectionHistory<TcpConnection> {
    return observe(this.#ours.get(row.id) ?? this.#unknown.get(row.id), row, nowMs);
  }

  #tell(waiting: number, nowMs: number): DrainLook {
    const { wait } = this.#options;
    let [owed, moving] = [0, 0];
    for (const history of this.#ours.values()) {
      const { type } = judge(history, nowMs, this.#quiet);
      if (type === 'owed') owed++;
      else if (type === 'moving') moving++;
    }
    const open = this.#ours.size;
    const left = { queue: 0, idle: owed + moving, open }[wait];
    return { isOver: waiting + left === 0, waiting, open, owed };
  }
}

function familiesOf(listeners: readonly Fd[]): readonly InetAddress['family'][] | undefined {
  const families = new Set(listeners.map((fd) => localAddress(fd)?.family));
  return families.has('ipv4') !== families.has('ipv6') ? [families.has('ipv4') ? 'ipv4' : 'ipv6'] : undefined;
}

/** What no process has is an orphan, which the kernel finishes by itself, or waits in a queue. */
function isAccepted({ inode }: TcpConnection): boolean {
  return inode !== 0;
}

function isQueued({ inode, state }: TcpConnection): boolean {
  return inode === 0 && state === 'ESTABLISHED';
}
