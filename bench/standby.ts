// `npm run bench -- standby`: what clients see of the death of a worker that takes a second to start, with a standby and
// without, beside holdfast's peers. How each figure is measured is in docs/benchmarks.md.

import { setTimeout as sleep } from 'node:timers/promises';
import type { LoadCounts } from '../test/support/load.js';
import { answering } from './keeper/kept.js';
import { verdictOf } from './keeper/part.js';
import {
  type Candidate,
  heldByHoldfast,
  inCluster,
  installPm2,
  nodeServer,
  nodeUnderStartServer,
  PM2_VERSION,
  underHoldfast,
  underPm2,
} from './keeper/peers.js';
import { runBench } from './support/bench.js';
import { withCircumstances } from './support/circumstances.js';
import { type Circumstances, describeCircumstances } from './support/docs.js';
import { countsOf, longestGapMs, startLoad, sumOfCounts } from './support/load.js';
import { withCleanup } from './support/process.js';
import { shuffled } from './support/rounds.js';
import { estimate, median } from './support/statistics.js';
import { table } from './support/table.js';

const USAGE = `Usage: npm run bench -- standby [options]
  --rounds N   of 5 kills for each candidate; default 4
  --small      2 kills a round: a quick look, without meaning
  --docs       put the figures into docs/benchmarks.md
  --told       measure nothing: tell the figures of the last time
`;

interface StandbyFigures extends Circumstances {
  readonly rounds: number;
  readonly killsPerRound: number;
  readonly candidates: Readonly<Record<string, readonly KillRound[]>>;
}

/** One load on one started candidate. */
interface KillRound {
  readonly counts: LoadCounts;
  /** How late the client itself was, at most: gaps are not finer than this. */
  readonly clientLateMs: number;
  readonly kills: readonly Kill[];
}

interface Kill {
  /** The longest time without an answer in the time after it. */
  readonly gapMs: number;
  /** The same in the time before it, which is as long: what the load and the machine do by themselves. */
  readonly calmGapMs: number;
}

const RATE_PER_SECOND = 500;
const WORK_MS = 5;
const BOOT_MS = 1_000;
const KILLS_PER_ROUND = 5;
const KILLS_IF_SMALL = 2;
/**
 * From a kill to the next: the replacement starts, the next standby starts, and the worker serves for more than 2 s, after
 * which holdfast forgets that the one before it crashed.
 */
const SPACING_MS = 4_000;
/** How long after a kill, and how long before it, the longest gap is looked for. The start of a replacement is in it. */
const LOOK_MS = 2_000;
/** The look at the calm ends so long before the kill. */
const APART_MS = 100;
const MOST_GAP_MS = 15;

const NEEDS = ['start_server'] as const;
const WORKERS = 2;

const withStandby = underHoldfast(nodeServer, { name: 'holdfast run --standby', flags: ['--standby'] });

const withGraceful = underHoldfast(nodeServer, {
  name: 'holdfast run --standby --graceful node',
  flags: ['--standby', '--graceful', 'node'],
});

const candidates: readonly Candidate[] = [
  withGraceful,
  withStandby,
  heldByHoldfast,
  nodeUnderStartServer,
  underPm2(WORKERS, `pm2 ${PM2_VERSION}, ${WORKERS} workers`),
  inCluster(WORKERS, `Node's cluster module, ${WORKERS} workers`),
];

export function main(args: readonly string[]): Promise<void> {
  return runBench<StandbyFigures>(
    {
      name: 'standby',
      usage: USAGE,
      needs: NEEDS,
      defaultRounds: 4,
      isSandboxed: false,
      measure: (rounds, isSmall) =>
        withCircumstances(NEEDS, () => measure(rounds, isSmall ? KILLS_IF_SMALL : KILLS_PER_ROUND)),
      describe,
    },
    args,
  );
}

async function measure(
  rounds: number,
  killsPerRound: number,
): Promise<Omit<StandbyFigures, keyof Circumstances>> {
  const measured: Record<string, KillRound[]> = Object.fromEntries(candidates.map(({ name }) => [name, []]));
  await withCleanup(async () => {
    await installPm2();
    for (let round = 1; round <= rounds; round++) {
      for (const candidate of shuffled(candidates)) {
        process.stderr.write(`standby: round ${round} of ${rounds}: ${candidate.name}\n`);
        measured[candidate.name]?.push(await killRound(candidate, killsPerRound));
      }
    }
  });
  return { rounds, killsPerRound, candidates: measured };
}

