import { expect } from 'vitest';
import { startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { tcpSockets } from '../support/proc.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { nodeHttp } from '../support/servers.js';
import { until } from '../support/wait.js';
import { RELOADS, reloaded, settled } from './reloads.js';

const CONNECTIONS = 16;
/** Longer than any answer takes, however busy the machine is; wrk counts what takes longer as an error. */
const TIMEOUT_S = 60;

for (const [name, flags] of [
  ['the stop signal comes at once', ['--drain-wait', 'queue']],
  // Connections under load never are quiet: each generation gets its whole time.
  ['the stop signal comes after the time to drain', ['--drain-timeout', '500ms']],
] as const) {
  testNeeding('wrk')(
    `--graceful node: ${RELOADS} reloads fail nothing of ${CONNECTIONS} connections that are kept alive; ${name}`,
    async () => {
      const port = await freePort();
      // Each answer takes a moment, so that the machine is not all wrk's.
      const keeper = startKeeper(nodeHttp.command(port, '--host', '127.0.0.1', '--delay', '5'), {
        flags: ['--graceful', 'node', ...flags],
      });
      await keeper.holding();
      const wrk = start([
        ...[binaryOf('wrk'), '-t1', `-c${CONNECTIONS}`, `-d${10 * 60 + RELOADS * 60}s`],
        ...['--timeout', `${TIMEOUT_S}s`, `http://127.0.0.1:${port}/`],
      ]);
      await until('all connections', () => connectionsTo(port) >= CONNECTIONS);
      const former = new Set<number>();
      for (let reload = 0; reload < RELOADS; reload++) {
        former.add(keeper.worker());
        await reloaded(keeper);
        expect(former).not.toContain(keeper.worker());
      }
      await settled(keeper);
      wrk.kill('SIGINT');
      await wrk.end();
      expect(Number(/(\d+) requests in/.exec(wrk.stdout)?.[1])).toBeGreaterThan(RELOADS * CONNECTIONS);
      // It says nothing of them when there were none.
      expect(wrk.stdout).not.toMatch(/Socket errors|Non-2xx/);
      expect(keeper.process.stderr).not.toMatch(/SIGKILL/);
    },
    60_000 + RELOADS * 10_000,
  );
}

function connectionsTo(port: number): number {
  return tcpSockets().filter((socket) => socket.port === port && socket.state === 'ESTABLISHED').length;
}
