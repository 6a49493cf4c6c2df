import { expect } from 'vitest';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { type LoadResult, startLoad } from '../support/load.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { descendantsOf, isHolder, listeners } from '../support/proc.js';
import type { TestServer } from '../support/servers.js';
import { until } from '../support/wait.js';

export const RELOADS: number = Number(process.env.HOLDFAST_TEST_RELOADS ?? 20);
export const RATE_PER_SECOND = 200;
/** The keeper gives a former generation 30 s for what it has, and 10 s for its end. */
const DRAINED_MS = 45_000;

/** The test that every server has to pass, whatever it does at the stop signal. `path`: what is asked for. */
export function testReloads(server: TestServer, path = '/'): void {
  testNeeding(server.needs)(
    `${server.name}: ${RELOADS} reloads fail no request of ${RATE_PER_SECOND} new connections per second`,
    async () => {
      const port = await freePort();
      const keeper = startKeeper(server.command(port));
      await keeper.holding();
      const load = startLoad({
        ...{ port, path, ratePerSecond: RATE_PER_SECOND },
      });
      await until('answers', () => load.counts().ok > 20);
      const { length: sockets } = listeners(port);
      let worker = keeper.worker();
      for (let reload = 0; reload < RELOADS; reload++) {
        const next = await reloaded(keeper);
        expect(next).not.toBe(worker);
        worker = next;
      }
      await settled(keeper);
      await expectNothingFailed(load.stop());
      // Nothing is left of the former ones, and no socket more than before. Their pids may be others' by now.
      await until('only the last one and the holder', () => {
        const own = new Set([worker, ...descendantsOf(worker)]);
        return descendantsOf(keeper.process.pid).every((pid) => own.has(pid) || isHolder(pid));
      });
      expect(listeners(port)).toHaveLength(sockets);
    },
    60_000 + RELOADS * 10_000,
  );
}

/** Reloads once, however long it takes. Gives the pid of the new server's first process. */
export async function reloaded(keeper: RunningKeeper): Promise<number> {
  const before = keeper.state().generation;
  const { exit, stderr } = await keeper.ask('reload', keeper.name);
  expect({ exit, stderr }).toEqual({ exit: { code: 0, signal: null }, stderr: '' });
  const { worker } = await keeper.untilState('the new generation', ({ generation }) => generation > before);
  return worker?.pid ?? 0;
}

/** A server that has been reloaded and has died twice since, while its former generation is parked. */
export async function diedTwice(
  command: readonly string[],
  flags: readonly string[],
): Promise<{ readonly keeper: RunningKeeper; readonly parked: number }> {
  const keeper = startKeeper(command, { flags });
  await keeper.holding();
  const parked = keeper.worker();
  await reloaded(keeper);
  await keeper.process.line(/generation 1 is kept/);
  for (let deaths = 0; deaths < 2; deaths++) {
    await keeper.crash();
    await keeper.process.line(/is served again/, { after: deaths });
  }
  return { keeper, parked };
}

/** Waits until no reload goes on and one generation is left. */
export async function settled(keeper: RunningKeeper): Promise<void> {
  await keeper.untilState(
    'one generation',
    ({ reload, workers }) => {
      return reload === 'steady' && new Set(workers.map(({ generation }) => generation)).size === 1;
    },
    { timeoutMs: DRAINED_MS },
  );
}

export async function expectNothingFailed(result: Promise<LoadResult>): Promise<void> {
  const { sent, ok, skipped, refused, reset, eof, hung, other, failures } = await result;
  expect({ skipped, refused, reset, eof, hung, other, failures: failures.slice(0, 5) }).toEqual({
    ...{ skipped: 0, refused: 0, reset: 0, eof: 0, hung: 0, other: 0 },
    failures: [],
  });
  expect(ok).toBe(sent);
}
