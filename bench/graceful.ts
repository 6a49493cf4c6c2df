// `npm run bench -- graceful`: what `--import holdfast/graceful` costs a Node server until the signal comes. How each figure is measured is
// in docs/benchmarks.md.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bare, nodeServer, type ServerCommand } from './keeper/peers.js';
import {
  countRequests,
  describeRequests,
  type RatioTargets,
  type RequestSamples,
} from './keeper/requests.js';
import { type Circumstances, describeCircumstances, writeSection } from './support/docs.js';
import { machine, programs } from './support/machine.js';
import { needs } from './support/plain.js';
import { withCleanup } from './support/process.js';
import { benchFolder, fromProject } from './support/project.js';
import { table } from './support/table.js';

const USAGE = `Usage: npm run bench -- graceful [options]
  --rounds N   default 7
  --docs       put the figures into docs/benchmarks.md
  --told       measure nothing: tell the figures of the last time
`;

interface GracefulFigures extends Circumstances {
  readonly rounds: number;
  readonly requests: RequestSamples;
}

const GRACEFUL = '--import holdfast/graceful';
const CONNECTIONS = 32;
const SECONDS = 2;

const targets: RatioTargets = { [GRACEFUL]: { 'keep-alive': 1, 'a connection each': 1 } };

const withGraceful: ServerCommand = (port, work) => {
  const [node = '', ...args] = nodeServer(port, work);
  return [node, '--import', fromProject('dist', 'graceful.js'), ...args];
};

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '7' },
      docs: { type: 'boolean', default: false },
      told: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  if (!/^[1-9]\d*$/.test(values.rounds)) throw new Error(`--rounds is a whole number, not ${values.rounds}`);
  const file = join(benchFolder, 'graceful.json');
  if (!values.told) {
    needs(['wrk']);
    mkdirSync(benchFolder, { recursive: true });
    await withCleanup(async () => {
      writeFileSync(file, `${JSON.stringify(await measure(Number(values.rounds)), null, 2)}\n`);
    });
  }
  const text = describe(JSON.parse(readFileSync(file, 'utf8')) as GracefulFigures);
  process.stdout.write(`${text}\n`);
  if (values.docs) writeSection('graceful', text);
}

async function measure(rounds: number): Promise<GracefulFigures> {
  const startMs = performance.now();
  const measuredAt = new Date().toISOString();
  const candidates = [bare(nodeServer), bare(nodeServer, 'bare again'), bare(withGraceful, GRACEFUL)];
  const requests = await countRequests(candidates, {
    ...{ rounds, seconds: SECONDS, connections: CONNECTIONS, kills: 0, samples: 0 },
    progress: (text) => process.stderr.write(`${text}\n`),
  });
  return {
    measuredAt,
    tookSeconds: Math.round((performance.now() - startMs) / 1_000),
    machine: machine(),
    programs: programs(['wrk']),
    rounds,
    requests,
  };
}

function describe(figures: GracefulFigures): string {
  const { text, targets: reached } = describeRequests('Node', figures.requests, targets);
  const rows = reached.map(({ what, target, figure, verdict }) => [what, target, figure, verdict]);
  return [
    `${describeCircumstances(figures)}; rounds ${figures.rounds}, seconds ${SECONDS}, connections ${CONNECTIONS}.`,
    table(['what', 'target', 'measured', 'verdict'], rows),
    text,
  ].join('\n\n');
}
