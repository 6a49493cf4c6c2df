// `npm run bench -- ports`: reserving ports by holdfast and by its peers. What is measured is in docs/benchmarks.md.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { runBench } from './support/bench.js';
import { withCircumstances } from './support/circumstances.js';
import { type Circumstances, describeCircumstances } from './support/docs.js';
import { installPackages } from './support/packages.js';
import { pathOf } from './support/plain.js';
import { fromProject } from './support/project.js';
import { judgeMost, ratios, shuffled } from './support/rounds.js';
import { type Estimate, estimate, median, quantile } from './support/statistics.js';
import { table } from './support/table.js';

const USAGE = `Usage: npm run bench -- ports [options]
  --rounds N   default 9
  --small      10 instead of 100 processes: a quick look, without meaning
  --docs       put the figures into docs/benchmarks.md
  --told       measure nothing: tell the figures of the last time
`;

const PEERS = ['get-port@7.2.0', 'portfinder@1.0.38', 'detect-port@2.1.0', 'get-port-please@3.2.0'];
const HOLDFAST = 'holdfast';
const AGAIN = 'holdfast, again';
const SAME = 'holdfast, 127.0.0.1';
const RESERVE = 'ephemeral-port-reserve';
const METHODS = [
  ...[HOLDFAST, AGAIN, SAME, 'holdfast, exclusive', RESERVE],
  ...['bind 0, close', 'get-port', 'portfinder', 'detect-port', 'get-port-please'],
] as const;

/** What one method did in one round. */
interface Round {
  readonly aloneUs: readonly number[];
  readonly crowdUs: number;
  /** Callers who share their port with another one. */
  readonly sharing: number;
  /** Reservations that gave no port, or none that could be listened on. */
  readonly failed: number;
}

interface PortsFigures extends Circumstances {
  readonly processes: number;
  readonly rounds: Readonly<Record<string, readonly Round[]>>;
}

const EACH = 20;
const ALONE = 1_000;
const [FIRST, LAST] = [20_000, 60_000];
/** The kernel chooses from so many for each port that is wanted. */
const ROOM = 2.5;

export function main(args: readonly string[]): Promise<void> {
  return runBench<PortsFigures>(
    {
      name: 'ports',
      usage: USAGE,
      needs: ['unshare', 'ip', 'python3'],
      defaultRounds: 9,
      isSandboxed: true,
      prepare: async () => {
        await installPackages(PEERS);
      },
      measure: (rounds, isSmall) => withCircumstances(['python3'], () => measure(rounds, isSmall)),
      describe,
    },
    args,
  );
}

async function measure(count: number, isSmall: boolean): Promise<Omit<PortsFigures, keyof Circumstances>> {
  const processes = isSmall ? 10 : 100;
  const rounds: Record<string, Round[]> = Object.fromEntries(METHODS.map((name) => [name, []]));
  for (let round = 1; round <= count; round++) {
    for (const method of shuffled(METHODS)) {
      process.stderr.write(`ports: round ${round} of ${count}: ${method}\n`);
      rounds[method]?.push(await measureOne(method, processes));
    }
  }
  return { processes, rounds };
}

async function measureOne(method: string, processes: number): Promise<Round> {
  await chooseFrom(FIRST, LAST);
  const alone = await crowd(method, 1, ALONE);
  await chooseFrom(FIRST, FIRST + processes * EACH * ROOM - 1);
  const many = await crowd(method, processes, EACH);
  const count = new Map<number, number>();
  for (const port of many.ports) count.set(port, (count.get(port) ?? 0) + 1);
  return {
    aloneUs: [quantile(alone.us, 0.5), quantile(alone.us, 0.99)],
    crowdUs: quantile(many.us, 0.5),
    sharing: many.ports.filter((port) => (count.get(port) ?? 0) > 1).length,
    failed: processes * EACH - many.listening,
  };
}

/** Everybody begins with the same range, of which nothing is in TIME_WAIT. */
async function chooseFrom(from: number, to: number): Promise<void> {
  const path = pathToFileURL(fromProject('dist/kernel/sock-destroy.js')).href;
  const { destroyLeftovers } = (await import(path)) as typeof import('../src/kernel/sock-destroy.js');
  destroyLeftovers({ port: { from: 1, to: 65_535 }, states: ['TIME_WAIT', 'FIN_WAIT2'] });
  writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', `${from} ${to}`);
}

