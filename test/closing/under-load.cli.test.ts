import { expect } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { type ClosingKind, openStage, startLoad, startServer, timeWaits } from './closing-stage.js';

/** How often a server is closed under load, and how many requests come before it is closed when it is quiet. */
const CLOSINGS = Number(process.env.HOLDFAST_TEST_CLOSINGS ?? 2);
const REQUESTS = Number(process.env.HOLDFAST_TEST_CLOSING_REQUESTS ?? 1_000);
const TEST_MS = 60_000 + CLOSINGS * 10_000;

/** A client has to come to its next request, or to its close, meanwhile, also where the machine is busy. */
const BUSY_MS = 5_000;

for (const kind of ['http', 'https'] as const) {
  testNeeding('netns')(
    `${kind}: with peerCloses, ${REQUESTS} requests of a connection each leave no TIME_WAIT at the server`,
    async () => {
      const netns = await openStage();
      const server = await startServer(netns, kind, { delayMs: 0, peerCloses: { timeoutMs: BUSY_MS } });
      const load = await startLoad(netns, { port: server.port, kind, requests: REQUESTS, keepAlive: false });
      const { answered, lost } = await load.result();
      expect({ answered, lost }).toEqual({ answered: REQUESTS, lost: {} });
      const left = await timeWaits(netns, server.port);
      expect(left.server).toBe(0);
      // A client of TLS that closes while close_notify is on its way is reset by it, and has no TIME_WAIT either.
      if (kind === 'http') expect(left.clients).toBeGreaterThanOrEqual(REQUESTS * 0.99);
      const { counts } = await server.close();
      expect(counts).toMatchObject({ open: 0, weFirst: 0, timeWait: 0 });
      load.started.kill('SIGTERM');
    },
    TEST_MS,
  );
}

testNeeding('netns')(
  'without peerCloses they leave theirs at the server, as countClosings says',
  async () => {
    const netns = await openStage();
    const server = await startServer(netns, 'http', { delayMs: 0 });
    const load = await startLoad(netns, { port: server.port, requests: 200, keepAlive: false });
    expect((await load.result()).answered).toBe(200);
    const left = (await timeWaits(netns, server.port)).server;
    expect(left).toBeGreaterThan(150);
    const { counts } = await server.close();
    expect(counts.timeWait).toBeGreaterThanOrEqual(left);
    // Some clients' FIN is there before it is read.
    expect(counts.weFirst).toBeGreaterThanOrEqual(left);
    load.started.kill('SIGTERM');
  },
  TEST_MS,
);

testNeeding('netns')(
  `after ${REQUESTS} requests idle connections are reset at once with reset, and nothing is left`,
  async () => {
    const netns = await openStage();
    const server = await startServer(netns, 'http', { delayMs: 0, close: { reset: true } });
    const load = await startLoad(netns, { port: server.port, requests: REQUESTS });
    expect(await load.result()).toMatchObject({ answered: REQUESTS, lost: {} });
    const { reset, ms, counts } = await server.close();
    expect({ reset, timeWait: counts.timeWait }).toEqual({ reset: 50, timeWait: 0 });
    expect(await timeWaits(netns, server.port)).toEqual({ server: 0, clients: 0 });
    expect(ms).toBeGreaterThanOrEqual(200);
    expect(ms).toBeLessThan(200 + SLACK_MS);
    load.started.kill('SIGTERM');
  },
  TEST_MS,
);

/** What a busy machine may add to a time that is 50 to 100 ms on one that has nothing else to do. */
const SLACK_MS = 2_000;

const LOADS: readonly {
  readonly kind: Exclude<ClosingKind, 'tls'>;
  readonly keepAlive: boolean;
  readonly node?: 'node22' | 'node24';
}[] = [
  { kind: 'http', keepAlive: true },
  { kind: 'http', keepAlive: true, node: 'node22' },
  { kind: 'http', keepAlive: true, node: 'node24' },
  { kind: 'http', keepAlive: false },
  { kind: 'https', keepAlive: true },
  { kind: 'https', keepAlive: true, node: 'node22' },
  { kind: 'https', keepAlive: true, node: 'node24' },
  { kind: 'https', keepAlive: false },
  { kind: 'http2', keepAlive: true },
  { kind: 'http2', keepAlive: true, node: 'node22' },
  { kind: 'http2', keepAlive: true, node: 'node24' },
  { kind: 'http2-secure', keepAlive: true },
  { kind: 'net', keepAlive: false },
];

for (const { kind, keepAlive, node } of LOADS) {
  testNeeding(['netns', ...(node === undefined ? [] : [node])])(
    `${node ?? 'node'}, ${kind}${keepAlive ? '' : ', a connection for each request'}: ${CLOSINGS} closings under load lose no request`,
    async () => {
      for (let closing = 0; closing < CLOSINGS; closing++) {
        const netns = await openStage();
        const server = await startServer(netns, kind, {
          node,
          close: { idleMs: BUSY_MS, peerFirstMs: BUSY_MS, timeoutMs: 30_000 },
        });
        const load = await startLoad(netns, {
          ...{ port: server.port, kind: kind === 'net' ? 'tcp' : kind, keepAlive },
        });
        await server.started.line(/^accepted$/, { after: 49 });
        const { ms, cut, reset, peerFirst } = await server.close();
        const { answered, refused, lost } = await load.result();
        expect({ cut, reset, refused }).toEqual({ cut: 0, reset: 0, refused: 50 });
        expect(lost).toEqual({});
        expect(answered).toBeGreaterThan(0);
        // Nobody's time has run out, in which case it would have taken longer.
        expect(ms).toBeLessThan(BUSY_MS);
        if (keepAlive) {
          expect(peerFirst).toBe(50);
          expect((await timeWaits(netns, server.port)).server).toBe(0);
        }
        await netns.close();
      }
    },
    TEST_MS,
  );
}
