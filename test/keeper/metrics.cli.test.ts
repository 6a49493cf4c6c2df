import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { get, request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { type Metric, metricsOf, metricsText } from '../../src/keeper/metrics.js';
import type { KeeperState } from '../../src/keeper/state.js';
import { Tally } from '../../src/keeper/tally.js';
import { parseDuration } from '../../src/model/duration.js';
import { project } from '../cli/holdfast.js';
import { pidOf } from '../support/http.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { freePort, freePorts } from '../support/ports.js';
import { listeners } from '../support/proc.js';
import { start } from '../support/process.js';
import { nodeHttp } from '../support/servers.js';
import { until } from '../support/wait.js';
import { freeze, queueClients } from './clients.js';
import { reloaded, settled } from './reloads.js';

test('what is said of a keeper that has just started', async () => {
  const { port, keeper } = await startServer();
  const metrics = await metricsFrom(keeper);
  expect(Object.fromEntries(metrics.types)).toEqual(Object.fromEntries(TYPES));
  expect(metrics.value('holdfast_ready')).toBe(1);
  expect(metrics.value('holdfast_generation')).toBe(1);
  expect(metrics.value('holdfast_process_start_time_seconds')).toBeCloseTo(keeper.state().since / 1_000, 3);
  expect(metrics.value('holdfast_starts_total', { outcome: 'listened' })).toBe(1);
  expect(metrics.value('holdfast_starts_total', { outcome: 'ended' })).toBe(0);
  expect(metrics.value('holdfast_restarts_total')).toBe(0);
  expect(metrics.value('holdfast_gap_seconds_count')).toBe(0);
  expect(metrics.value('holdfast_workers', { phase: 'serving' })).toBe(1);
  expect(metrics.value('holdfast_workers', { phase: 'parked' })).toBe(0);
  const socket = { address: `[::]:${port}`, index: '0' };
  expect(metrics.value('holdfast_socket_served', socket)).toBe(1);
  expect(metrics.value('holdfast_accept_queue_connections', socket)).toBe(0);
  const somaxconn = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'));
  expect(metrics.value('holdfast_accept_queue_max_connections', socket)).toBe(somaxconn);
  expect(metrics.samples.every(({ labels }) => labels.name === 'app')).toBe(true);
});

test('a kill is one restart, and one gap of the time that clients waited', async () => {
  const { keeper } = await startServer('--boot', '300');
  await keeper.crash();
  const [, told = ''] = await keeper.process.line(/is served again by pid \d+ after (.+)$/);
  const metrics = await metricsFrom(keeper);
  expect(metrics.value('holdfast_restarts_total')).toBe(1);
  expect(metrics.value('holdfast_starts_total', { outcome: 'listened' })).toBe(2);
  expect(metrics.value('holdfast_gap_seconds_count')).toBe(1);
  const toldMs = parseDuration(told.replace(' ', ''));
  const differenceMs = Math.abs((metrics.value('holdfast_gap_seconds_sum') ?? 0) * 1_000 - toldMs);
  // Told in tenths of a second when it is longer than one.
  expect(differenceMs).toBeLessThanOrEqual(toldMs < 1_000 ? 0.001 : 50.001);
  expect(metrics.value('holdfast_gap_seconds_bucket', { le: '0.2' })).toBe(0);
  expect(metrics.value('holdfast_gap_seconds_bucket', { le: '60' })).toBe(1);
  expect(metrics.value('holdfast_gap_seconds_bucket', { le: '+Inf' })).toBe(1);
});

test('clients of a server that does not accept are in the queue, and those for whom it is full are dropped', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port, '--host', '127.0.0.1'), {
    flags: ['--listen', `127.0.0.1:${port},backlog=4`],
  });
  await keeper.holding();
  await freeze(keeper.worker());
  const waiting = await queueClients(port, 3);
  const socket = { address: `127.0.0.1:${port}`, index: '0' };
  const metrics = await metricsFrom(keeper);
  expect(metrics.value('holdfast_accept_queue_connections', socket)).toBe(3);
  expect(metrics.value('holdfast_accept_queue_max_connections', socket)).toBe(4);
  expect(metrics.value('holdfast_socket_drops_total', socket)).toBe(0);
  expect(metrics.value('holdfast_connections', { port: `${port}`, state: 'ESTABLISHED' })).toBe(3);
  const overflowsBefore = metrics.value('holdfast_netns_listen_overflows_total') ?? 0;
  const more = Array.from({ length: 6 }, () => connect(port, '127.0.0.1').on('error', () => undefined));
  const after = await until('a drop', async () => {
    const now = await metricsFrom(keeper);
    return (now.value('holdfast_socket_drops_total', socket) ?? 0) > 0 ? now : undefined;
  });
  expect(after.value('holdfast_accept_queue_connections', socket)).toBe(5);
  expect(after.value('holdfast_netns_listen_overflows_total')).toBeGreaterThan(overflowsBefore);
  for (const client of more) client.destroy();
  process.kill(keeper.worker(), 'SIGCONT');
  expect(await waiting.outcomes).toEqual(Array(3).fill(keeper.worker()));
});

