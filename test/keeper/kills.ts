import { expect } from 'vitest';
import { bodyOf } from '../support/http.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { type LoadFailure, type LoadResult, startLoad } from '../support/load.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { descendantsOf, isAlive, listeners } from '../support/proc.js';
import type { TestServer } from '../support/servers.js';
import { answersAll } from './answers.js';
import { freeze, queueClients } from './clients.js';

const KILLS = Number(process.env.HOLDFAST_TEST_KILLS ?? 5);
const RATE_PER_SECOND = 200;
const QUEUED = 50;

/** One kill of a server's first process. Times in ms since the start of the load, as exactly as that is known. */
interface Kill {
  readonly earliestMs: number;
  readonly latestMs: number;
  /** When the next server was seen to run; what is left of the killed one's tree has been ended by then. */
  readonly replacedMs: number;
  /** The killed server's processes. */
  readonly tree: readonly number[];
}

/** The test that every server of "unmodified servers" has to pass. */
export function testKills(server: TestServer): void {
  testNeeding(server.needs)(
    `${server.name}: of clients that come steadily, ${KILLS} kills with SIGKILL refuse none and leave none waiting`,
    async () => {
      const port = await freePort();
      const keeper = startKeeper(server.command(port), { flags: ['--max-backoff', '0s'] });
      await keeper.holding();
      const sockets = inodes(port);
      const beforeMs = performance.now();
      const load = startLoad({ port, ratePerSecond: RATE_PER_SECOND });
      const started = { beforeMs, afterMs: performance.now() };
      await answersAll(load);
      const kills: Kill[] = [];
      for (let i = 0; i < KILLS; i++) {
        kills.push(await kill(keeper, started));
        expect(inodes(port)).toEqual(sockets);
        await answersAll(load);
      }
      const result = await load.stop();
      expect(inodes(port)).toEqual(sockets);
      expectNothingLost(result, kills);
    },
    60_000 + KILLS * 5_000,
  );
}

/** The test that no kill loses who has connected and was not accepted yet. */
export function testQueueAtKill(server: TestServer): void {
  testNeeding(server.needs)(
    `${server.name}: clients in the queue of a killed server are served by the next`,
    async () => {
      const port = await freePort();
      const keeper = startKeeper(server.command(port));
      await keeper.holding();
      await bodyOf(port);
      const worker = keeper.worker();
      const tree = [worker, ...descendantsOf(worker)];
      for (const pid of tree) await freeze(pid);
      const queue = await queueClients(port, QUEUED);
      process.kill(worker, 'SIGKILL');
      const outcomes = await queue.outcomes;
      const lost = outcomes.filter((outcome) => typeof outcome === 'string' && outcome !== 'answered');
      expect(lost).toEqual([]);
      expect(outcomes.filter((outcome) => tree.includes(Number(outcome)))).toEqual([]);
    },
  );
}

async function kill(
  keeper: RunningKeeper,
  { beforeMs, afterMs }: { readonly beforeMs: number; readonly afterMs: number },
): Promise<Kill> {
  const worker = keeper.worker();
  const tree = [worker, ...descendantsOf(worker)];
  const killMs = performance.now();
  await keeper.crash();
  // Nobody is left who could answer beside the new server.
  expect(tree.filter(isAlive)).toEqual([]);
  return {
    earliestMs: killMs - afterMs,
    latestMs: killMs - beforeMs,
    replacedMs: performance.now() - beforeMs,
    tree,
  };
}

/** Only what the killed processes were answering may be lost. */
function expectNothingLost(result: LoadResult, kills: readonly Kill[]): void {
  const { refused, hung, skipped, other } = result;
  expect({ refused, hung, skipped, other }).toEqual({ refused: 0, hung: 0, skipped: 0, other: 0 });
  const others = result.failures.filter((failure) => !isOfAKill(failure, kills));
  expect({ others: others.slice(0, 5), kills: others.length > 0 && kills }).toEqual({
    others: [],
    kills: false,
  });
  expect(result.ok).toBe(result.sent - result.failures.length);
}

function isOfAKill({ startedAtMs, endedAtMs }: LoadFailure, kills: readonly Kill[]): boolean {
  return kills.some(({ earliestMs, latestMs, replacedMs, tree }) => {
    // A first process's children answer on until the keeper has ended them too.
    const lastMs = tree.length === 1 ? latestMs : replacedMs;
    return startedAtMs <= lastMs && endedAtMs >= earliestMs;
  });
}

function inodes(port: number): number[] {
  return listeners(port)
    .map(({ inode }) => inode)
    .sort();
}
