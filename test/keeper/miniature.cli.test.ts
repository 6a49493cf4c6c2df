import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { freePort } from '../support/ports.js';
import { descendantsOf, isAlive, listeners, openFiles } from '../support/proc.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { killedNow, stateOf } from './successors.js';

const EVENTS = Number(process.env.HOLDFAST_TEST_EVENTS ?? 100);
const SEED = Number(process.env.HOLDFAST_TEST_SEED ?? 5);
const WARM_UP = 30;
const QUEUED = 100;
const FLAGS = [
  '--workers',
  '2',
  '--standby',
  '--max-backoff',
  '100ms',
  '--drain-quiet',
  '100ms',
  '--ready-timeout',
  '20s',
];
/** Whoever waits for longer is left waiting. */
const WAIT_MS = 30_000;
/** What V8 keeps for later. */
const MEMORY_MIB = 30;

/** A server that exits instead of starting while the file `bad` is in its folder. */
const SERVER = `
if (require('node:fs').existsSync('bad')) process.exit(3);
require('node:http').createServer((_, response) => response.end('pid ' + process.pid)).listen(Number(process.argv[1]), '127.0.0.1');
`;

test(
  `${EVENTS} random events, one day in miniature: nobody is refused or left waiting, and nothing is left behind`,
  async () => {
    process.stdout.write(`seed ${SEED}\n`);
    const random = randomNumbers(SEED);
    const port = await freePort();
    const folder = temporaryFolder();
    const command = [process.execPath, '-e', SERVER, `${port}`];
    let keeper = startKeeper(command, { flags: FLAGS, cwd: folder });
    await quiet(keeper, 2);
    const load = startLoad({ port, ratePerSecond: 100, timeoutMs: WAIT_MS });
    let workers = 2;
    const happened: string[] = [];
    const events: Readonly<Record<string, () => unknown>> = {
      'kill a worker': () => kill(anyWorker(keeper, random), 'SIGKILL'),
      'stop a worker': () => kill(anyWorker(keeper, random), 'SIGTERM'),
      'kill the keeper': async () => {
        await until('a state with a holder', () => tryTo(() => stateOf(keeper).recovery.holder));
        await killedNow(keeper);
        keeper = startKeeper(command, { flags: FLAGS, cwd: folder, beside: keeper });
        await keeper.process.line(/took over/);
      },
      reload: () => keeper.ask('reload', 'app'),
      'a bad reload': async () => {
        writeFileSync(join(folder, 'bad'), '');
        await keeper.ask('reload', 'app');
        rmSync(join(folder, 'bad'));
      },
      scale: async () => {
        workers = 1 + Math.floor(random() * 3);
        await keeper.ask('scale', 'app', `${workers}`);
      },
      'a full queue': async () => {
        await keeper.ask('pause', 'app');
        const clients = Array.from({ length: QUEUED }, () => connect(port, '127.0.0.1'));
        await Promise.all(clients.map((client) => connected(client, keeper)));
        for (const client of clients) client.destroy();
        await keeper.ask('resume', 'app');
      },
      rollback: () => keeper.ask('rollback', 'app'),
    };
    const names = Object.keys(events);
    let early: Left | undefined;
    for (let at = 0; at < EVENTS; at++) {
      const name = names[Math.floor(random() * names.length)] ?? '';
      happened.push(name);
      await events[name]?.();
      if (keeper.process.exit !== undefined)
        throw new Error(`after ${happened.join(', ')}: ${keeper.process.stderr}`);
      const { refused, hung } = load.counts();
      if (refused + hung > 0)
        throw new Error(
          `${refused} refused, ${hung} hung after event ${at}, ${happened.slice(-8).join(', ')}: ${told(keeper)}`,
        );
      // Every other one meets a keeper that is still at work.
      if (random() < 0.5) await quiet(keeper, workers, happened);
      if (at === WARM_UP) early = await left(keeper, workers);
    }
    await keeper.ask('scale', 'app', '2');
    await quiet(keeper, 2, happened);
    const { refused, hung, skipped } = await load.stop();
    expect({ refused, hung, skipped }, happened.join(', ')).toEqual({ refused: 0, hung: 0, skipped: 0 });
    expect(listeners(port)).toHaveLength(1);
    const late = await left(keeper, 2);
    expect(late.processes).toBe(4);
    expect(late.stateFiles).toEqual(['app.json', 'app.lock', 'app.sock']);
    expect(late.fds).toBeLessThanOrEqual((early?.fds ?? 0) + 2);
    expect(late.memoryMiB).toBeLessThan((early?.memoryMiB ?? 0) + MEMORY_MIB);
    const pids = [...descendantsOf(keeper.process.pid), ...keeper.state().workers.map(({ pid }) => pid ?? 0)];
    keeper.process.kill('SIGTERM');
    await keeper.process.end(20_000);
    expect(pids.filter(isAlive)).toEqual([]);
    expect(listeners(port)).toEqual([]);
    expect(readdirSync(keeper.env.HOLDFAST_STATE_DIR)).toEqual([]);
  },
  120_000 + EVENTS * 5_000,
);

