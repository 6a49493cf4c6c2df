// Requests per second of several candidates that run the same server.

import { compete, judgeRatio, noiseOf, ratios, type Samples } from '../support/rounds.js';
import { type Estimate, estimate, median } from '../support/statistics.js';
import { table } from '../support/table.js';
import { cpuMs, machineCpuMs, ownCpuMs } from '../support/usage.js';
import { wrk } from '../support/wrk.js';
import type { Kept, Processes } from './kept.js';
import type { Description, PartOptions, Target } from './part.js';
import type { Candidate } from './peers.js';

export const MODES = ['keep-alive', 'a connection each'] as const;
export type Mode = (typeof MODES)[number];

/** A second of requests. */
export interface Slice {
  readonly requests: number;
  readonly perSecond: number;
  readonly errors: number;
  readonly wallMs: number;
  readonly serverCpuMs: number;
  readonly supervisorCpuMs: number;
  /** Of programs that are neither the server's, the supervisor's, nor the bench's: they disturb it. */
  readonly otherCpuMs: number;
}

export type RequestSamples = Samples<Mode, Slice>;

/** The ratio to reach, by the candidate's name and the mode. */
export type RatioTargets = Readonly<Record<string, Readonly<Record<Mode, number>>>>;

export function countRequests(
  candidates: readonly Candidate[],
  { rounds, seconds, connections, progress }: Omit<PartOptions, 'kills' | 'samples'>,
): Promise<RequestSamples> {
  const request = (port: number, mode: Mode, length: number) =>
    wrk({ port, seconds: length, connections, keepAlive: mode === 'keep-alive' });
  return compete<Counted, Mode, Slice>({
    entrants: candidates.map(({ name, start }) => ({ name, start: async () => counted(await start()) })),
    modes: MODES,
    rounds,
    slices: seconds,
    progress,
    warmUp: async ({ port }, mode) => {
      await request(port, mode, 1);
    },
    measure: async ({ port, pids }, mode) => {
      const before = usage(pids);
      const result = await request(port, mode, 1);
      const after = usage(pids);
      const serverCpuMs = after.server - before.server;
      const supervisorCpuMs = after.supervisor - before.supervisor;
      const ownMs = after.own - before.own;
      return {
        ...result,
        wallMs: after.wall - before.wall,
        serverCpuMs,
        supervisorCpuMs,
        otherCpuMs: Math.max(0, after.machine - before.machine - ownMs - serverCpuMs - supervisorCpuMs),
      };
    },
  });
}

/** Tables of the ratios to the first candidate, called `base`; the second is the same again, and shows the noise. */
export function describeRequests(
  server: string,
  samples: RequestSamples,
  targets: RatioTargets,
  base = 'bare',
): Description {
  const reports = MODES.map((mode) => describeMode(server, mode, samples[mode], targets, base));
  return {
    text: reports.map(({ text }) => text).join('\n\n'),
    targets: reports.flatMap((report) => report.targets),
  };
}

interface Counted {
  readonly port: number;
  readonly pids: Processes;
  stop(): Promise<void>;
}

async function counted(kept: Kept): Promise<Counted> {
  return { port: kept.port, pids: await kept.processes(), stop: () => kept.stop() };
}

function usage({
  server,
  supervisor,
}: Processes): Record<'wall' | 'server' | 'supervisor' | 'own' | 'machine', number> {
  return {
    wall: performance.now(),
    server: cpuMs(server),
    supervisor: cpuMs(supervisor),
    own: ownCpuMs(),
    machine: machineCpuMs(),
  };
}