test('who closed first is told by the state of our end', async () => {
  const { port, keeper } = await startServer();
  // HTTP/1.0: the server closes when it has answered, and this client only after that.
  const asker = connect(port, '127.0.0.1').resume();
  asker.write('GET / HTTP/1.0\r\n\r\n');
  await once(asker, 'close');
  const first = (closed_first: string) => ({ port: `${port}`, closed_first });
  const server = await untilMetrics(
    keeper,
    'a connection that the server closed',
    (metrics) => (metrics.value('holdfast_closing_connections', first('server')) ?? 0) > 0,
  );
  expect(server.value('holdfast_connections', { port: `${port}`, state: 'TIME_WAIT' })).toBe(1);
  expect(server.value('holdfast_closing_connections', first('client'))).toBe(0);
  const client = connect(port, '127.0.0.1');
  await once(client, 'connect');
  await freeze(keeper.worker());
  client.end();
  await untilMetrics(
    keeper,
    'a connection that the client closed',
    (metrics) => metrics.value('holdfast_closing_connections', first('client')) === 1,
  );
  client.destroy();
  process.kill(keeper.worker(), 'SIGCONT');
});

test('a reload and its drain are told with their times', async () => {
  const { keeper } = await startServer('--delay', '0');
  await reloaded(keeper);
  await settled(keeper);
  const metrics = await untilMetrics(
    keeper,
    'the drain',
    (now) => now.value('holdfast_drain_duration_seconds_count', { outcome: 'complete' }) === 1,
  );
  expect(metrics.value('holdfast_generation')).toBe(2);
  expect(metrics.value('holdfast_reload_duration_seconds_count', { outcome: 'done' })).toBe(1);
  expect(metrics.value('holdfast_reload_duration_seconds_sum', { outcome: 'done' })).toBeGreaterThan(0);
  expect(metrics.value('holdfast_reload_duration_seconds_count', { outcome: 'failed' })).toBe(0);
  expect(metrics.value('holdfast_drain_cut_connections_total')).toBe(0);
  // The start of a reload is no restart.
  expect(metrics.value('holdfast_restarts_total')).toBe(0);
  expect(metrics.value('holdfast_starts_total', { outcome: 'listened' })).toBe(2);
  expect(metrics.value('holdfast_gap_seconds_count')).toBe(0);
});

test('a reload whose new server ends at once, and a start that never listens', async () => {
  const port = await freePort();
  const keeper = startKeeper([process.execPath, '-e', FAILS_SECOND], { env: { PORT: `${port}` } });
  await keeper.holding();
  const marker = join(keeper.env.HOLDFAST_STATE_DIR, 'started');
  expect(readFileSync(marker, 'utf8')).toBe('');
  expect((await keeper.ask('reload', keeper.name)).exit.code).toBe(1);
  const metrics = await metricsFrom(keeper);
  expect(metrics.value('holdfast_reload_duration_seconds_count', { outcome: 'failed' })).toBe(1);
  expect(metrics.value('holdfast_starts_total', { outcome: 'ended' })).toBe(1);
  expect(metrics.value('holdfast_starts_total', { outcome: 'listened' })).toBe(1);
  expect(metrics.value('holdfast_ready')).toBe(1);
});

test('the age of a standby grows, and there is none without', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { flags: ['--standby'] });
  await keeper.holding();
  const age = (metrics: Metrics): number | undefined => metrics.value('holdfast_standby_age_seconds');
  const young = await untilMetrics(keeper, 'a standby', (metrics) => age(metrics) !== undefined);
  expect(young.value('holdfast_workers', { phase: 'parked' })).toBe(1);
  await untilMetrics(keeper, 'it is older', (metrics) => (age(metrics) ?? 0) > (age(young) ?? 0));
  const without = await startServer();
  expect(age(await metricsFrom(without.keeper))).toBeUndefined();
});