interface Left {
  readonly fds: number;
  readonly memoryMiB: number;
  /** Workers, the standby and the holder. */
  readonly processes: number;
  readonly stateFiles: readonly string[];
}

/** What there is when all workers are of this keeper: it has a notifier more for each keeper that has started one of them. */
async function left(keeper: RunningKeeper, count: number): Promise<Left> {
  await keeper.ask('reload', 'app');
  await quiet(keeper, count);
  const { pid } = keeper.process;
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const workers = keeper.state().workers.map((worker) => worker.pid ?? 0);
  const holder = tryTo(() => stateOf(keeper).recovery.holder);
  return {
    fds: openFiles(pid).length,
    memoryMiB: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024,
    processes: [...workers, holder?.pid ?? 0].filter(isAlive).length,
    stateFiles: readdirSync(keeper.env.HOLDFAST_STATE_DIR).sort(),
  };
}

/** Waits until so many workers serve, a standby waits, and nothing else goes on. */
async function quiet(
  keeper: RunningKeeper,
  workers: number,
  happened: readonly string[] = [],
): Promise<void> {
  const isQuiet = (): boolean => {
    const state = keeper.state();
    const phases = state.workers.map(({ phase }) => phase).sort();
    const wanted = ['parked', ...Array.from({ length: workers }, () => 'serving')];
    return state.reload === 'steady' && phases.join() === wanted.join();
  };
  const fact = `quiet with ${workers} workers after ${happened.join(', ')}`;
  try {
    await until(fact, () => tryTo(isQuiet), { timeoutMs: 30_000 });
  } catch (error) {
    throw new Error(`${String(error)}\n${told(keeper)}`);
  }
}

/** What may explain that somebody fails or waits: where the keeper is, what it knows, and who listens. */
function told(keeper: RunningKeeper): string {
  const { pid, exit, stderr } = keeper.process;
  const tell = (file: string): string =>
    tryTo(() => readFileSync(`/proc/${pid}/${file}`, 'utf8').trim()) ?? '';
  const where = ['stat', 'wchan', 'syscall'].map((file) => `${file}: ${tell(file)}`).join('\n');
  const state = tryTo(() => keeper.state());
  const ports = state?.sockets.map(({ address }) => Number(address.split(':').at(-1))) ?? [];
  const facts = { state, exit, listeners: ports.flatMap((port) => listeners(port)) };
  return `${JSON.stringify(facts)}\nthe keeper: ${where}\n${stderr}`;
}

function anyWorker(keeper: RunningKeeper, random: () => number): number {
  const pids = keeper.state().workers.flatMap(({ pid }) => (pid === null ? [] : [pid]));
  return pids[Math.floor(random() * pids.length)] ?? 0;
}

/** It may have ended by itself a moment ago. */
function kill(pid: number, signal: NodeJS.Signals): void {
  if (pid > 0) tryTo(() => process.kill(pid, signal));
}

function connected(client: Socket, keeper: RunningKeeper): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`not connected: ${told(keeper)}`)), WAIT_MS);
    client
      .once('connect', resolve)
      .once('error', reject)
      .once('close', () => clearTimeout(late));
  });
}

/** Undefined when the file or process has gone. */
function tryTo<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

/** mulberry32: the same numbers from 0 to 1 for the same seed. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
