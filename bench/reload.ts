// `npm run bench -- reload`: what clients see of reloads, by holdfast and by its peers. How each figure is measured is in
// docs/benchmarks.md.

import { setTimeout as sleep } from 'node:timers/promises';
import type { LoadCounts } from '../test/support/load.js';
import { descendantsOf, isAlive } from '../test/support/proc.js';
import { until } from '../test/support/wait.js';
import { answering } from './keeper/kept.js';
import { verdictOf } from './keeper/part.js';
import { installPm2 } from './keeper/peers.js';
import {
  gracefulHoldfast,
  plainHoldfast,
  type Reloadable,
  type ReloadCandidate,
  reloadCandidates,
} from './reload/candidates.js';
import { runBench } from './support/bench.js';
import { withCircumstances } from './support/circumstances.js';
import { type Circumstances, describeCircumstances } from './support/docs.js';
import { countsOf, failedOf, latenciesMs, longestGapMs, startLoad, sumOfCounts } from './support/load.js';
import { withCleanup } from './support/process.js';
import { shuffled } from './support/rounds.js';
import { median, quantile } from './support/statistics.js';
import { table } from './support/table.js';
import { type Memory, memoryOf } from './support/usage.js';

const USAGE = `Usage: npm run bench -- reload [options]
  --rounds N   of 4 reloads for each candidate; default 5
  --small      2 reloads a round: a quick look, without meaning
  --docs       put the figures into docs/benchmarks.md
  --told       measure nothing: tell the figures of the last time
`;

interface ReloadFigures extends Circumstances {
  readonly rounds: number;
  readonly reloadsPerRound: number;
  readonly candidates: Readonly<Record<string, readonly ReloadRound[]>>;
}

/** One load on one started candidate. */
interface ReloadRound {
  readonly counts: LoadCounts;
  readonly longestGapMs: number;
  /** How late the client itself was, at most: gaps are not finer than this. */
  readonly clientLateMs: number;
  readonly reloads: readonly Reload[];
  /** Undefined: nothing supervises the server. */
  readonly supervisor: Memory | undefined;
}

interface Reload {
  readonly tookMs: number;
  readonly gapMs: number;
  /** Of every request that was under way during the reload. */
  readonly latenciesMs: readonly number[];
}

const RATE_PER_SECOND = 500;
const WORK_MS = 5;
const RELOADS_PER_ROUND = 4;
const RELOADS_IF_SMALL = 2;
/** Before each reload and after the last: the one before it does not disturb it. */
const SETTLE_MS = 500;
const RELOAD_TIMEOUT_MS = 60_000;

const NEEDS = ['python3', 'gunicorn', 'nginx', 'haproxy', 'start_server'] as const;

export function main(args: readonly string[]): Promise<void> {
  return runBench<ReloadFigures>(
    {
      name: 'reload',
      usage: USAGE,
      needs: NEEDS,
      defaultRounds: 5,
      isSandboxed: false,
      measure: (rounds, isSmall) =>
        withCircumstances(NEEDS, () => measure(rounds, isSmall ? RELOADS_IF_SMALL : RELOADS_PER_ROUND)),
      describe,
    },
    args,
  );
}

async function measure(
  rounds: number,
  reloadsPerRound: number,
): Promise<Omit<ReloadFigures, keyof Circumstances>> {
  const candidates: Record<string, ReloadRound[]> = Object.fromEntries(
    reloadCandidates.map(({ name }) => [name, []]),
  );
  await withCleanup(async () => {
    await installPm2();
    for (let round = 1; round <= rounds; round++) {
      for (const candidate of shuffled(reloadCandidates)) {
        process.stderr.write(`reload: round ${round} of ${rounds}: ${candidate.name}\n`);
        candidates[candidate.name]?.push(await reloadRound(candidate, reloadsPerRound));
      }
    }
  });
  return { rounds, reloadsPerRound, candidates };
}

