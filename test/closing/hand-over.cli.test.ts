import { expect, test } from 'vitest';
import type { NodeVersion } from '../../scripts/requirements.js';
import { project } from '../cli/holdfast.js';
import { startKeeper } from '../support/keeper.js';
import { startLoadProcess } from '../support/load-process.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { until } from '../support/wait.js';
import { heldSocket } from './held-socket.js';
import { startKeptLoad } from './kept-load.js';
import { type Kind, nodeKinds, PRELOAD, serve } from './program.js';

/** Clients that are idle for longer than a pause of this load are none of it. */
const env = { HOLDFAST_GRACEFUL_QUIET_MS: '3000' };
const MINUTES_MS = 180_000;

for (const [kind, node, handOvers] of [
  ['http', undefined, 20],
  ['https', undefined, 5],
  ['http', 'node22', 5],
  ['http', 'node24', 5],
  ['https', 'node24', 3],
] as readonly [Kind, NodeVersion | undefined, number][]) {
  testNeeding(node ?? [])(
    `${node ?? 'node'}, ${kind}: no request of a kept connection fails in ${handOvers} hand-overs`,
    async () => {
      const { fd, port } = heldSocket();
      let served = await serve(kind, { fd, node, env });
      const tls = kind === 'https';
      const loads = [
        startKeptLoad({ port, tls, clients: 8, pauseMs: 10 }),
        startKeptLoad({ port, tls, clients: 8, pauseMs: 500 }),
      ];
      for (let i = 0; i < handOvers; i++) {
        const next = await serve(kind, { fd, node, env });
        const [load] = loads;
        const before = load?.requests ?? 0;
        await until('a hundred requests', () => (load?.requests ?? 0) > before + 100);
        served.started.kill('SIGTERM');
        expect(await served.started.end()).toEqual({ code: null, signal: 'SIGTERM' });
        served = next;
      }
      const results = await Promise.all(loads.map((load) => load.stop()));
      for (const { failures, told, closedIdle, pids } of results) {
        expect(failures).toEqual([]);
        expect(closedIdle).toBe(0);
        expect(told).toBeGreaterThan(0);
        expect(pids.size).toBeGreaterThan(1);
      }
    },
    MINUTES_MS,
  );
}

test(
  'kept by holdfast, a single server starts again three times and no request fails',
  async () => {
    const port = await freePort();
    const command = [process.execPath, ...PRELOAD, nodeKinds, 'http'];
    const keeper = startKeeper(command, {
      cwd: project,
      // After two seconds the keeper would take it that the server has closed its port on purpose.
      env: { HOLDFAST_GRACEFUL_QUIET_MS: '800', PORT: `${port}` },
      flags: ['--restart', 'always'],
    });
    await keeper.holding();
    const load = startKeptLoad({ port, clients: 8, pauseMs: 50 });
    for (let i = 0; i < 3; i++) {
      const before = load.requests;
      await until('a hundred requests', () => load.requests > before + 100);
      await keeper.crash('SIGTERM');
      await keeper.process.line(/is served again/, { after: i });
    }
    const { failures, told, pids } = await load.stop();
    expect(failures).toEqual([]);
    expect(told).toBeGreaterThan(0);
    expect(pids.size).toBe(4);
  },
  MINUTES_MS,
);

testNeeding('wrk')(
  'no request fails in 20 hand-overs under wrk and under new connections',
  async () => {
    const { fd, port } = heldSocket();
    let served = await serve('http', { fd, env });
    const wrk = start([binaryOf('wrk'), '-t1', '-c8', '-d170s', `http://127.0.0.1:${port}/`]);
    const load = await startLoadProcess({ port, ratePerSecond: 50, timeoutMs: 30_000 });
    for (let i = 0; i < 20; i++) {
      const next = await serve('http', { fd, env });
      served.started.kill('SIGTERM');
      expect(await served.started.end()).toEqual({ code: null, signal: 'SIGTERM' });
      served = next;
    }
    wrk.kill('SIGINT');
    await wrk.end();
    const { sent, ok, pids } = await load.stop();
    expect(ok).toBe(sent);
    expect(pids.length).toBeGreaterThan(10);
    expect(Number(/(\d+) requests in/.exec(wrk.stdout)?.[1])).toBeGreaterThan(1_000);
    expect(wrk.stdout).not.toContain('Non-2xx');
    // Its fourth kind is an answer that took more than 2 s, which a busy machine may give.
    const [, errors = 'connect 0, read 0, write 0'] = /Socket errors: (.*), timeout/.exec(wrk.stdout) ?? [];
    expect(errors).toBe('connect 0, read 0, write 0');
  },
  MINUTES_MS,
);
