import { setTimeout as sleep } from 'node:timers/promises';
import type { LoadAnswer, LoadCounts, LoadOptions, LoadResult } from '../../test/support/load.js';
import { start } from './process.js';
import { fromProject } from './project.js';

export interface RunningLoad {
  /** Waits until each request has ended and gives the result. */
  stop(): Promise<LoadResult>;
}

/** The open-loop load of the tests as a process of its own. */
export async function startLoad(
  options: LoadOptions & { readonly port: number; readonly ratePerSecond: number },
): Promise<RunningLoad> {
  const { port, ratePerSecond, timeoutMs = 5_000, maxOpen = 4_000, keepAnswers = false } = options;
  const load = start([
    process.execPath,
    fromProject('test', 'support', 'load-main.js'),
    `--port=${port}`,
    `--rate=${ratePerSecond}`,
    `--timeout=${timeoutMs}`,
    `--max-open=${maxOpen}`,
    ...(keepAnswers ? ['--answers'] : []),
  ]);
  await load.line(/^load started$/);
  return {
    stop: async () => {
      load.child.kill('SIGTERM');
      const [text] = await load.line(/^\{.*\}$/, { timeoutMs: timeoutMs + 20_000 });
      await load.stop();
      return JSON.parse(text) as LoadResult;
    },
  };
}

/** A load for a time, of whose result nothing is wanted. */
export async function loadFor(ms: number, port: number, ratePerSecond: number): Promise<void> {
  const load = await startLoad({ port, ratePerSecond });
  await sleep(ms);
  await load.stop();
}

/** A result without what is not counted. */
export function countsOf({ sent, skipped, ok, refused, reset, eof, hung, other }: LoadResult): LoadCounts {
  return { sent, skipped, ok, refused, reset, eof, hung, other };
}

/** How many requests got no good answer, whatever the reason. */
export function failedOf({ sent, skipped, ok }: LoadCounts): number {
  return sent + skipped - ok;
}

export function sumOfCounts(counts: readonly LoadCounts[]): LoadCounts {
  const sum = (name: keyof LoadCounts): number => counts.reduce((total, each) => total + each[name], 0);
  return {
    sent: sum('sent'),
    skipped: sum('skipped'),
    ok: sum('ok'),
    refused: sum('refused'),
    reset: sum('reset'),
    eof: sum('eof'),
    hung: sum('hung'),
    other: sum('other'),
  };
}

/** A part of a load. Both count from its start. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * The longest time between two answers that has a part in the span. The end of the load stands for an answer that never
 * came, as its start does for the one before the first. Answers are in the order in which they came.
 */
export function longestGapMs(
  answers: readonly LoadAnswer[],
  durationMs: number,
  { fromMs, toMs }: Span,
): number {
  let longest = 0;
  let lastMs = 0;
  for (const atMs of [...answers.map((answer) => answer.atMs), durationMs]) {
    if (atMs > fromMs && lastMs < toMs) longest = Math.max(longest, atMs - lastMs);
    lastMs = atMs;
  }
  return longest;
}

/** How long those answers took whose requests were under way at any time of the span. */
export function latenciesMs(answers: readonly LoadAnswer[], { fromMs, toMs }: Span): number[] {
  return answers
    .filter(({ atMs, tookMs }) => atMs >= fromMs && atMs - tookMs <= toMs)
    .map(({ tookMs }) => tookMs);
}
