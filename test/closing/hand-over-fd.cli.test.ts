import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { run } from '../cli/holdfast.js';
import { testNeeding } from '../support/needing.js';
import { HERE, openStage, startLoad, startServer } from './closing-stage.js';
import { heldSocket } from './held-socket.js';

const CLOSINGS = Number(process.env.HOLDFAST_TEST_CLOSINGS ?? 2);

test(
  `a successor that has the listening socket too goes on, and nobody is refused, reset or kept waiting in ${CLOSINGS} closings`,
  async () => {
    const { fd, port } = heldSocket();
    let server = await startServer(HERE, 'http', { fd });
    const load = await startLoad(HERE, { port, keepAlive: false, successor: true });
    for (let closing = 0; closing < CLOSINGS; closing++) {
      const next = await startServer(HERE, 'http', { fd });
      await next.started.line(/^accepted$/);
      const { cut, reset } = await server.close();
      expect({ cut, reset }).toEqual({ cut: 0, reset: 0 });
      server = next;
    }
    load.started.kill('SIGTERM');
    const { lost, longestMs } = await load.result();
    expect(lost).toEqual({});
    // A client whose SYN had been dropped would have waited for a second.
    expect(longestMs).toBeLessThan(1_000);
  },
  60_000 + CLOSINGS * 5_000,
);

testNeeding(['netns', 'root', 'ip'])(
  'over TLS the server sends close_notify and hardly a reset, and has no TIME_WAIT',
  async () => {
    const [here, there] = [await openStage(), await openStage()];
    const link = async (netns: typeof here, ...words: string[]): Promise<void> => {
      const { code, stderr } = await run(netns.command(['ip', ...words]));
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    };
    await link(here, ...'link add near type veth peer name far netns'.split(' '), `${there.pid}`);
    await link(here, ...'address add 10.99.0.1/24 dev near'.split(' '));
    await link(there, ...'address add 10.99.0.2/24 dev far'.split(' '));
    await link(here, ...'link set near up'.split(' '));
    await link(there, ...'link set far up'.split(' '));
    const host = '10.99.0.1';
    const server = await startServer(here, 'https', { host, delayMs: 0, peerCloses: { timeoutMs: 10_000 } });
    const load = await startLoad(there, {
      ...{ host, port: server.port, kind: 'https', requests: 500, keepAlive: false, clients: 10 },
    });
    expect(await load.result()).toMatchObject({ answered: 500, lost: {} });
    const { counts } = await server.close();
    expect(counts).toMatchObject({ peerFirst: 500, weFirst: 0, reset: 0, timeWait: 0 });
    // One that answers a late segment of a client that is gone already is rare.
    expect(resetsSent(here.pid)).toBeLessThanOrEqual(5);
    load.started.kill('SIGTERM');
  },
  60_000,
);

/** OutRsts of /proc/PID/net/snmp: what the namespace has sent since it was made. */
function resetsSent(pid: number): number {
  const [names, values] = readFileSync(`/proc/${pid}/net/snmp`, 'latin1')
    .split('\n')
    .filter((line) => line.startsWith('Tcp:'))
    .map((line) => line.split(' '));
  return Number(values?.[names?.indexOf('OutRsts') ?? -1]);
}