async function killRound(candidate: Candidate, count: number): Promise<KillRound> {
  const server = await candidate.start({ delayMs: WORK_MS, bootMs: BOOT_MS });
  try {
    const load = await startLoad({ port: server.port, ratePerSecond: RATE_PER_SECOND, keepAnswers: true });
    const killedAt: number[] = [];
    for (let i = 0; i < count; i++) {
      await sleep(SPACING_MS);
      const pid = await answering(server.port);
      killedAt.push(Date.now());
      process.kill(pid, 'SIGKILL');
    }
    await sleep(SPACING_MS);
    const result = await load.stop();
    return {
      counts: countsOf(result),
      clientLateMs: result.lateMs,
      kills: killedAt.map((at) => {
        const atMs = at - result.startedAt;
        const gap = (fromMs: number): number =>
          longestGapMs(result.answers, result.durationMs, { fromMs, toMs: fromMs + LOOK_MS });
        return { gapMs: gap(atMs), calmGapMs: gap(atMs - APART_MS - LOOK_MS) };
      }),
    };
  } finally {
    await server.stop();
  }
}

function describe(figures: StandbyFigures): string {
  const { rounds, killsPerRound } = figures;
  const [first] = Object.values(figures.candidates);
  const sizes = `${rounds} rounds of ${killsPerRound} kills, ${RATE_PER_SECOND} connections/s, ${BOOT_MS} ms to start`;
  const parts = [
    `${describeCircumstances(figures)}; ${sizes}.`,
    describeKills(figures),
    `In parentheses the interval that has the median with ${confidence(gapsOf(first ?? []))} confidence.`,
    table(['target', 'measured', 'verdict'], targetsOf(figures)),
  ];
  return parts.join('\n\n');
}

function describeKills({ candidates: measured }: StandbyFigures): string {
  const rows = Object.entries(measured).map(([name, rounds]) => {
    const counts = sumOfCounts(rounds.map((round) => round.counts));
    const kinds = [counts.refused, counts.hung, counts.reset, counts.eof, counts.other + counts.skipped];
    const gaps = gapsOf(rounds);
    return [
      name,
      ...[gaps.length, counts.sent].map(String),
      format(gaps),
      Math.max(...gaps).toFixed(0),
      median(rounds.flatMap(({ kills }) => kills.map(({ calmGapMs }) => calmGapMs))).toFixed(1),
      Math.max(...rounds.map((round) => round.clientLateMs)).toFixed(0),
      ...kinds.map(String),
    ];
  });
  const gaps = ['gap median ms', 'gap max ms', 'gap before a kill, median ms', 'client late ms'];
  return table(['', 'kills', 'requests', ...gaps, 'refused', 'hung', 'reset', 'eof', 'other'], rows);
}

function targetsOf({ candidates: measured }: StandbyFigures): readonly (readonly string[])[] {
  return [withGraceful, withStandby].flatMap(({ name }) => {
    const rounds = measured[name] ?? [];
    const gaps = gapsOf(rounds);
    const { refused, hung } = sumOfCounts(rounds.map(({ counts }) => counts));
    const isShort = median(gaps) <= MOST_GAP_MS;
    return [
      [`${name}: median gap <= ${MOST_GAP_MS} ms`, `${format(gaps)} ms`, verdictOf(isShort)],
      [`${name}: 0 refused`, `${refused}`, verdictOf(refused === 0)],
      [`${name}: 0 hung`, `${hung}`, verdictOf(hung === 0)],
    ];
  });
}

function gapsOf(rounds: readonly KillRound[]): readonly number[] {
  return rounds.flatMap(({ kills }) => kills.map(({ gapMs }) => gapMs));
}

function format(values: readonly number[]): string {
  const { median: middle, low, high } = estimate(values);
  return `${middle.toFixed(1)} (${low.toFixed(1)} to ${high.toFixed(1)})`;
}

function confidence(values: readonly number[]): string {
  return `${(100 * estimate(values).confidence).toFixed(1)} %`;
}
