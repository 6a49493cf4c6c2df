import { Counter, Gauge, Registry } from 'prom-client';
import type { Closings } from './count-closings.js';
import type { LocalAddress } from './time-wait.js';

/** Who closed a server's connections first, in the text format of Prometheus. docs/closing.md tells the same of each. */
export async function closingMetrics(
  { open, peerFirst, weFirst, reset }: Closings,
  address: LocalAddress | undefined,
  timeWait: number | undefined,
): Promise<string> {
  const registry = new Registry();
  const server = address === undefined ? '' : `${address.host}:${address.port}`;
  const common = { registers: [registry] };
  const closed = new Counter({
    ...common,
    name: 'holdfast_server_closed_connections_total',
    help: 'Connections of the server that are closed, by who closed first: peer, we, or reset for either side by a reset.',
    labelNames: ['server', 'first'],
  });
  for (const [first, count] of Object.entries({ peer: peerFirst, we: weFirst, reset })) {
    closed.inc({ server, first }, count);
  }
  new Gauge({
    ...common,
    name: 'holdfast_server_open_connections',
    help: 'Connections of the server that are open.',
    labelNames: ['server'],
  }).set({ server }, open);
  if (timeWait !== undefined) {
    new Gauge({
      ...common,
      name: 'holdfast_server_time_wait',
      help: "Sockets in TIME_WAIT at the server's address. Absent where the system does not tell.",
      labelNames: ['server'],
    }).set({ server }, timeWait);
  }
  return registry.metrics();
}