interface Crowd {
  readonly ports: readonly number[];
  readonly us: readonly number[];
  readonly listening: number;
}

/** So many processes reserve at once; then all listen on what they have. */
async function crowd(method: string, processes: number, each: number): Promise<Crowd> {
  const modules = await installPackages(PEERS);
  const command =
    method === RESERVE
      ? [pathOf('python3'), fromProject('bench', 'servers', 'reserver.py'), `${each}`]
      : [
          ...[process.execPath, fromProject('bench', 'servers', 'reserver.js'), method, `${each}`],
          ...[modules, fromProject('dist', 'index.js')],
        ];
  const children = Array.from({ length: processes }, () => new Reserver(command));
  await Promise.all(children.map((child) => child.line()));
  const reserved = (await Promise.all(children.map((child) => child.ask('reserve')))).map(parse);
  const listened = (await Promise.all(children.map((child) => child.ask('listen')))).map(parse);
  await Promise.all(children.map((child) => child.end()));
  return {
    ports: reserved.flatMap(({ ports }) => ports),
    us: reserved.flatMap(({ us }) => us),
    listening: listened.reduce((sum, { listening }) => sum + listening, 0),
  };
}

function parse(line: string): Crowd {
  return JSON.parse(line) as Crowd;
}

class Reserver {
  readonly #child;
  readonly #lines: AsyncIterator<string>;

  constructor([program = '', ...args]: readonly string[]) {
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('a process that reserves ports has ended early');
    return value;
  }

  ask(order: string): Promise<string> {
    this.#child.stdin.write(`${order}\n`);
    return this.line();
  }

  async end(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.stdin.end();
    await exited;
  }
}

function describe(figures: PortsFigures): string {
  const { rounds, processes } = figures;
  const count = rounds[HOLDFAST]?.length ?? 0;
  const base = p50(rounds[RESERVE] ?? []);
  const rows = METHODS.map((name) => {
    const own = rounds[name] ?? [];
    return [
      name,
      `${sum(own.map(({ failed }) => failed))}`,
      `${sum(own.map(({ sharing }) => sharing))}`,
      median(p50(own)).toFixed(0),
      median(own.map(({ aloneUs }) => aloneUs[1] ?? Number.NaN)).toFixed(0),
      format(estimate(ratios(p50(own), base))),
      median(own.map(({ crowdUs }) => crowdUs)).toFixed(0),
    ];
  });
  const total = (processes * EACH * count).toLocaleString('en-US');
  return [
    `${describeCircumstances(figures)}, ${PEERS.map((peer) => peer.replace('@', ' ')).join(', ')}; ${count} rounds of ${processes} processes with ${EACH} reservations each, ${total} in all.`,
    table(['method', 'failed', 'sharing', 'alone, µs', 'p99', '÷ e.-p.-reserve', 'in the crowd, µs'], rows),
    table(['target', 'measured', 'verdict'], targetsOf(figures)),
  ].join('\n\n');
}

function targetsOf({ rounds }: PortsFigures): readonly (readonly string[])[] {
  const own = [HOLDFAST, AGAIN, SAME, 'holdfast, exclusive'].flatMap((name) => rounds[name] ?? []);
  const [failed, sharing] = [sum(own.map((one) => one.failed)), sum(own.map((one) => one.sharing))];
  const ratio = estimate(ratios(p50(rounds[SAME] ?? []), p50(rounds[RESERVE] ?? [])));
  const noise = estimate(ratios(p50(rounds[AGAIN] ?? []), p50(rounds[HOLDFAST] ?? [])));
  const spread = Math.max(Math.abs(1 - noise.low), Math.abs(noise.high - 1));
  return [
    [
      'holdfast: none failed, none shared',
      `${failed} failed, ${sharing} sharing`,
      failed + sharing === 0 ? 'reached' : 'missed',
    ],
    [
      'for 127.0.0.1 alone, as ephemeral-port-reserve does it: no slower',
      format(ratio),
      judgeMost(ratio, 1, spread),
    ],
  ];
}

function p50(rounds: readonly Round[]): number[] {
  return rounds.map(({ aloneUs }) => aloneUs[0] ?? Number.NaN);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function format({ median: middle, low, high }: Estimate): string {
  return `${middle.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}
