import { errorCode } from '../errors.js';
import { type ConnectionCounts, countConnections } from '../kernel/connection-counts.js';
import { listenFailures } from '../kernel/netstat.js';
import { type AcceptQueue, IPPROTO_TCP, isListening, socketDrops, socketKind } from '../kernel/socket.js';
import { ownNamespace } from './child-socket.js';
import { EventLog } from './event-log.js';
import type { Generation } from './generation.js';
import { describeHeld, type HeldSocket, isServed, toldQueue } from './held.js';
import type { MetricFacts, MetricsText, SocketFacts } from './metrics.js';
import type { MetricsServer } from './metrics-server.js';
import type { Notice } from './notices.js';
import type { KeeperState } from './state.js';
import { type StartedWorker, Tally } from './tally.js';

/** While connections are counted nothing else is done. On a busy machine with 2 CPUs 11,000 took 16 to 25 ms. */
const CONNECTIONS_MAX = 100_000;
/** Connections are counted at most so often, and for one part of the time in so many. */
const COUNT_EVERY_MS = 1_000;
const COUNT_SHARE = 20;

/** What a monitor asks of its keeper. */
export interface MonitorHost {
  readonly state: () => KeeperState;
  /** Those that have workers, the one that new connections go to first. */
  readonly generations: () => readonly Generation[];
}

/** What a keeper tells of itself to who watches it: events, metrics, readiness. */
export class Monitor {
  readonly events: EventLog = new EventLog();
  readonly #host: MonitorHost;
  readonly #tally = new Tally();
  #server: MetricsServer | undefined;
  #connections: ConnectionCounts | undefined;
  /** When connections may be counted again, ms of `performance.now()`. */
  #countAgain = 0;

  constructor(host: MonitorHost) {
    this.#host = host;
  }

  hear(notice: Notice): void {
    this.events.add(notice);
    this.#tally.hear(notice);
  }

  /** A worker was started, or is in another phase. */
  look(): void {
    this.#tally.look(this.#host.generations().flatMap(startedWorkers));
  }

  /** The workers that there are were started by another keeper. */
  know(): void {
    this.#tally.know(this.#host.generations().flatMap(startedWorkers));
  }

  /** Starts in the place of a worker that had ended by itself. */
  get restarts(): number {
    return this.#tally.restarts;
  }

  /** Serves metrics and readiness over TCP. @throws {HoldfastError} ERR_HOLDFAST_ADDRESS, ERR_HOLDFAST_ADDRESS_TAKEN */
  async serve(address: string): Promise<void> {
    const { serveMetrics } = await import('./metrics-server.js');
    this.#server = await serveMetrics(address, {
      metrics: () => this.metrics(),
      readiness: () => {
        const state = this.#host.state();
        return { ready: isReady(state), phase: state.paused ? 'paused' : state.phase };
      },
    });
  }

  /** The text that Prometheus reads. The library that writes it is loaded by who asks first. */
  async metrics(): Promise<MetricsText> {
    const { metricsOf, metricsText } = await import('./metrics.js');
    return metricsText(metricsOf(this.#facts()));
  }

  /** Ends every stream and serves no more. */
  end(): void {
    this.events.end();
    this.#server?.close();
  }

  #facts(): MetricFacts {
    this.look();
    const state = this.#host.state();
    const active = this.#host.generations()[0];
    const held = active?.held.all() ?? [];
    const parked = active?.standbys.flatMap(({ worker }) => worker?.parkedSince ?? []) ?? [];
    return {
      state,
      ready: isReady(state),
      tally: this.#tally,
      sockets: socketFacts(held),
      connections: this.#countConnections(held),
      listenFailures: listenFailures(),
      standbyAgeMs: parked.length === 0 ? undefined : performance.now() - Math.min(...parked),
    };
  }

  #countConnections(held: readonly HeldSocket[]): ConnectionCounts | undefined {
    const beginMs = performance.now();
    if (beginMs < this.#countAgain) return this.#connections;
    try {
      this.#connections = countConnections(portsOf(held), CONNECTIONS_MAX);
    } catch (error) {
      const code = errorCode(error);
      if (code !== 'EPROTONOSUPPORT' && code !== 'ENOENT') throw error;
      this.#connections = undefined;
    }
    const endMs = performance.now();
    this.#countAgain = endMs + Math.max(COUNT_EVERY_MS, (endMs - beginMs) * COUNT_SHARE);
    return this.#connections;
  }
}

function isReady({ phase, paused }: KeeperState): boolean {
  return phase === 'serving' && !paused;
}

function startedWorkers({ slots, standbys }: Generation): readonly StartedWorker[] {
  return [...slots, ...standbys].flatMap(({ worker, phase }) => {
    if (worker === undefined) return [];
    const { id, attempt, parkedSince } = worker;
    return [{ id, attempt, phase: parkedSince === undefined ? phase : 'parked' } as const];
  });
}

function socketFacts(held: readonly HeldSocket[]): readonly SocketFacts[] {
  const seen = new Map<string, number>();
  return held.map((one) => {
    const address = describeHeld(one);
    const index = seen.get(address) ?? 0;
    seen.set(address, index + 1);
    const isInet = one.place !== undefined;
    return {
      ...{ address, index, served: isServed(one) },
      queue: isInet ? queueOf(one) : undefined,
      // An MPTCP socket has a count of its own, which is not that of the TCP socket within it.
      drops: isInet && socketKind(one.fd).protocol === IPPROTO_TCP ? socketDrops(one.fd) : undefined,
    };
  });
}

function queueOf({ fd }: HeldSocket): AcceptQueue | undefined {
  return isListening(fd) ? toldQueue(fd) : { length: 0, limit: 0 };
}

/** Of those in our network namespace: the kernel tells of no other. */
function portsOf(held: readonly HeldSocket[]): readonly number[] {
  const ports = held.flatMap(({ place }) => (place?.netns === ownNamespace() ? [place.address.port] : []));
  return [...new Set(ports)].sort((one, other) => one - other);
}