test('--metrics serves /metrics and /ready at that address alone, and nothing else', async () => {
  const [port = 0, metricsPort = 0] = await freePorts(2);
  const keeper = startKeeper(nodeHttp.command(port), { flags: ['--metrics', `127.0.0.1:${metricsPort}`] });
  await keeper.holding();
  expect(listeners(metricsPort).map(({ host }) => host)).toEqual(['127.0.0.1']);
  expect(await answerOf(metricsPort, '/ready')).toEqual({ status: 200, body: 'ready\n', type: TEXT });
  const { status, body, type } = await answerOf(metricsPort, '/metrics');
  expect({ status, type }).toEqual({ status: 200, type: 'text/plain; version=0.0.4; charset=utf-8' });
  expect(parse(body).value('holdfast_ready')).toBe(1);
  for (const path of ['/', '/status', '/events', '/stop']) {
    expect(await answerOf(metricsPort, path)).toMatchObject({ status: 404 });
  }
  expect(await answerOf(metricsPort, '/metrics', 'POST')).toMatchObject({ status: 405 });
  expect(keeper.process.exit).toBeUndefined();
});

test('/ready is 503 while no server serves, and while a stop is on', async () => {
  const [port = 0, metricsPort = 0] = await freePorts(2);
  const server = nodeHttp.command(port, '--boot', '1500', '--graceful');
  const keeper = startKeeper(server, { flags: ['--metrics', `127.0.0.1:${metricsPort}`] });
  const ready = (): Promise<Answer> => answerOf(metricsPort, '/ready');
  await keeper.untilState('it starts', ({ phase }) => phase === 'starting');
  expect(await ready()).toMatchObject({ status: 503, body: 'not ready: starting\n' });
  await keeper.holding();
  expect(await ready()).toMatchObject({ status: 200 });
  await keeper.crash();
  expect(await ready()).toMatchObject({ status: 503, body: 'not ready: starting\n' });
  await keeper.process.line(/is served again/);
  expect(await ready()).toMatchObject({ status: 200 });
  // It finishes this before it ends.
  const answer = pidOf(port, { path: '/?delay=4000' });
  await untilMetrics(
    keeper,
    'the request is there',
    (metrics) =>
      metrics.value('holdfast_connections', { port: `${port}`, state: 'ESTABLISHED' }) === 1 &&
      metrics.value('holdfast_accept_queue_connections', { address: `[::]:${port}`, index: '0' }) === 0,
  );
  keeper.process.kill('SIGTERM');
  await keeper.process.line(/stopping with SIGTERM/);
  expect(await ready()).toMatchObject({ status: 503, body: 'not ready: stopping\n' });
  await answer;
  await keeper.process.end();
  expect(listeners(metricsPort)).toEqual([]);
});

test('a keeper that takes over has its address, its log, and counts what it has started itself', async () => {
  const [port = 0, metricsPort = 0] = await freePorts(2);
  const flags = ['--log-file', '--metrics', `127.0.0.1:${metricsPort}`];
  const first = startKeeper(nodeHttp.command(port), { flags });
  await first.holding();
  const server = first.worker();
  process.kill(first.state().pid, 'SIGKILL');
  await first.process.end();
  const second = startKeeper(nodeHttp.command(port), { flags, beside: first });
  await second.process.line(/took over the server/);
  const keeper = startKeeper(nodeHttp.command(port), { flags: [...flags, '--replace'], beside: first });
  await keeper.process.line(/took over the server/);
  const metrics = parse((await answerOf(metricsPort, '/metrics')).body);
  expect(metrics.value('holdfast_ready')).toBe(1);
  expect(metrics.value('holdfast_workers', { phase: 'serving' })).toBe(1);
  expect(metrics.value('holdfast_starts_total', { outcome: 'listened' })).toBe(0);
  expect(metrics.value('holdfast_restarts_total')).toBe(0);
  expect(keeper.worker()).toBe(server);
  const next = await keeper.crash();
  await keeper.process.line(/is served again/);
  const after = parse((await answerOf(metricsPort, '/metrics')).body);
  expect(after.value('holdfast_starts_total', { outcome: 'listened' })).toBe(1);
  expect(after.value('holdfast_restarts_total')).toBe(1);
  const log = readFileSync(join(keeper.env.HOLDFAST_STATE_DIR, 'app.log'), 'utf8');
  expect(log).toContain(`pid ${server}\n`);
  expect(log).toContain(`pid ${next}\n`);
});

