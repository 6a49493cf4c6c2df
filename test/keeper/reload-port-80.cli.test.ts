import { expect } from 'vitest';
import { startKeeper } from '../support/keeper.js';
import { startLoadProcess } from '../support/load-process.js';
import { testNeeding } from '../support/needing.js';
import { openNetns } from '../support/netns.js';
import { listeners } from '../support/proc.js';
import { expectNothingFailed, RATE_PER_SECOND, RELOADS, reloaded, settled } from './reloads.js';

/** Without grace, on the socket that it is handed. */
const SERVER = `require('node:http').createServer((_, response) =>
  setTimeout(() => response.end('pid ' + process.pid + ' of ' + process.getuid()), 20)).listen({ fd: 3 })`;

testNeeding(['root', 'netns'])(
  `a server of another user on port 80: ${RELOADS} reloads fail no request of ${RATE_PER_SECOND} new connections per second`,
  async () => {
    const netns = await openNetns();
    const inside = (command: readonly string[]): string[] => netns.command(command);
    const keeper = startKeeper([process.execPath, '-e', SERVER], {
      around: inside,
      flags: ['--user', 'nobody', '--listen', '80'],
    });
    await keeper.holding();
    const { length: sockets } = listeners(80, netns.pid);
    const load = await startLoadProcess({ port: 80, ratePerSecond: RATE_PER_SECOND }, inside);
    const workers = [keeper.worker()];
    for (let reload = 0; reload < RELOADS; reload++) workers.push(await reloaded(keeper));
    await settled(keeper);
    const result = await load.stop();
    await expectNothingFailed(Promise.resolve(result));
    expect(new Set(workers).size).toBe(RELOADS + 1);
    // Each generation had its clients: the load went on through all reloads.
    expect(result.pids).toEqual(expect.arrayContaining(workers.slice(1)));
    expect(listeners(80, netns.pid)).toHaveLength(sockets);
  },
  60_000 + RELOADS * 10_000,
);
