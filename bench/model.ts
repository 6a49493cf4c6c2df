// How fast the model answers, and how fast random programs are compared with the kernel.

import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { predictBind } from '../src/model/bind.js';
import { type SeenSocket, worldOf } from '../src/model/seen.js';
import { newSocket, type Socket, type World } from '../src/model/world.js';
import { fromProject } from './support/project.js';
import { median, quantile } from './support/statistics.js';
import { table } from './support/table.js';

const ROUNDS = 9;
const SLICE_MS = 300;
const FEW = 10;
const MANY = 10_000;
const PROGRAMS = 5_000;

interface Figures {
  readonly when: string;
  /** Predictions per second, one figure a round. */
  readonly few: readonly number[];
  readonly fewAgain: readonly number[];
  readonly many: readonly number[];
  readonly tcpPrograms: readonly number[];
  readonly udpPrograms: readonly number[];
}

export async function main(): Promise<void> {
  const few = worldWith(FEW);
  const many = worldWith(MANY);
  const candidates = { few: () => rate(few), fewAgain: () => rate(few), many: () => rate(many) };
  const samples: Record<keyof typeof candidates, number[]> = { few: [], fewAgain: [], many: [] };
  for (const run of Object.values(candidates)) run();
  for (let round = 0; round < ROUNDS; round++) {
    const names = Object.keys(candidates) as (keyof typeof candidates)[];
    // Each goes first in turn.
    const order = [...names.slice(round % names.length), ...names.slice(0, round % names.length)];
    for (const name of order) samples[name].push(candidates[name]());
  }
  const figures: Figures = {
    when: new Date().toISOString(),
    ...samples,
    tcpPrograms: fuzzRates('tcp'),
    udpPrograms: fuzzRates('udp'),
  };
  const file = fromProject('.cache/bench/model.json');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(figures, null, 2)}\n`);
  process.stdout.write(describe(figures));
}

function describe({ few, fewAgain, many, tcpPrograms, udpPrograms }: Figures): string {
  const ratios = (of: readonly number[]): string => {
    const each = of.map((value, round) => value / (few[round] ?? value));
    return `${median(each).toFixed(3)} (${quantile(each, 0.05).toFixed(3)} to ${quantile(each, 0.95).toFixed(3)})`;
  };
  const perSecond = (of: readonly number[]): string => Math.round(median(of)).toLocaleString('en-US');
  const reached = (is: boolean): string => (is ? 'reached' : 'missed');
  const rows = [
    [
      `bind predictions/s, ${FEW} sockets`,
      perSecond(few),
      '1',
      '>= 500,000',
      reached(median(few) >= 500_000),
    ],
    ['the same once more', perSecond(fewAgain), ratios(fewAgain), '', ''],
    [
      `bind predictions/s, ${MANY.toLocaleString('en-US')} sockets`,
      perSecond(many),
      ratios(many),
      '>= 0.5',
      reached(median(many) / median(few) >= 0.5),
    ],
    [
      'TCP programs/s, one process',
      perSecond(tcpPrograms),
      '',
      '>= 500',
      reached(median(tcpPrograms) >= 500),
    ],
    [
      'UDP programs/s, one process',
      perSecond(udpPrograms),
      '',
      '>= 2,000',
      reached(median(udpPrograms) >= 2_000),
    ],
  ];
  return `${table(['', 'median', '÷ few', 'target', 'verdict'], rows)}\n`;
}

/** Listeners on 127.0.0.1, each on a port of its own, and connections of the first one. */
function worldWith(count: number): World {
  const seen: SeenSocket[] = Array.from({ length: count }, (_, index) => ({
    protocol: 'tcp',
    state: 'LISTEN',
    local: { family: 'ipv4', host: '127.0.0.1', port: 10_000 + index },
    peer: { family: 'ipv4', host: '0.0.0.0', port: 0 },
    v6only: false,
    uid: 0,
    device: '',
    reuse: true,
    reusePort: false,
    isOrphan: false,
  }));
  return worldOf(seen, {}, { reuse: false, reusePort: false, rememberedBy: null, timeWaitV6only: false });
}

/** Predictions per second: half of them meet a listener. */
function rate(world: World): number {
  const asker: Socket = { ...newSocket('tcp', 'ipv4', world, 0, 'asker'), id: 0, reuse: true };
  const requests = Array.from({ length: 16 }, (_, index) => ({
    address: {
      family: 'ipv4' as const,
      host: '0.0.0.0',
      port: index % 2 === 0 ? 10_000 + (index >> 1) : 9_000 + index,
    },
    mayBindLow: true,
  }));
  const begin = performance.now();
  let done = 0;
  let refused = 0;
  while (performance.now() - begin < SLICE_MS) {
    for (let repeat = 0; repeat < 64; repeat++) {
      for (const request of requests) if (!predictBind(world, asker, request).ok) refused++;
    }
    done += 64 * requests.length;
  }
  if (refused * 2 !== done) throw new Error(`half of ${done} predictions should be refusals, not ${refused}`);
  return done / ((performance.now() - begin) / 1000);
}

function fuzzRates(mix: 'tcp' | 'udp'): readonly number[] {
  return Array.from({ length: ROUNDS }, (_, round) => {
    const args = [
      'lab',
      'fuzz',
      '--mix',
      mix,
      '--programs',
      `${PROGRAMS}`,
      '--seed',
      `${round + 1}`,
      '--jobs',
      '1',
      '--json',
    ];
    const { stdout, status, stderr } = spawnSync(
      process.execPath,
      [fromProject('dist/cli/main.cjs'), ...args],
      { encoding: 'utf8' },
    );
    if (status !== 0) throw new Error(`holdfast lab fuzz failed: ${stderr}`);
    const { programs, seconds } = JSON.parse(stdout) as { programs: number; seconds: number };
    return programs / seconds;
  });
}
