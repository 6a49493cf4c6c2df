import { expect } from 'vitest';
import { startKeeper } from '../support/keeper.js';
import { startLoadProcess } from '../support/load-process.js';
import { testNeeding } from '../support/needing.js';
import { openNetns } from '../support/netns.js';
import { staticHttp } from '../support/servers.js';
import { expectNothingFailed, RELOADS, reloaded, settled } from './reloads.js';

/** Each takes a second or two, and so thousands of connections. */
const COUNT = Math.ceil(RELOADS / 4);
const RATE_PER_SECOND = Number(process.env.HOLDFAST_TEST_RELOAD_RATE ?? 500);
/** The server's thread works for a third of the time: somebody waits in its queue again and again. */
const WORK_US = Math.round(333_000 / RATE_PER_SECOND);
/** On a machine that cannot do so many per second, no more than these wait; the others are not sent. */
const OPEN_MAX = 300;
const PORT = 7000;

testNeeding([...staticHttp.needs, 'netns'])(
  `trap 5.4: a server of one thread without grace ends when its queue is empty: ${COUNT} reloads fail no request of up to ${RATE_PER_SECOND} new connections per second`,
  async () => {
    // Its own, for what it leaves in TIME_WAIT.
    const netns = await openNetns();
    const inside = (command: readonly string[]): string[] => netns.command(command);
    const keeper = startKeeper(staticHttp.command(PORT, '--work-us', `${WORK_US}`), {
      around: inside,
      flags: ['--drain-quiet', '100ms'],
    });
    await keeper.holding();
    const load = await startLoadProcess(
      { port: PORT, ratePerSecond: RATE_PER_SECOND, maxOpen: OPEN_MAX },
      inside,
    );
    for (let reload = 0; reload < COUNT; reload++) await reloaded(keeper);
    await settled(keeper);
    const result = await load.stop();
    await expectNothingFailed(Promise.resolve({ ...result, skipped: 0 }));
    expect(result.pids.length).toBeGreaterThan(COUNT);
  },
  60_000 + COUNT * 30_000,
);
