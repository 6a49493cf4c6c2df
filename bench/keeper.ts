// `npm run bench -- keeper`: what `holdfast run` costs and what it saves, beside its peers. How each figure is measured
// is in docs/benchmarks.md.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bind } from './keeper/bind.js';
import { cpu } from './keeper/cpu.js';
import { describePart, describeTargets, writeDocs } from './keeper/docs.js';
import { kills } from './keeper/kills.js';
import { lookup } from './keeper/lookup.js';
import { memory } from './keeper/memory.js';
import type { Part, PartOptions } from './keeper/part.js';
import { installPm2 } from './keeper/peers.js';
import type { Measured, Report } from './keeper/report.js';
import { throughput } from './keeper/throughput.js';
import { machine, programs } from './support/machine.js';
import { needs } from './support/plain.js';
import { stopEverything, withCleanup } from './support/process.js';
import { benchFolder } from './support/project.js';

const USAGE = `Usage: npm run bench -- keeper [options]
  --rounds N        rounds of throughput and lookup (default 9); memory has at most 5 of them, cpu at most 3
  --seconds S       measured per round, candidate and mode (default 3)
  --connections N   of wrk (default 32)
  --kills N         SIGKILLs per candidate (default 20)
  --samples N       keepers whose binds are timed (default 50)
  --only PART,...   throughput, kills, memory, bind, lookup, cpu; or none
  --write-docs      put the figures of all parts into docs/benchmarks.md
`;

const parts: Readonly<Record<string, Part<unknown>>> = {
  throughput: throughput as Part<unknown>,
  kills: kills as Part<unknown>,
  memory: memory as Part<unknown>,
  bind: bind as Part<unknown>,
  lookup: lookup as Part<unknown>,
  cpu: cpu as Part<unknown>,
};

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '9' },
      seconds: { type: 'string', default: '3' },
      connections: { type: 'string', default: '32' },
      kills: { type: 'string', default: '20' },
      samples: { type: 'string', default: '50' },
      only: { type: 'string', default: Object.keys(parts).join(',') },
      'write-docs': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const chosen =
    values.only === 'none' ? [] : values.only.split(',').map((name) => [name, partOf(name)] as const);
  const sizes = {
    rounds: count('rounds', values.rounds),
    seconds: count('seconds', values.seconds),
    connections: count('connections', values.connections),
    kills: count('kills', values.kills),
    samples: count('samples', values.samples),
  };
  needs([...new Set(chosen.flatMap(([, part]) => part.needs))]);

  await withCleanup(async () => {
    if (chosen.some(([, part]) => part.needsPm2)) await installPm2();
    for (const [name, part] of chosen) {
      try {
        const measured = await measure(name, part, sizes);
        save(name, measured);
        process.stdout.write(`\n${describePart(part, measured)}\n`);
      } catch (error) {
        // The other parts take half an hour: they are not lost with this one.
        process.stderr.write(`${name} failed: ${error instanceof Error ? error.stack : String(error)}\n`);
        process.exitCode = 1;
        await stopEverything();
      }
    }
  });

  const report = read();
  const measuredNow = chosen.length === 0 ? Object.entries(parts) : chosen;
  process.stdout.write(`\n${describeTargets(measuredNow, report)}\n`);
  if (values['write-docs']) writeDocs(Object.entries(parts), report);
}

function partOf(name: string): Part<unknown> {
  const part = parts[name];
  if (part === undefined)
    throw new Error(`no part is called ${name}; there are ${Object.keys(parts).join(', ')}`);
  return part;
}

function count(name: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`--${name} is a whole number from 1 on, not ${text}`);
  return Number(text);
}

async function measure(
  name: string,
  part: Part<unknown>,
  sizes: Omit<PartOptions, 'progress'>,
): Promise<Measured> {
  const startMs = performance.now();
  const measuredAt = new Date().toISOString();
  const progress = (text: string): void => {
    const seconds = ((performance.now() - startMs) / 1_000).toFixed(0);
    process.stderr.write(`${name} ${seconds} s: ${text}\n`);
  };
  const figures = await part.measure({ ...sizes, progress });
  return {
    measuredAt,
    tookSeconds: Math.round((performance.now() - startMs) / 1_000),
    machine: machine(),
    programs: programs(part.needs),
    options: sizes,
    figures,
  };
}

const file = join(benchFolder, 'keeper.json');

/** Parts that were measured earlier stay: each says when and where that was. */
function save(name: string, measured: Measured): void {
  mkdirSync(benchFolder, { recursive: true });
  const report = { parts: { ...read().parts, [name]: measured } };
  writeFileSync(file, `${JSON.stringify(report)}\n`);
}

function read(): Report {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Report;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { parts: {} };
    throw error;
  }
}
