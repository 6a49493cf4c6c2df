// `npm run bench -- why`: how long `holdfast why` takes beside ss, lsof and fuser, and `holdfast free` for many TIME_WAIT
// entries. How each figure is measured is in docs/benchmarks.md.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { Requirement } from '../scripts/requirements.js';
import { runBench } from './support/bench.js';
import { withCircumstances } from './support/circumstances.js';
import { type Circumstances, describeCircumstances } from './support/docs.js';
import { findPath, pathOf } from './support/plain.js';
import { start, withCleanup } from './support/process.js';
import { fromProject } from './support/project.js';
import { differences, judgeMost, ratios, shuffled, type Verdict } from './support/rounds.js';
import { fillTimeWaits, timeWaits } from './support/sandbox.js';
import { type Estimate, estimate, median } from './support/statistics.js';
import { table } from './support/table.js';
import { undisturbed } from './support/undisturbed.js';

const USAGE = `Usage: npm run bench -- why [options]
  --rounds N   default 9
  --small      2,000 instead of 50,000 TIME_WAIT entries and 20 instead of 200 listeners: a quick look, without meaning
  --docs       put the figures into docs/benchmarks.md
  --told       measure nothing: tell the figures of the last time
`;

interface WhyFigures extends Circumstances {
  readonly rounds: number;
  readonly timeWaits: number;
  readonly listeners: number;
  /** Milliseconds of whole processes by command, one a round. */
  readonly idle: Times;
  readonly loaded: Times;
  readonly free: readonly FreeTime[];
}

type Times = Readonly<Record<string, readonly number[]>>;

/** How long it took to remove all entries of a port, and how many were left. */
interface FreeTime {
  readonly inProcessMs: number;
  readonly leftInProcess: number;
  readonly wholeMs: number;
  readonly leftByWhole: number;
}

const PORT = 8080;
const FULL_PORT = 7000;
const FIRST_LISTENER = 61_000;
const FREE_ROUNDS = 5;

const NODE = 'node -e 0';
const NODE_AGAIN = 'node -e 0, again';
const WHY = 'holdfast why P';
const WHY_FULL = 'holdfast why Q';
const SS_ALL = 'ss -tanp';
const LSOF = 'lsof -nP -iTCP:P';
const FUSER = 'fuser -n tcp P';

const holdfast = [process.execPath, fromProject('dist/cli/main.cjs')];

interface Candidate {
  readonly name: string;
  /** Undefined: this machine does not have it. */
  readonly command: readonly string[] | undefined;
}

const always: readonly Candidate[] = [
  { name: NODE, command: [process.execPath, '-e', '0'] },
  { name: NODE_AGAIN, command: [process.execPath, '-e', '0'] },
  { name: WHY, command: [...holdfast, 'why', `${PORT}`] },
  peer('ss', SS_ALL, ['-tanp']),
  peer('ss', "ss -ltnp 'sport = :P'", ['-ltnp', `sport = :${PORT}`]),
  peer('lsof', LSOF, ['-nP', `-iTCP:${PORT}`]),
  peer('fuser', FUSER, ['-n', 'tcp', `${PORT}`]),
];

const loadedOnly: readonly Candidate[] = [
  { name: WHY_FULL, command: [...holdfast, 'why', `${FULL_PORT}`] },
  peer('ss', "ss -tanop 'sport = :Q'", ['-tanop', `sport = :${FULL_PORT}`]),
];

function peer(program: Requirement, name: string, args: readonly string[]): Candidate {
  const path = findPath(program);
  return { name, command: path === undefined ? undefined : [path, ...args] };
}

export function main(args: readonly string[]): Promise<void> {
  const bench = {
    name: 'why',
    usage: USAGE,
    needs: ['unshare', 'ip', 'python3'],
    defaultRounds: 9,
    isSandboxed: true,
    measure: (rounds: number, isSmall: boolean) =>
      withCircumstances(
        (['ss', 'lsof', 'fuser'] as const).filter((name) => findPath(name) !== undefined),
        () => measure(rounds, isSmall),
      ),
    describe,
  } as const;
  return runBench<WhyFigures>(bench, args);
}