test('a paused server is not ready', async () => {
  const [port = 0, metricsPort = 0] = await freePorts(2);
  const keeper = startKeeper(nodeHttp.command(port), { flags: ['--metrics', `127.0.0.1:${metricsPort}`] });
  await keeper.holding();
  await keeper.ask('pause', keeper.name);
  expect(await answerOf(metricsPort, '/ready')).toMatchObject({ status: 503, body: 'not ready: paused\n' });
  await keeper.ask('resume', keeper.name);
  expect(await answerOf(metricsPort, '/ready')).toMatchObject({ status: 200 });
});

test('a taken address of --metrics is refused before anything starts', async () => {
  const [port = 0, metricsPort = 0] = await freePorts(2);
  const holder = start(nodeHttp.command(metricsPort, '--host', '127.0.0.1'));
  await holder.listening(metricsPort);
  const keeper = startKeeper(nodeHttp.command(port), { flags: ['--metrics', `127.0.0.1:${metricsPort}`] });
  expect(await keeper.process.end()).toEqual({ code: 2, signal: null });
  expect(keeper.process.stdout).toBe('');
  expect(keeper.process.stderr).toContain(`(pid ${holder.pid})`);
  expect(keeper.process.stderr).toMatch(
    new RegExp(
      `holdfast: --metrics 127\\.0\\.0\\.1:${metricsPort} is taken; name another address, .* \\[ERR_HOLDFAST_ADDRESS_TAKEN\\]\\n$`,
    ),
  );
  expect(listeners(port)).toEqual([]);
});

test('the library that writes metrics is loaded by who asks first', async () => {
  const [port = 0, metricsPort = 0] = await freePorts(2);
  const keeper = startKeeper(nodeHttp.command(port), {
    flags: ['--metrics', `127.0.0.1:${metricsPort}`],
    around: ([node = '', ...rest]) => [node, '--import', dataUrl(HOOK), ...rest],
  });
  await keeper.holding();
  expect(keeper.process.lines(/^loads .*prom-client/)).toEqual([]);
  await answerOf(metricsPort, '/ready');
  expect(keeper.process.lines(/^loads .*prom-client/)).toEqual([]);
  await answerOf(metricsPort, '/metrics');
  await keeper.process.line(/^loads .*prom-client/);
});

