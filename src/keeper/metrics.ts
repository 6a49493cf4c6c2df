import { Registry } from 'prom-client';
import {
  CONNECTION_STATES,
  type ConnectionCounts,
  type ConnectionState,
} from '../kernel/connection-counts.js';
import type { ListenFailures } from '../kernel/netstat.js';
import type { AcceptQueue } from '../kernel/socket.js';
import type { KeeperState, WorkerState } from './state.js';
import type { Distribution, Tally } from './tally.js';

/** What is known of a held socket that new connections go to. */
export interface SocketFacts {
  readonly address: string;
  /** Tells sockets of one address apart, from 0. */
  readonly index: number;
  readonly served: boolean;
  /** Undefined where the kernel does not tell (MPTCP, unix). */
  readonly queue: AcceptQueue | undefined;
  readonly drops: number | undefined;
}

/** All that metrics are made of. */
export interface MetricFacts {
  readonly state: KeeperState;
  /** The server serves, is not paused, and no stop is on. */
  readonly ready: boolean;
  readonly tally: Omit<Tally, 'hear' | 'know' | 'look'>;
  readonly sockets: readonly SocketFacts[];
  /** Undefined where the kernel has no inet_diag. */
  readonly connections: ConnectionCounts | undefined;
  readonly listenFailures: ListenFailures | undefined;
  /** How long the standby that has waited longest has waited; undefined when none waits. */
  readonly standbyAgeMs: number | undefined;
}

type Labels = Readonly<Record<string, string | number>>;

interface Sample {
  /** The name of the metric, with `_bucket`, `_sum` or `_count` in a histogram. */
  readonly metricName: string;
  readonly labels: Labels;
  readonly value: number;
}

export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly values: readonly Sample[];
}

/** Which end of a connection closed first, by the state of our end. */
const CLOSED_FIRST = {
  server: ['FIN_WAIT1', 'FIN_WAIT2', 'TIME_WAIT'],
  client: ['CLOSE_WAIT', 'LAST_ACK'],
  both: ['CLOSING'],
} as const satisfies Record<string, readonly ConnectionState[]>;

const PHASES: readonly WorkerState['phase'][] = [
  ...(['starting', 'serving', 'parked', 'cleaning', 'backing-off', 'stopping', 'ended'] as const),
];

/** Every metric of a keeper. docs/monitoring.md tells the same of each. */
export function metricsOf(facts: MetricFacts): readonly Metric[] {
  const { state, tally } = facts;
  const make = maker(state.name);
  return [
    make.gauge('holdfast_info', 'Always 1. The label version is that of holdfast.', [
      [{ version: state.holdfast }, 1],
    ]),
    make.gauge('holdfast_process_start_time_seconds', 'Unix time at which the keeper started.', [
      [{}, state.since / 1_000],
    ]),
    make.gauge('holdfast_ready', '1 when the server serves, is not paused, and no stop is on, else 0.', [
      [{}, facts.ready ? 1 : 0],
    ]),
    make.gauge('holdfast_generation', 'The generation that new connections go to, from 1.', [
      [{}, state.generation],
    ]),
    make.gauge(
      'holdfast_workers',
      'Workers of all generations by phase. parked: a standby that waits in its listen.',
      PHASES.map((phase) => [{ phase }, state.workers.filter((worker) => worker.phase === phase).length]),
    ),
    make.gauge(
      'holdfast_standby_age_seconds',
      'How long the standby that has waited longest has waited. Absent when none waits.',
      facts.standbyAgeMs === undefined ? [] : [[{}, facts.standbyAgeMs / 1_000]],
    ),
    make.counter(
      'holdfast_starts_total',
      'Starts of a worker whose outcome is known. listened: it listened, or waits as a standby. ended: it ended before that, or could not be started. stopped: it was being stopped before that.',
      Object.entries(tally.starts).map(([outcome, count]) => [{ outcome }, count]),
    ),
    make.counter(
      'holdfast_restarts_total',
      'Starts of a worker in the place of one that had ended by itself. The starts of a reload are not among them.',
      [[{}, tally.restarts]],
    ),
    make.histogram(
      'holdfast_gap_seconds',
      'For each held socket that was served again: the time from when no process of the server had it open until the server listened on it.',
      [[{}, tally.gaps]],
    ),
    ...reloadMetrics(facts, make),
    ...socketMetrics(facts, make),
    ...connectionMetrics(facts, make),
  ];
}

/** The metrics in the text format of Prometheus. */
export async function metricsText(metrics: readonly Metric[]): Promise<MetricsText> {
  const registry = new Registry();
  // The registry asks for no more than this of a metric; its own classes cannot be given a histogram's counts.
  for (const metric of metrics) registry.registerMetric({ ...metric, get: async () => metric } as never);
  return { contentType: registry.contentType, text: await registry.metrics() };
}

export interface MetricsText {
  readonly contentType: string;
  readonly text: string;
}

