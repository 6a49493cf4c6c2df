// `npm run bench -- closing`: what clients lose when a server stops, how long that takes, and what TIME_WAIT stays with the server. How each
// figure is measured is in docs/benchmarks.md.

import { setTimeout as sleep } from 'node:timers/promises';
import { tcpSockets } from '../test/support/proc.js';
import { runBench } from './support/bench.js';
import { withCircumstances } from './support/circumstances.js';
import { type Circumstances, describeCircumstances } from './support/docs.js';
import { installPackages, packagesFolder } from './support/packages.js';
import { start, withCleanup } from './support/process.js';
import { fromProject } from './support/project.js';
import { differences, ratios, shuffled } from './support/rounds.js';
import { type Estimate, estimate, median } from './support/statistics.js';
import { table } from './support/table.js';

const USAGE = `Usage: npm run bench -- closing [options]
  --rounds N   default 9
  --small      500 instead of 5,000 requests where they are counted: a quick look, without meaning
  --docs       put the figures into docs/benchmarks.md
  --told       measure nothing: tell the figures of the last time
`;

const PACKAGES = {
  'http-terminator': '3.2.0',
  stoppable: '1.1.0',
  'http-graceful-shutdown': '4.0.0',
} as const;
const PEERS = Object.entries(PACKAGES).map(([name, version]) => `${name}@${version}`);
const folder = packagesFolder(PEERS);

/** How a server is stopped, by the name of its row. */
const WAYS = {
  'server.close, closeIdleConnections': 'close',
  'the same again': 'close',
  'http-terminator': 'http-terminator',
  stoppable: 'stoppable',
  'http-graceful-shutdown': 'http-graceful-shutdown',
  'holdfast, closeGracefully': 'holdfast',
} as const;
type Row = keyof typeof WAYS;
const ROWS = Object.keys(WAYS) as Row[];

/** Who answers requests of a connection each. */
const SERVERS = { bare: 'close', 'bare again': 'close', 'holdfast, peerCloses': 'peerCloses' } as const;
type ServerRow = keyof typeof SERVERS;
const SERVER_ROWS = Object.keys(SERVERS) as ServerRow[];

const LOADS = { 'keep-alive': true, 'a connection each': false } as const;
type Load = keyof typeof LOADS;

interface Stop {
  readonly lost: number;
  /** Undefined: not within the patience. */
  readonly stopMs: number | undefined;
  readonly timeWait: number;
}

interface Answers {
  readonly perSecond: number;
  readonly lost: number;
  readonly timeWait: number;
}

interface ClosingFigures extends Circumstances {
  readonly rounds: number;
  readonly requests: number;
  readonly stops: Readonly<Record<Load, Record<Row, Stop[]>>>;
  readonly answers: Readonly<Record<ServerRow, Answers[]>>;
}

const CLIENTS = 50;
const WORK_MS = 5;
const LOAD_MS = 1_000;
const PATIENCE_MS = 3_000;
const BETWEEN_MS = 200;

export function main(args: readonly string[]): Promise<void> {
  return runBench<ClosingFigures>(
    {
      name: 'closing',
      usage: USAGE,
      needs: ['unshare', 'ip'],
      defaultRounds: 9,
      isSandboxed: true,
      prepare: async () => {
        await installPackages(PEERS);
      },
      measure: (rounds, isSmall) => withCircumstances([], () => measure(rounds, isSmall ? 500 : 5_000)),
      describe,
    },
    args,
  );
}

async function measure(rounds: number, requests: number): Promise<Omit<ClosingFigures, keyof Circumstances>> {
  const rowsOf = <R extends string, V>(rows: readonly R[]) =>
    Object.fromEntries(rows.map((row) => [row, [] as V[]])) as Record<R, V[]>;
  const stops = { 'keep-alive': rowsOf<Row, Stop>(ROWS), 'a connection each': rowsOf<Row, Stop>(ROWS) };
  const answers = rowsOf<ServerRow, Answers>(SERVER_ROWS);
  await withCleanup(async () => {
    for (let round = 1; round <= rounds; round++) {
      process.stderr.write(`closing: round ${round} of ${rounds}\n`);
      for (const row of shuffled(SERVER_ROWS)) answers[row].push(await answer(SERVERS[row], requests));
      for (const load of Object.keys(LOADS) as Load[]) {
        for (const row of shuffled(ROWS)) stops[load][row].push(await stopUnder(LOADS[load], WAYS[row]));
      }
    }
  });
  return { rounds, requests, stops, answers };
}

async function serve(way: string, delayMs: number) {
  const script = fromProject('bench', 'servers', 'closing.js');
  const server = start([process.execPath, script, way, `${delayMs}`, folder]);
  const [, port] = await server.line(/^listens (\d+)$/);
  return { server, port: Number(port) };
}