test('docs/monitoring.md has every metric with its help, and no other', async () => {
  const page = readFileSync(join(project, 'docs/monitoring.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `(holdfast_\w+)`.*? \| (\w+) \| (.*) \|$/gm)];
  const documented = rows.map(([, name, type, help]) => ({ name, type, help: help?.replaceAll('`', '') }));
  expect(documented).toEqual(everyMetric().map(({ name, type, help }) => ({ name, type, help })));
});

test('names and labels are what Prometheus reads, whatever the name of the address', async () => {
  const { text: written } = await metricsText(everyMetric());
  expect(written).toContain('address="unix:/a\\"b\\\\c"');
  expect(() => parse(written)).not.toThrow();
});

const TEXT = 'text/plain; charset=utf-8';
const TYPES = everyMetric().map(({ name, type }) => [name, type] as const);

const FAILS_SECOND = `
const fs = require('node:fs'), file = process.env.HOLDFAST_STATE_DIR + '/started';
if (fs.existsSync(file)) process.exit(3);
fs.writeFileSync(file, '');
require('node:http').createServer((q, r) => r.end('pid ' + process.pid)).listen(process.env.PORT, '127.0.0.1');
`;

/** Names on stderr every module that is loaded. */
const HOOKS = `
import { writeSync } from 'node:fs';
export async function load(url, context, next) {
  writeSync(2, 'loads ' + url + '\\n');
  return next(url, context);
}`;
const HOOK = `import { register } from 'node:module'; register(${JSON.stringify(dataUrl(HOOKS))});`;

function everyMetric(): readonly Metric[] {
  const none = { SYN_RECV: 0, ESTABLISHED: 0, CLOSE_WAIT: 0, LAST_ACK: 0, FIN_WAIT1: 0, FIN_WAIT2: 0 };
  return metricsOf({
    state: { name: 'app', holdfast: '0', since: 0, generation: 1, workers: [] } as unknown as KeeperState,
    ready: true,
    tally: new Tally(),
    sockets: [{ address: 'unix:/a"b\\c', index: 0, served: true, queue: { length: 0, limit: 1 }, drops: 0 }],
    connections: { ports: new Map([[80, { ...none, CLOSING: 0, TIME_WAIT: 0 }]]), complete: true },
    listenFailures: { overflows: 0, drops: 0 },
    standbyAgeMs: 1,
  });
}

interface Sample {
  readonly metric: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Metrics {
  readonly types: ReadonlyMap<string, string>;
  readonly samples: readonly Sample[];
  /** Of the one sample of that name that has these labels; undefined when there is none. */
  value(metric: string, labels?: Readonly<Record<string, string>>): number | undefined;
}

/** Reads the text format of Prometheus. @throws Error on a line that is none, and on a sample without a type or help */
function parse(body: string): Metrics {
  const types = new Map<string, string>();
  const helped = new Set<string>();
  const samples: Sample[] = [];
  for (const line of body.split('\n').filter((one) => one !== '')) {
    const comment = /^# (?<kind>HELP|TYPE) (?<metric>[a-z_]+) (?<rest>.+)$/.exec(line)?.groups;
    if (comment?.kind === 'TYPE') types.set(comment.metric ?? '', comment.rest ?? '');
    else if (comment !== undefined) helped.add(comment.metric ?? '');
    else samples.push(sampleOf(line));
  }
  for (const { metric } of samples) {
    const family = types.has(metric) ? metric : metric.replace(/_(bucket|sum|count)$/, '');
    if (!types.has(family) || !helped.has(family)) throw new Error(`${metric} has no type or no help`);
  }
  return {
    types,
    samples,
    value: (metric, labels = {}) => {
      const found = samples.filter(
        (sample) =>
          sample.metric === metric &&
          Object.entries(labels).every(([name, value]) => sample.labels[name] === value),
      );
      if (found.length > 1) throw new Error(`${metric} has ${found.length} such samples`);
      return found[0]?.value;
    },
  };
}

function sampleOf(line: string): Sample {
  const parts = /^(?<metric>[a-z_]+)\{(?<labels>.*)\} (?<value>[-+.\de]+)$/.exec(line)?.groups;
  if (parts === undefined) throw new Error(`no sample: ${line}`);
  const labels = [...(parts.labels ?? '').matchAll(/(?<name>[a-z_]+)="(?<text>(?:[^"\\]|\\.)*)",?/g)];
  if (labels.map(([whole]) => whole).join('') !== parts.labels) throw new Error(`no labels: ${line}`);
  return {
    metric: parts.metric ?? '',
    labels: Object.fromEntries(labels.map(({ groups }) => [groups?.name ?? '', groups?.text ?? ''])),
    value: Number(parts.value),
  };
}

async function startServer(
  ...options: readonly string[]
): Promise<{ readonly port: number; readonly keeper: RunningKeeper }> {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port, ...options));
  await keeper.holding();
  return { port, keeper };
}

/** Those of the control socket. */
async function metricsFrom(keeper: RunningKeeper): Promise<Metrics> {
  const socketPath = join(keeper.env.HOLDFAST_STATE_DIR, `${keeper.name}.sock`);
  const [response] = await once(get({ socketPath, path: '/metrics', agent: false }), 'response');
  return parse(await text(response));
}

function untilMetrics(
  keeper: RunningKeeper,
  fact: string,
  look: (metrics: Metrics) => boolean,
): Promise<Metrics> {
  return until(
    fact,
    async () => {
      const metrics = await metricsFrom(keeper);
      return look(metrics) ? metrics : undefined;
    },
    { everyMs: 100 },
  );
}

interface Answer {
  readonly status: number | undefined;
  readonly body: string;
  readonly type: string | undefined;
}

async function answerOf(port: number, path: string, method = 'GET'): Promise<Answer> {
  const asked = request({ port, host: '127.0.0.1', path, method, agent: false }).end();
  const [response] = await once(asked, 'response');
  return { status: response.statusCode, body: await text(response), type: response.headers['content-type'] };
}

function dataUrl(script: string): string {
  return `data:text/javascript,${encodeURIComponent(script)}`;
}
