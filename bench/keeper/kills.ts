import { setTimeout as sleep } from 'node:timers/promises';
import type { LoadCounts, LoadResult } from '../../test/support/load.js';
import { ask } from '../support/ask.js';
import { countsOf, startLoad, sumOfCounts } from '../support/load.js';
import { freePort } from '../support/plain.js';
import { type Started, start } from '../support/process.js';
import { shuffled } from '../support/rounds.js';
import { median, quantile } from '../support/statistics.js';
import { table } from '../support/table.js';
import { answering, type Kept } from './kept.js';
import { type Part, type PartOptions, verdictOf } from './part.js';
import {
  type Candidate,
  heldByHoldfast,
  nodeCluster,
  nodeServer,
  nodeUnderPm2,
  nodeUnderStartServer,
} from './peers.js';

/** What clients of a server see that is killed again and again. */
export const kills: Part<KillFigures> = {
  title: 'Kills',
  needs: ['start_server'],
  needsPm2: true,
  measure,
  describe: (figures) => {
    const byName = Object.entries(figures.candidates).map(([name, rounds]) => ({ name, ...sumUp(rounds) }));
    const rows = byName.map(({ name, counts, gapsMs, servedMs }) => [
      name,
      ...[`${gapsMs.length}`, `${counts.sent}`],
      ...[counts.refused, counts.reset, counts.eof, counts.hung, counts.other + counts.skipped].map(String),
      ...[median(gapsMs), Math.max(...gapsMs)].map((ms) => ms.toFixed(0)),
      (Math.min(...servedMs) / 1_000).toFixed(1),
    ]);
    const startMs = ownStartsMs(figures);
    const head = [
      ...['', 'kills', 'requests', 'refused', 'reset', 'eof', 'hung', 'other'],
      ...['gap median ms', 'gap max ms', 'served at least s'],
    ];
    const starts = [
      ['under the same load', startMs.loaded],
      ['on the idle machine', startMs.idle],
    ] as const;
    const startRows = starts.map(([where, values]) => [
      where,
      `${values.length}`,
      ...[median(values), quantile(values, 0.9), Math.max(...values)].map((ms) => ms.toFixed(0)),
    ]);
    const text = [
      table(head, rows),
      table(["the server's own start, bare", 'starts', 'median ms', 'p90 ms', 'max ms'], startRows),
    ].join('\n\n');

    const holdfast = byName.find(({ name }) => name === heldByHoldfast.name);
    if (holdfast === undefined) return { text, targets: [] };
    const { refused, hung } = holdfast.counts;
    const gapMs = median(holdfast.gapsMs);
    const allowedMs = median(startMs.loaded) + GAP_OVER_START_MS;
    const targets = [
      {
        what: `refused and hung in ${holdfast.gapsMs.length} kills`,
        target: '0 and 0',
        figure: `${refused} and ${hung}`,
        verdict: verdictOf(refused === 0 && hung === 0),
      },
      {
        what: 'median gap after SIGKILL',
        target: `<= the server's own start + ${GAP_OVER_START_MS} ms = ${allowedMs.toFixed(0)} ms`,
        figure: `${gapMs.toFixed(0)} ms`,
        verdict: verdictOf(gapMs <= allowedMs),
      },
    ];
    return { text, targets };
  },
};

export interface KillFigures {
  readonly ratePerSecond: number;
  readonly workMs: number;
  readonly candidates: Readonly<Record<string, KillRound[]>>;
  /** From spawn to the first answer, bare, with nothing else to do. */
  readonly idleStartsMs: readonly number[];
}

/** One load on one started candidate. */
export interface KillRound {
  readonly counts: LoadCounts;
  readonly longestGapMs: number;
  /** How late the client itself was, at most: gaps are not finer than this. */
  readonly clientLateMs: number;
  readonly kills: readonly {
    /** Between the last answer of the killed process and the first of the next one. */
    readonly gapMs: number;
    /** From the first to the last answer of the killed process. */
    readonly servedMs: number;
  }[];
  /** Of a restarter that says so: from spawn to the first answer. */
  readonly startsMs: readonly number[];
}

const RATE_PER_SECOND = 500;
const WORK_MS = 5;
const TIMEOUT_MS = 5_000;
const KILLS_PER_ROUND = 5;
/**
 * From a kill to the next: its replacement starts and then serves for more than 2 s, after which holdfast forgets that
 * the one before it crashed. It would wait before the start otherwise.
 */
const SPACING_MS = 3_000;
const GAP_OVER_START_MS = 10;