async function loadOn(settings: object) {
  const script = fromProject('test', 'support', 'closing-load.js');
  const load = start([process.execPath, script, JSON.stringify({ clients: CLIENTS, ...settings })]);
  await load.line(/^loads$/);
  return load;
}

async function resultOf(load: Awaited<ReturnType<typeof loadOn>>) {
  const [, json] = await load.line(/^load (.*)$/, { timeoutMs: 120_000 });
  const { lost, perSecond } = JSON.parse(json ?? '') as { lost: Record<string, number>; perSecond: number };
  return { lost: Object.values(lost).reduce((sum, count) => sum + count, 0), perSecond };
}

async function stopUnder(keepAlive: boolean, way: string): Promise<Stop> {
  const { server, port } = await serve(way, WORK_MS);
  const load = await loadOn({ port, keepAlive });
  await sleep(LOAD_MS);
  server.child.kill('SIGTERM');
  const stopped = await server.line(/^stopped (.*)$/, { timeoutMs: PATIENCE_MS }).catch(() => undefined);
  // Where it goes on being served, the clients leave by themselves.
  if (stopped === undefined) load.child.kill('SIGTERM');
  const { lost } = await resultOf(load);
  const timeWait = timeWaitsAt(port);
  await Promise.all([load.stop(0), server.stop(0)]);
  await sleep(BETWEEN_MS);
  return { lost, stopMs: stopped === undefined ? undefined : Number(stopped[1]), timeWait };
}

async function answer(way: string, requests: number): Promise<Answers> {
  const { server, port } = await serve(way, 0);
  const load = await loadOn({ port, keepAlive: false, requests });
  const { lost, perSecond } = await resultOf(load);
  const timeWait = timeWaitsAt(port);
  await Promise.all([load.stop(0), server.stop(0)]);
  await sleep(BETWEEN_MS);
  return { lost, perSecond, timeWait };
}

function timeWaitsAt(port: number): number {
  return tcpSockets().filter((socket) => socket.state === 'TIME_WAIT' && socket.port === port).length;
}

function describe(figures: ClosingFigures): string {
  const { rounds, requests, stops, answers } = figures;
  const versions = Object.entries(PACKAGES).map(([name, version]) => `${name} ${version}`);
  return [
    `${describeCircumstances(figures)}, ${versions.join(', ')}; ${rounds} rounds, ${CLIENTS} clients, ${WORK_MS} ms of work.`,
    ...(Object.keys(LOADS) as Load[]).map((load) =>
      table(
        [
          `stop under load, ${load}`,
          'requests lost, sum',
          'most',
          'stop, ms',
          'more than close by ms',
          'TIME_WAIT at the server',
        ],
        ROWS.map((row) => stopRow(row, stops[load][row], stops[load][ROWS[0] as Row])),
      ),
    ),
    table(
      [
        `${requests.toLocaleString('en-US')} requests, a connection each`,
        'requests/s',
        '÷ bare',
        'requests lost',
        'TIME_WAIT at the server',
      ],
      SERVER_ROWS.map((row) => [
        row,
        median(answers[row].map(({ perSecond }) => perSecond)).toFixed(0),
        row === 'bare' ? '1' : format(estimate(ratios(speeds(answers[row]), speeds(answers.bare))), 3),
        `${answers[row].reduce((sum, { lost }) => sum + lost, 0)}`,
        `${median(answers[row].map(({ timeWait }) => timeWait))}`,
      ]),
    ),
    `Medians of rounds; in parentheses the interval that has the median with ${(100 * estimate(speeds(answers.bare)).confidence).toFixed(1)} % confidence.`,
  ].join('\n\n');
}

function speeds(answers: readonly Answers[]): number[] {
  return answers.map(({ perSecond }) => perSecond);
}

function stopRow(row: Row, stops: readonly Stop[], base: readonly Stop[]): readonly string[] {
  const lost = stops.map((stop) => stop.lost);
  const times = stops.map(({ stopMs }) => stopMs ?? PATIENCE_MS);
  const isLate = stops.filter(({ stopMs }) => stopMs === undefined).length;
  const baseTimes = base.map(({ stopMs }) => stopMs ?? PATIENCE_MS);
  return [
    row,
    `${lost.reduce((sum, count) => sum + count, 0)}`,
    `${Math.max(...lost)}`,
    isLate > 0 ? `> ${PATIENCE_MS} in ${isLate} of ${stops.length}` : format(estimate(times), 0),
    row === ROWS[0] ? '–' : format(estimate(differences(times, baseTimes)), 0),
    format(estimate(stops.map(({ timeWait }) => timeWait)), 0),
  ];
}

function format({ median: middle, low, high }: Estimate, digits: number): string {
  return `${middle.toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`;
}