async function reloadRound(candidate: ReloadCandidate, count: number): Promise<ReloadRound> {
  const server = await candidate.start(WORK_MS);
  try {
    await sleep(SETTLE_MS);
    const load = await startLoad({ port: server.port, ratePerSecond: RATE_PER_SECOND, keepAnswers: true });
    const reloads: { readonly fromAt: number; readonly toAt: number }[] = [];
    for (let i = 0; i < count; i++) {
      await sleep(SETTLE_MS);
      const fromAt = Date.now();
      await reloadToItsEnd(server);
      reloads.push({ fromAt, toAt: Date.now() });
    }
    await sleep(SETTLE_MS);
    const { supervisor } = await server.processes();
    const memory = supervisor.length === 0 ? undefined : memoryOf(supervisor);
    const result = await load.stop();
    return {
      counts: countsOf(result),
      longestGapMs: result.longestGapMs,
      clientLateMs: result.lateMs,
      reloads: reloads.map(({ fromAt, toAt }) => {
        const span = { fromMs: fromAt - result.startedAt, toMs: toAt - result.startedAt };
        return {
          tookMs: toAt - fromAt,
          gapMs: longestGapMs(result.answers, result.durationMs, span),
          latenciesMs: latenciesMs(result.answers, span),
        };
      }),
      supervisor: memory,
    };
  } finally {
    await server.stop();
  }
}

/** A reload is over when nothing of the former generation runs any more, and the new one answers. */
async function reloadToItsEnd(server: Reloadable): Promise<void> {
  const former = descendantsOf(server.root);
  await server.reload();
  await until('the end of the former generation', () => !former.some(isAlive), {
    timeoutMs: RELOAD_TIMEOUT_MS,
  });
  await answering(server.port);
}

function describe(figures: ReloadFigures): string {
  const { rounds, reloadsPerRound } = figures;
  const parts = [
    `${describeCircumstances(figures)}; ${rounds} rounds of ${reloadsPerRound} reloads, ${RATE_PER_SECOND} connections/s.`,
    describeFailures(figures),
    describeTimes(figures),
    table(['target', 'measured', 'verdict'], targetsOf(figures)),
  ];
  return parts.join('\n\n');
}

function describeFailures({ candidates }: ReloadFigures): string {
  const rows = Object.entries(candidates).map(([name, rounds]) => {
    const counts = sumOfCounts(rounds.map((round) => round.counts));
    const kinds = [counts.refused, counts.reset, counts.eof, counts.hung, counts.other + counts.skipped];
    return [name, ...[reloadsOf(rounds).length, counts.sent, ...kinds].map(String)];
  });
  return table(['', 'reloads', 'requests', 'refused', 'reset', 'eof', 'hung', 'other'], rows);
}

function describeTimes({ candidates }: ReloadFigures): string {
  const rows = Object.entries(candidates).map(([name, rounds]) => {
    const reloads = reloadsOf(rounds);
    const latencies = reloads.flatMap((reload) => reload.latenciesMs);
    const memory = rounds.flatMap(({ supervisor }) => supervisor ?? []);
    const megabytes = (field: keyof Memory): string =>
      memory.length === 0 ? '–' : median(memory.map((each) => each[field])).toFixed(1);
    return [
      name,
      median(reloads.map(({ gapMs }) => gapMs)).toFixed(0),
      Math.max(...rounds.map((round) => round.longestGapMs)).toFixed(0),
      // Nobody was answered while a reload ran: there is no time to tell.
      ...[0.5, 0.99].map((q) => (latencies.length === 0 ? '–' : quantile(latencies, q).toFixed(1))),
      (median(reloads.map(({ tookMs }) => tookMs)) / 1_000).toFixed(2),
      ...[megabytes('rssMb'), megabytes('privateMb')],
      Math.max(...rounds.map((round) => round.clientLateMs)).toFixed(0),
    ];
  });
  const head = [
    'gap median ms',
    'gap max ms',
    'p50 ms',
    'p99 ms',
    'reload median s',
    'RSS MB',
    'private MB',
    'client late ms',
  ];
  return table(['', ...head], rows);
}

function targetsOf({ candidates }: ReloadFigures): readonly (readonly string[])[] {
  return [plainHoldfast, gracefulHoldfast].map(({ name }) => {
    const rounds = candidates[name] ?? [];
    const failed = failedOf(sumOfCounts(rounds.map(({ counts }) => counts)));
    return [
      `${name}: 0 failed of any kind`,
      `${failed} in ${reloadsOf(rounds).length} reloads`,
      verdictOf(failed === 0),
    ];
  });
}

function reloadsOf(rounds: readonly ReloadRound[]): readonly Reload[] {
  return rounds.flatMap(({ reloads }) => reloads);
}
