import { setTimeout as sleep } from 'node:timers/promises';
import { loadFor } from '../support/load.js';
import { compete, type Samples } from '../support/rounds.js';
import { table } from '../support/table.js';
import { cpuMs } from '../support/usage.js';
import { wrk } from '../support/wrk.js';
import type { Kept } from './kept.js';
import { type Part, verdictOf } from './part.js';
import { heldByHoldfast, nodeGivenItsFd, supervisors } from './peers.js';
import { percent } from './requests.js';

/** CPU time of what supervises one Node server, without the server, by the rate of requests. */
export const cpu: Part<Samples<Rate, CpuSample>> = {
  title: 'CPU time of the supervisor',
  needs: ['wrk', 'start_server'],
  needsPm2: true,
  measure: ({ rounds, seconds, connections, progress }) => {
    const load = async (port: number, rate: Rate, length: number): Promise<void> => {
      if (rate === 'no request') await sleep(length * 1_000);
      else if (rate === '500 connections/s') await loadFor(length * 1_000, port, 500);
      else await wrk({ port, seconds: length, connections, keepAlive: rate === 'most, keep-alive' });
    };
    return compete({
      entrants: supervisors.map(({ name, start }) => ({ name, start: () => settling(start()) })),
      modes: RATES,
      rounds: Math.min(rounds, MOST_ROUNDS),
      slices: 1,
      progress,
      warmUp: async ({ port, settled }, rate) => {
        await settled;
        await load(port, rate, 1);
      },
      measure: async ({ port, processes }, rate) => {
        // Asking whose processes are whose is a request: it is over before the clock starts.
        const { supervisor } = await processes();
        const start = { ms: performance.now(), cpu: cpuMs(supervisor) };
        await load(port, rate, rate === 'no request' ? seconds * IDLE_TIMES : seconds);
        return { wallMs: performance.now() - start.ms, cpuMs: cpuMs(supervisor) - start.cpu };
      },
    });
  },
  describe: (samples) => {
    const shareOf = (name: string, rate: Rate): number => {
      const all = (samples[rate][name] ?? []).flat();
      return (
        all.reduce((sum, { cpuMs: ms }) => sum + ms, 0) / all.reduce((sum, { wallMs }) => sum + wallMs, 0)
      );
    };
    const rows = Object.keys(samples[RATES[0]]).map((name) => [
      name,
      ...RATES.map((rate) => percent(shareOf(name, rate), 3)),
    ]);
    const targets = [heldByHoldfast.name, nodeGivenItsFd.name].map((name) => {
      const most = Math.max(...RATES.map((rate) => shareOf(name, rate)));
      return {
        what: `CPU of ${name}, at the rate that costs most`,
        target: `< ${percent(MOST_SHARE, 1)}`,
        figure: percent(most, 3),
        verdict: verdictOf(most < MOST_SHARE),
      };
    });
    return { text: table(['', ...RATES], rows), targets };
  },
};

const RATES = ['no request', '500 connections/s', 'most, keep-alive', 'most, a connection each'] as const;
type Rate = (typeof RATES)[number];

export interface CpuSample {
  readonly wallMs: number;
  readonly cpuMs: number;
}

/** What a supervisor does once after its start is not what it costs. */
async function settling(starting: Promise<Kept>): Promise<Kept & { readonly settled: Promise<void> }> {
  const kept = await starting;
  return { ...kept, settled: sleep(SETTLE_MS) };
}

const SETTLE_MS = 5_000;
/** A collection of garbage every half minute or so is most of what an idle keeper does: it needs a longer look. */
const IDLE_TIMES = 5;
const MOST_ROUNDS = 3;
const MOST_SHARE = 0.001;