function describeMode(
  server: string,
  mode: Mode,
  byName: Readonly<Record<string, Slice[][]>>,
  allTargets: RatioTargets,
  baseWord: string,
): Description {
  const [base, again] = Object.values(byName);
  if (base === undefined || again === undefined) throw new TypeError('a base and its repetition are needed');
  const noise = compareRounds(again, base);
  const targets: Target[] = [];

  const rows = Object.entries(byName).map(([name, rounds]) => {
    const compared = compareRounds(rounds, base);
    const target = allTargets[name]?.[mode];
    if (target !== undefined) {
      const what = `requests/s of ${server} under ${name} over ${baseWord}, ${mode}`;
      targets.push({ what, target: `>= ${target}`, ...judge(compared, target, noise) });
    }
    const slices = rounds.flat();
    return [
      name,
      Math.round(median(rounds.map(perSecondOf))).toString(),
      rounds === base ? '1' : formatRatio(compared.rate),
      rounds === base ? '1' : formatRatio(compared.capacity),
      (median(rounds.map(cpuPerRequestMs)) * 1_000).toFixed(1),
      percent(busyShare(slices)),
      percent(sumOf(slices, 'supervisorCpuMs') / sumOf(slices, 'wallMs'), 2),
      `${sumOf(slices, 'errors')}`,
    ];
  });
  const head = [
    `${server}, ${mode}`,
    'requests/s',
    `÷ ${baseWord}`,
    `÷ ${baseWord} per server CPU`,
    'server µs CPU/request',
    'server CPU',
    'supervisor CPU',
    'errors',
  ];
  const confidence = percent(noise.rate.confidence, 1);
  const everything = Object.values(byName).flat(2);
  const others = percent(sumOf(everything, 'otherCpuMs') / sumOf(everything, 'wallMs'));
  const legend = [
    `${base.length} rounds; in parentheses the interval that has the median with ${confidence} confidence.`,
    `Two ${baseWord} ones differ by up to ${noiseOf(noise.rate).toFixed(3)}, per CPU by ${noiseOf(noise.capacity).toFixed(3)}.`,
    `Other programs used ${others} of a core meanwhile.`,
  ];
  return { text: `${table(head, rows)}\n\n${legend.join(' ')}`, targets };
}

interface Compared {
  /** Of the requests per second. */
  readonly rate: Estimate;
  /** Of the requests per CPU time of the server: what the first would be if only the server's CPU bounded it. */
  readonly capacity: Estimate;
  /** Whether the server's CPU is what bounds the rate; otherwise the client's is, or the machine was busy. */
  readonly serverBound: boolean;
}

function compareRounds(rounds: readonly Slice[][], base: readonly Slice[][]): Compared {
  const perCpu = (slices: readonly Slice[]): number => 1 / cpuPerRequestMs(slices);
  return {
    rate: estimate(ratios(rounds.map(perSecondOf), base.map(perSecondOf))),
    capacity: estimate(ratios(rounds.map(perCpu), base.map(perCpu))),
    serverBound: busyShare(base.flat()) >= BOUND_SHARE,
  };
}

/** By the requests per second; by those per CPU time where something else bounds them, which would hide a cost. */
function judge(
  { rate, capacity, serverBound }: Compared,
  target: number,
  noise: Compared,
): { readonly figure: string; readonly verdict: string } {
  if (serverBound) return { figure: formatRatio(rate), verdict: judgeRatio(rate, target, noise.rate) };
  return {
    figure: `${formatRatio(capacity)} per server CPU (the server was not the bottleneck; requests/s ${formatRatio(rate)})`,
    verdict: judgeRatio(capacity, target, noise.capacity),
  };
}

const BOUND_SHARE = 0.9;

/** A round's figure. */
export function perSecondOf(slices: readonly Slice[]): number {
  return slices.reduce((sum, { perSecond }) => sum + perSecond, 0) / slices.length;
}

function cpuPerRequestMs(slices: readonly Slice[]): number {
  return sumOf(slices, 'serverCpuMs') / sumOf(slices, 'requests');
}

/** Of the time in which requests were sent: `wallMs` has the start and the end of the client too. */
function busyShare(slices: readonly Slice[]): number {
  const ms = slices.reduce((sum, { requests, perSecond }) => sum + (1_000 * requests) / perSecond, 0);
  return sumOf(slices, 'serverCpuMs') / ms;
}

function sumOf(slices: readonly Slice[], name: keyof Slice): number {
  return slices.reduce((sum, slice) => sum + slice[name], 0);
}

export function formatRatio({ median: middle, low, high }: Estimate): string {
  return `${middle.toFixed(3)} (${low.toFixed(3)}–${high.toFixed(3)})`;
}

export function percent(share: number, digits = 0): string {
  return `${(100 * share).toFixed(digits)} %`;
}
