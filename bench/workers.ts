// `npm run bench -- workers`: requests per second of two workers, by holdfast and by its peers. How each figure is measured
// is in docs/benchmarks.md.

import { inCluster, installPm2, nodeServer, PM2_VERSION, underHoldfast, underPm2 } from './keeper/peers.js';
import {
  countRequests,
  describeRequests,
  formatRatio,
  MODES,
  type Mode,
  perSecondOf,
  type RequestSamples,
  type Slice,
} from './keeper/requests.js';
import { runBench } from './support/bench.js';
import { withCircumstances } from './support/circumstances.js';
import { type Circumstances, describeCircumstances } from './support/docs.js';
import { withCleanup } from './support/process.js';
import { judgeRatio, ratios } from './support/rounds.js';
import { type Estimate, estimate, median } from './support/statistics.js';
import { table } from './support/table.js';

const USAGE = `Usage: npm run bench -- workers [options]
  --rounds N   default 9
  --small      1 s instead of 3 s a round, candidate and mode: a quick look, without meaning
  --docs       put the figures into docs/benchmarks.md
  --told       measure nothing: tell the figures of the last time
`;

interface WorkersFigures extends Circumstances {
  readonly rounds: number;
  readonly seconds: number;
  readonly samples: RequestSamples;
}

const SECONDS = 3;
const SECONDS_IF_SMALL = 1;
const CONNECTIONS = 32;
const LEAST_RATIO = 0.97;

const NEEDS = ['wrk'] as const;
const WORKERS = 2;
const HOLDFAST = `holdfast run --workers ${WORKERS}`;
const HOLDFAST_AGAIN = `${HOLDFAST}, again`;

const holdfast = [HOLDFAST, HOLDFAST_AGAIN].map((name) =>
  underHoldfast(nodeServer, { name, flags: ['--workers', `${WORKERS}`], workers: WORKERS }),
);
const peers = [
  inCluster(WORKERS, "Node's cluster module, round robin"),
  inCluster(WORKERS, "Node's cluster module, SCHED_NONE", 'none'),
  underPm2(WORKERS, `pm2 ${PM2_VERSION} -i ${WORKERS}`),
];

export function main(args: readonly string[]): Promise<void> {
  return runBench<WorkersFigures>(
    {
      name: 'workers',
      usage: USAGE,
      needs: NEEDS,
      defaultRounds: 9,
      isSandboxed: false,
      measure: (rounds, isSmall) =>
        withCircumstances(NEEDS, () => measure(rounds, isSmall ? SECONDS_IF_SMALL : SECONDS)),
      describe,
    },
    args,
  );
}

async function measure(rounds: number, seconds: number): Promise<Omit<WorkersFigures, keyof Circumstances>> {
  let samples: RequestSamples | undefined;
  await withCleanup(async () => {
    await installPm2();
    samples = await countRequests([...holdfast, ...peers], {
      rounds,
      seconds,
      connections: CONNECTIONS,
      progress: (text) => process.stderr.write(`workers: ${text}\n`),
    });
  });
  if (samples === undefined) throw new TypeError('nothing was measured');
  return { rounds, seconds, samples };
}

function describe(figures: WorkersFigures): string {
  const { rounds, seconds, samples } = figures;
  const parts = [
    `${describeCircumstances(figures)}; ${rounds} rounds of ${seconds} s, ${CONNECTIONS} connections.`,
    describeRequests('Node', samples, {}, 'holdfast').text,
    table(
      ['target', 'measured', 'verdict'],
      MODES.map((mode) => targetOf(mode, samples[mode])),
    ),
  ];
  return parts.join('\n\n');
}

/** Against the peer that was the best by its median, not against the luckiest of each round. */
function targetOf(mode: Mode, samples: Readonly<Record<string, Slice[][]>>): readonly string[] {
  const rates = (name: string): readonly number[] => (samples[name] ?? []).map(perSecondOf);
  const over = (one: string, other: string): Estimate => estimate(ratios(rates(one), rates(other)));
  const [best] = peers.map(({ name }) => name).sort((a, b) => median(rates(b)) - median(rates(a)));
  if (best === undefined) throw new TypeError('there are no peers');
  const ratio = over(HOLDFAST, best);
  return [
    `${HOLDFAST}, ${mode}: >= ${LEAST_RATIO} of the best peer, ${best}`,
    formatRatio(ratio),
    judgeRatio(ratio, LEAST_RATIO, over(HOLDFAST_AGAIN, HOLDFAST)),
  ];
}