async function measure(rounds: number, small: boolean): Promise<Omit<WhyFigures, keyof Circumstances>> {
  const sizes = small ? { timeWaits: 2_000, listeners: 20 } : { timeWaits: 50_000, listeners: 200 };
  const parts = { idle: {} as Times, loaded: {} as Times, free: [] as readonly FreeTime[] };
  await withCleanup(async () => {
    start([process.execPath, fromProject('bench/servers/http.js'), `${PORT}`]);
    await untilListening(PORT);
    parts.idle = await timesOf(always, rounds, 'idle', () => Promise.resolve());
    const listeners = fromProject('bench/servers/listeners.py');
    const started = start([pathOf('python3'), listeners, `${FIRST_LISTENER}`, `${sizes.listeners}`]);
    await started.line(/^ready$/);
    const fill = (): Promise<void> => fillTimeWaits(FULL_PORT, sizes.timeWaits);
    parts.loaded = await timesOf([...always, ...loadedOnly], rounds, 'loaded', fill);
    parts.free = await freeTimes(Math.min(rounds, FREE_ROUNDS), fill);
  });
  return { rounds, ...sizes, ...parts };
}

async function untilListening(port: number): Promise<void> {
  const inHex = port.toString(16).toUpperCase().padStart(4, '0');
  const deadlineMs = performance.now() + 10_000;
  while (!new RegExp(`:${inHex} 0+:0000 0A`).test(readFileSync('/proc/net/tcp', 'utf8'))) {
    if (performance.now() > deadlineMs) throw new Error(`nobody listens on port ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** In each round every candidate once, in a new order. The first round is for the disk's caches and does not count. */
async function timesOf(
  candidates: readonly Candidate[],
  rounds: number,
  what: string,
  before: () => Promise<void>,
): Promise<Times> {
  const present = candidates.flatMap(({ name, command }) =>
    command === undefined ? [] : [{ name, command }],
  );
  const times: Record<string, number[]> = Object.fromEntries(present.map(({ name }) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    await before();
    process.stderr.write(`why, ${what}: ${round === 0 ? 'warm-up' : `round ${round} of ${rounds}`}\n`);
    undisturbed(() => {
      for (const { name, command } of shuffled(present)) {
        const ms = timeMs(command);
        if (round > 0) times[name]?.push(ms);
      }
    });
  }
  return times;
}

function timeMs([program = '', ...args]: readonly string[]): number {
  const begun = performance.now();
  const { error, status } = spawnSync(program, args, {
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: 1 << 26,
  });
  const ms = performance.now() - begun;
  if (error) throw error;
  // Every command exits with 0 or, for a port that is held or not found, with 1.
  if (status !== 0 && status !== 1) throw new Error(`${[program, ...args].join(' ')} exited with ${status}`);
  return ms;
}

/** @throws {SyscallError} EPERM: no CAP_NET_ADMIN. EOPNOTSUPP: the kernel has no CONFIG_INET_DIAG_DESTROY. */
async function freeTimes(rounds: number, fill: () => Promise<void>): Promise<readonly FreeTime[]> {
  const path = pathToFileURL(fromProject('dist/kernel/sock-destroy.js')).href;
  const { destroyLeftovers } = (await import(path)) as typeof import('../src/kernel/sock-destroy.js');
  const times: FreeTime[] = [];
  for (let round = 1; round <= rounds; round++) {
    process.stderr.write(`why, free: round ${round} of ${rounds}\n`);
    await fill();
    const begun = performance.now();
    undisturbed(() => destroyLeftovers({ port: FULL_PORT, states: ['TIME_WAIT', 'FIN_WAIT2'] }));
    const inProcessMs = performance.now() - begun;
    const leftInProcess = timeWaits();
    await fill();
    const wholeMs = undisturbed(() => timeMs([...holdfast, 'free', `${FULL_PORT}`, '-y']));
    times.push({ inProcessMs, leftInProcess, wholeMs, leftByWhole: timeWaits() });
  }
  return times;
}

function describe(figures: WhyFigures): string {
  const { idle, loaded, free, rounds, timeWaits: entries, listeners } = figures;
  const many = entries.toLocaleString('en-US');
  const parts = [
    `${describeCircumstances(figures)}; ${rounds} rounds, ${many} TIME_WAIT, ${listeners} listening processes.`,
    describeTimes('idle', idle, always),
    describeTimes('loaded', loaded, [...always, ...loadedOnly]),
    `In parentheses the interval that has the median with ${percent(estimate(idle[NODE] ?? []).confidence)} confidence.`,
    describeFree(free, many),
    table(['target', 'measured', 'verdict'], targetsOf(figures)),
  ];
  return parts.join('\n\n');
}

function describeTimes(title: string, times: Times, candidates: readonly Candidate[]): string {
  const base = times[NODE] ?? [];
  const rows = candidates.map(({ name }) => {
    const own = times[name];
    if (own === undefined) return [name, 'absent', '', '', ''];
    const isBase = name === NODE;
    return [
      name,
      median(own).toFixed(1),
      Math.min(...own).toFixed(1),
      isBase ? '' : format(estimate(differences(own, base)), 1),
      isBase ? '1' : format(estimate(ratios(own, base)), 2),
    ];
  });
  return table([title, 'median ms', 'least ms', '- node ms', '÷ node'], rows);
}

function describeFree(free: readonly FreeTime[], many: string): string {
  const row = (name: string, ms: readonly number[], left: readonly number[]): string[] => [
    name,
    median(ms).toFixed(0),
    Math.max(...ms).toFixed(0),
    `${Math.max(...left)}`,
  ];
  return table(
    [`${many} TIME_WAIT removed`, 'median ms', 'most ms', 'left at most'],
    [
      row(
        'in the process',
        free.map((one) => one.inProcessMs),
        free.map((one) => one.leftInProcess),
      ),
      row(
        'holdfast free Q -y, whole process',
        free.map((one) => one.wholeMs),
        free.map((one) => one.leftByWhole),
      ),
    ],
  );
}

const IDLE_MS = 30;
const LOADED_MS = 55;
const FULL_MS = 60;
const FREE_MS = 500;

function targetsOf({ idle, loaded, free, timeWaits: entries }: WhyFigures): readonly (readonly string[])[] {
  const many = entries.toLocaleString('en-US');
  const rows = [
    row(`idle, why P <= node + ${IDLE_MS} ms`, idle, [WHY, NODE], IDLE_MS),
    row(`loaded, why P <= node + ${LOADED_MS} ms`, loaded, [WHY, NODE], LOADED_MS),
    ...[LSOF, FUSER].map((name) => row(`loaded, why P faster than ${name}`, loaded, [WHY, name], 0)),
  ];
  // In one round both have the same number, not the same moment.
  const full = estimate(differences(loaded[WHY_FULL] ?? [], idle[WHY] ?? []));
  rows.push([
    `why Q of ${many} TIME_WAIT <= idle why P + ${FULL_MS} ms`,
    `${format(full, 1)} ms`,
    judgeMost(full, FULL_MS, noiseMs(loaded)),
  ]);
  const freed = estimate(free.map(({ inProcessMs }) => inProcessMs));
  const left = Math.max(...free.map((one) => Math.max(one.leftInProcess, one.leftByWhole)));
  const verdict: Verdict = left > 0 ? 'missed' : judgeMost(freed, FREE_MS, noiseMs(loaded));
  rows.push([
    `free of ${many} TIME_WAIT <= ${FREE_MS} ms, none left`,
    `${format(freed, 0)} ms, ${left} left`,
    verdict,
  ]);
  return rows;
}

/** Of a target for the difference of two commands in the same round. */
function row(what: string, times: Times, [one, other]: readonly [string, string], target: number): string[] {
  const [own, base] = [times[one], times[other]];
  if (own === undefined || base === undefined) return [what, `${other} is absent`, ''];
  const difference = estimate(differences(own, base));
  return [what, `${format(difference, 1)} ms`, judgeMost(difference, target, noiseMs(times))];
}

/** How far two bare nodes were apart: the farther end of the interval of their difference. */
function noiseMs(times: Times): number {
  const { low, high } = estimate(differences(times[NODE_AGAIN] ?? [], times[NODE] ?? []));
  return Math.max(Math.abs(low), Math.abs(high));
}

function format({ median: middle, low, high }: Estimate, digits: number): string {
  return `${middle.toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