function reloadMetrics({ tally }: MetricFacts, make: Maker): readonly Metric[] {
  return [
    make.histogram(
      'holdfast_reload_duration_seconds',
      'From the start of a reload until the new generation has taken over (done), or has been given up and ended (failed). Restarts and scaling to fewer workers are reloads too.',
      Object.entries(tally.reloads).map(([outcome, times]) => [{ outcome }, times]),
    ),
    make.histogram(
      'holdfast_drain_duration_seconds',
      'How long the old generation of a reload was waited for. complete: it had finished what it had. cut: --drain-timeout was over before.',
      Object.entries(tally.drains).map(([outcome, times]) => [{ outcome }, times]),
    ),
    make.counter(
      'holdfast_drain_cut_connections_total',
      'Connections that were open when --drain-timeout was over.',
      [[{}, tally.connectionsCut]],
    ),
  ];
}

function socketMetrics({ sockets, listenFailures }: MetricFacts, make: Maker): readonly Metric[] {
  const each = (value: (socket: SocketFacts) => number | undefined): readonly LabelledValue[] =>
    sockets.flatMap((socket) => {
      const { address, index } = socket;
      const told = value(socket);
      return told === undefined ? [] : [[{ address, index }, told] as const];
    });
  const ofNamespace = (value: number | undefined): readonly LabelledValue[] =>
    value === undefined ? [] : [[{}, value]];
  return [
    make.gauge(
      'holdfast_socket_served',
      '1 while a process of the server has the held socket open, else 0.',
      each(({ served }) => (served ? 1 : 0)),
    ),
    make.gauge(
      'holdfast_accept_queue_connections',
      'Connections that wait in the accept queue of the held socket.',
      each(({ queue }) => queue?.length),
    ),
    make.gauge(
      'holdfast_accept_queue_max_connections',
      'How many may wait there.',
      each(({ queue }) => queue?.limit),
    ),
    make.counter(
      'holdfast_socket_drops_total',
      'Segments that the kernel dropped at the held socket, above all connection requests because its accept queue was full. A new generation has new sockets, which begin at 0.',
      each(({ drops }) => drops),
    ),
    make.counter(
      'holdfast_netns_listen_overflows_total',
      "ListenOverflows of the keeper's network namespace: connection requests for which an accept queue was full, of all programs in it.",
      ofNamespace(listenFailures?.overflows),
    ),
    make.counter(
      'holdfast_netns_listen_drops_total',
      "ListenDrops of the keeper's network namespace: connection requests that were dropped for any reason, of all programs in it.",
      ofNamespace(listenFailures?.drops),
    ),
  ];
}

function connectionMetrics({ connections }: MetricFacts, make: Maker): readonly Metric[] {
  const ports = [...(connections?.ports ?? [])];
  return [
    make.gauge(
      'holdfast_connections',
      'TCP sockets with a held port as their local port, by state. TIME_WAIT is left over and belongs to no process.',
      ports.flatMap(([port, counts]) =>
        CONNECTION_STATES.map((state) => [{ port, state }, counts[state]] as const),
      ),
    ),
    make.gauge(
      'holdfast_closing_connections',
      'Of these the ones that are being closed, by who closed first. server: our end is in FIN_WAIT1, FIN_WAIT2 or TIME_WAIT. client: in CLOSE_WAIT or LAST_ACK. both: in CLOSING.',
      ports.flatMap(([port, counts]) =>
        Object.entries(CLOSED_FIRST).map(([first, states]) => {
          const sum = states.reduce((total, state) => total + counts[state], 0);
          return [{ port, closed_first: first }, sum] as const;
        }),
      ),
    ),
    make.gauge(
      'holdfast_connections_complete',
      '1 when all connections of the held ports were counted, 0 when there were too many.',
      connections === undefined ? [] : [[{}, connections.complete ? 1 : 0]],
    ),
  ];
}

type LabelledValue = readonly [labels: Labels, value: number];
type Maker = ReturnType<typeof maker>;

/** Makes metrics whose every sample has the label `name`. */
function maker(keeper: string) {
  const metric =
    (type: 'counter' | 'gauge') =>
    (name: string, help: string, values: readonly LabelledValue[]): Metric => ({
      ...{ name, help, type },
      values: values.map(([labels, value]) => ({
        metricName: name,
        labels: { name: keeper, ...labels },
        value,
      })),
    });
  const histogram = (
    name: string,
    help: string,
    values: readonly (readonly [labels: Labels, distribution: Distribution])[],
  ): Metric => ({
    ...{ name, help, type: 'histogram' },
    values: values.flatMap(([labels, distribution]) =>
      samplesOf(name, { name: keeper, ...labels }, distribution),
    ),
  });
  return { counter: metric('counter'), gauge: metric('gauge'), histogram };
}

function samplesOf(name: string, labels: Labels, distribution: Distribution): readonly Sample[] {
  const { bounds, counts, sum, count } = distribution;
  let below = 0;
  const buckets = [...bounds, '+Inf'].map((le, index) => {
    below += counts[index] ?? 0;
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: below };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}