async function measure({ kills: total, progress }: PartOptions): Promise<KillFigures> {
  const candidates: Record<string, KillRound[]> = Object.fromEntries(kept.map(({ name }) => [name, []]));
  const idleStartsMs: number[] = [];
  const rounds = Math.ceil(total / KILLS_PER_ROUND);
  for (let round = 0; round < rounds; round++) {
    const count = Math.min(KILLS_PER_ROUND, total - round * KILLS_PER_ROUND);
    for (const candidate of shuffled(kept)) {
      progress(`round ${round + 1} of ${rounds}: ${count} kills, ${candidate.name}`);
      candidates[candidate.name]?.push(await killRound(candidate, count));
    }
    for (let i = 0; i < count; i++) idleStartsMs.push(await idleStartMs());
  }
  return { ratePerSecond: RATE_PER_SECOND, workMs: WORK_MS, candidates, idleStartsMs };
}

async function killRound(candidate: Candidate, count: number): Promise<KillRound> {
  const server: Kept & { readonly spawns?: readonly Spawn[] } = await candidate.start({ delayMs: WORK_MS });
  try {
    const load = await startLoad({
      port: server.port,
      ratePerSecond: RATE_PER_SECOND,
      timeoutMs: TIMEOUT_MS,
    });
    const killed: number[] = [];
    for (let i = 0; i < count; i++) {
      await sleep(SPACING_MS);
      const pid = await answering(server.port);
      process.kill(pid, 'SIGKILL');
      killed.push(pid);
    }
    await sleep(SPACING_MS);
    const result = await load.stop();
    return {
      counts: countsOf(result),
      longestGapMs: result.longestGapMs,
      clientLateMs: result.lateMs,
      kills: killed.map((pid) => killOf(pid, result)),
      startsMs: (server.spawns ?? []).flatMap((spawn) => startOf(spawn, result)),
    };
  } finally {
    await server.stop();
  }
}

function killOf(pid: number, { processes, durationMs }: LoadResult): KillRound['kills'][number] {
  const at = processes.findIndex((seen) => seen.pid === pid);
  const killed = processes[at];
  if (killed === undefined) throw new Error(`pid ${pid} was killed and had answered none of the load`);
  const next = processes[at + 1]; // none: it never came back
  return {
    gapMs: (next?.firstAtMs ?? durationMs) - killed.lastAtMs,
    servedMs: killed.lastAtMs - killed.firstAtMs,
  };
}

interface Spawn {
  readonly pid: number;
  /** In ms since the epoch. */
  readonly at: number;
}

/** Nothing when the process was there before the load. */
function startOf({ pid, at }: Spawn, { processes, startedAt }: LoadResult): number[] {
  const first = processes.find((seen) => seen.pid === pid);
  return first === undefined || at < startedAt ? [] : [startedAt + first.firstAtMs - at];
}

/** What an init with a restart delay does: a bare server that is started again 100 ms after its end. */
const restarted: Candidate = {
  name: 'bare, started again after 100 ms',
  start: async (work = {}) => {
    const port = await freePort();
    const spawns: Spawn[] = [];
    const stopping = new AbortController();
    let server: Started | undefined;
    const spawn = (): void => {
      const at = Date.now();
      const started = start(nodeServer(port, work));
      server = started;
      spawns.push({ pid: started.pid, at });
      void started.exited
        .then(() => sleep(RESTART_DELAY_MS, undefined, { signal: stopping.signal }))
        .then(spawn)
        .catch(() => undefined); // AbortError: it is not to be started again
    };
    spawn();
    await answering(port);
    const stop = async (): Promise<void> => {
      stopping.abort();
      await server?.stop();
    };
    const root = server?.pid ?? 0;
    return {
      port,
      root,
      stop,
      spawns,
      processes: async () => ({ supervisor: [], server: [server?.pid ?? 0] }),
    };
  },
};

const RESTART_DELAY_MS = 100;

const kept = [restarted, heldByHoldfast, nodeUnderPm2, nodeCluster, nodeUnderStartServer];

async function idleStartMs(): Promise<number> {
  const port = await freePort();
  const spawnedMs = performance.now();
  const server = start(nodeServer(port, { delayMs: WORK_MS }));
  try {
    // A refused connection costs the server nothing.
    while ((await ask(port)) === undefined) await sleep(1);
    return performance.now() - spawnedMs;
  } finally {
    await server.stop();
  }
}

function ownStartsMs({ candidates, idleStartsMs }: KillFigures): {
  readonly loaded: readonly number[];
  readonly idle: readonly number[];
} {
  const loaded = (candidates[restarted.name] ?? []).flatMap(({ startsMs }) => startsMs);
  return { loaded, idle: idleStartsMs };
}

function sumUp(rounds: readonly KillRound[]): {
  readonly counts: LoadCounts;
  readonly gapsMs: readonly number[];
  readonly servedMs: readonly number[];
} {
  const all = rounds.flatMap((round) => round.kills);
  return {
    counts: sumOfCounts(rounds.map(({ counts }) => counts)),
    gapsMs: all.map(({ gapMs }) => gapMs),
    servedMs: all.map(({ servedMs }) => servedMs),
  };
}
