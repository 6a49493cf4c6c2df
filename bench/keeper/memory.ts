import { setTimeout as sleep } from 'node:timers/promises';
import { compete, type Samples } from '../support/rounds.js';
import { median } from '../support/statistics.js';
import { table } from '../support/table.js';
import { type Memory, memoryOf } from '../support/usage.js';
import { wrk } from '../support/wrk.js';
import { type Part, verdictOf } from './part.js';
import { heldByHoldfast, supervisors } from './peers.js';

/** Memory of what supervises one Node server, without the server. */
export const memory: Part<Samples<When, MemorySample>> = {
  title: 'Memory of the supervisor',
  needs: ['wrk', 'start_server'],
  needsPm2: true,
  measure: ({ rounds, seconds, connections, progress }) =>
    compete({
      entrants: supervisors,
      modes: WHEN,
      rounds: Math.min(rounds, MOST_ROUNDS),
      slices: 1,
      progress,
      warmUp: async ({ port }, when) => {
        if (when === 'after a load') await wrk({ port, seconds, connections, keepAlive: false });
        await sleep(SETTLE_MS);
      },
      measure: async (kept) => {
        const { supervisor } = await kept.processes();
        return { processes: supervisor.length, ...memoryOf(supervisor) };
      },
    }),
  describe: (samples) => {
    const names = Object.keys(samples[WHEN[0]]);
    const medianOf = (name: string, when: When, field: keyof MemorySample): number =>
      median((samples[when][name] ?? []).flat().map((sample) => sample[field]));
    const rows = names.map((name) => [
      name,
      medianOf(name, WHEN[0], 'processes').toFixed(0),
      ...WHEN.flatMap((when) =>
        (['rssMb', 'privateMb'] as const).map((field) => medianOf(name, when, field).toFixed(1)),
      ),
    ]);
    const head = ['', 'processes', ...WHEN.flatMap((when) => [`RSS MB ${when}`, `private MB ${when}`])];
    const worst = (field: 'rssMb' | 'privateMb'): number =>
      Math.max(
        ...WHEN.flatMap((when) => (samples[when][heldByHoldfast.name] ?? []).flat()).map((s) => s[field]),
      );
    const target = (what: string, mb: number, mostMb: number) => ({
      what: `${what} of the keeper, at most seen`,
      target: `<= ${mostMb} MB`,
      figure: `${mb.toFixed(1)} MB`,
      verdict: verdictOf(mb <= mostMb),
    });
    return {
      text: table(head, rows),
      targets: [
        target('RSS', worst('rssMb'), MOST_RSS_MB),
        target('private memory', worst('privateMb'), MOST_PRIVATE_MB),
      ],
    };
  },
};

const WHEN = ['after the start', 'after a load'] as const;
type When = (typeof WHEN)[number];

export interface MemorySample extends Memory {
  readonly processes: number;
}

const MOST_ROUNDS = 5;
const SETTLE_MS = 1_000;
const MOST_RSS_MB = 75;
const MOST_PRIVATE_MB = 30;
