import { setTimeout as sleep } from 'node:timers/promises';
import { compiled } from '../support/compiled.js';
import { freePort } from '../support/plain.js';
import { type Started, start } from '../support/process.js';
import { median, quantile } from '../support/statistics.js';
import { table } from '../support/table.js';
import { type Part, verdictOf } from './part.js';
import { HOLDS, startHoldfast } from './peers.js';

/** The time that a program waits in bind and listen. */
export const bind: Part<BindFigures> = {
  title: 'bind and listen',
  needs: ['cc'],
  needsPm2: false,
  measure: async ({ samples, progress }) => {
    const program = await compiled('bind');
    const figures: Record<Way, BindTime[]> = {
      bare: [],
      learned: [],
      'learned, further ports': [],
      'given back': [],
      'given back, further ports': [],
    };
    for (let i = 0; i < samples; i++) {
      if (i % PROGRESS_EVERY === 0) progress(`sample ${i + 1} of ${samples}`);
      for (let j = 0; j < BARE_PER_SAMPLE; j++) figures.bare.push(await bareTime(program));
      const [learned = [], ...givenBack] = await keptTimes(program);
      figures.learned.push(...learned.slice(0, 1));
      figures['learned, further ports'].push(...learned.slice(1));
      figures['given back'].push(...givenBack.flatMap((times) => times.slice(0, 1)));
      figures['given back, further ports'].push(...givenBack.flatMap((times) => times.slice(1)));
    }
    return figures;
  },
  describe: (figures) => {
    const bareUs = median(figures.bare.map(totalUs));
    const rows = Object.entries(figures).map(([way, times]) => {
      const columns = [
        times.map(({ bindUs }) => bindUs),
        times.map(({ listenUs }) => listenUs),
        times.map(totalUs),
      ];
      const cells = columns.flatMap((us) => [median(us), quantile(us, 0.9)]);
      return [way, `${times.length}`, ...cells.map((us) => us.toFixed(0))];
    });
    const titles = ['bind', 'listen', 'both'].flatMap((what) => [`${what} median µs`, 'p90 µs']);
    const targets = (['learned', 'given back'] as const).map((way) => {
      const addedMs = (median(figures[way].map(totalUs)) - bareUs) / 1_000;
      return {
        what: `what the trap adds to bind and listen, ${way} (median)`,
        target: `< ${MOST_ADDED_MS} ms`,
        figure: `${addedMs.toFixed(2)} ms`,
        verdict: verdictOf(addedMs < MOST_ADDED_MS),
      };
    });
    return { text: table(['', 'times', ...titles], rows), targets };
  },
};

/** `further ports`: of the same process; the keeper has just done the same for its first one. */
type Way = 'bare' | `${'learned' | 'given back'}${'' | ', further ports'}`;

export type BindFigures = Readonly<Record<Way, readonly BindTime[]>>;

export interface BindTime {
  readonly bindUs: number;
  readonly listenUs: number;
}

const MOST_ADDED_MS = 1;
const PORTS = 3;
const BARE_PER_SAMPLE = 2;
const RESTARTS_PER_SAMPLE = 2;
const PROGRESS_EVERY = 10;
/** Before a kill: nothing of the last start is still going on in the keeper. */
const SETTLE_MS = 50;
const SAYS = /^bind_ns (\d+) listen_ns (\d+) pid (\d+)$/;

async function bareTime(program: string): Promise<BindTime> {
  const started = start([program, `${await freePort()}`]);
  try {
    return timeOf(await started.line(SAYS));
  } finally {
    await started.stop();
  }
}

/** For each start of a program its ports' times. The first start's addresses are learned, the others' given back. */
async function keptTimes(program: string): Promise<BindTime[][]> {
  const ports = await Promise.all(Array.from({ length: PORTS }, () => freePort()));
  const keeper = startHoldfast([], [program, ...ports.map(String)]);
  try {
    await keeper.line(HOLDS, { after: PORTS - 1 });
    const starts = [await saidBy(keeper, 0)];
    while (starts.length <= RESTARTS_PER_SAMPLE) {
      await sleep(SETTLE_MS);
      process.kill(Number(starts.at(-1)?.[0]?.[3]), 'SIGKILL');
      starts.push(await saidBy(keeper, starts.length));
    }
    return starts.map((said) => said.map(timeOf));
  } finally {
    await keeper.stop();
  }
}

/** What the program says at its start number `index`. */
function saidBy(keeper: Started, index: number): Promise<RegExpMatchArray[]> {
  const lines = Array.from({ length: PORTS }, (_, port) => index * PORTS + port);
  return Promise.all(lines.map((after) => keeper.line(SAYS, { after })));
}

function timeOf([, bindNs, listenNs]: RegExpMatchArray): BindTime {
  return { bindUs: Number(bindNs) / 1_000, listenUs: Number(listenNs) / 1_000 };
}

function totalUs({ bindUs, listenUs }: BindTime): number {
  return bindUs + listenUs;
}
