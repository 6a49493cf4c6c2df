import { existsSync } from 'node:fs';
import { expect } from 'vitest';
import { pathOf } from '../../scripts/requirements.js';
import { pidOf } from '../support/http.js';
import { startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { descendantsOf, isAlive } from '../support/proc.js';
import { nodeHttp } from '../support/servers.js';
import { until } from '../support/wait.js';
import { sh } from './inline.js';

const ORPHANS = '(sleep 1001 &); (setsid env -i /bin/sleep 1002 &)';

testNeeding(['root', 'unshare'])(
  'as the first process of a container it reaps orphans, restarts, and passes signals on',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(sh(`${ORPHANS}; exec "$@"`, ...nodeHttp.command(port)), {
      around: (command) => [pathOf('unshare') ?? 'unshare', '--pid', '--fork', '--mount-proc', ...command],
    });
    await keeper.process.line(/keeps .* for pid/);
    // Its own pids are other numbers than those that are seen from here.
    const [init = 0] = descendantsOf(keeper.process.pid);
    const [server, ...orphans] = await until('the server and its orphans', () => {
      const found = descendantsOf(init);
      return found.length === 3 && found;
    });
    if (server === undefined) throw new Error('no server');
    for (const orphan of orphans) process.kill(orphan, 'SIGKILL');
    await until('the end of the orphans, zombies included', () => !orphans.some(exists));

    const before = descendantsOf(init);
    process.kill(server, 'SIGKILL');
    await keeper.process.line(/is served again/);
    expect(before.filter(isAlive)).toEqual([]);
    await pidOf(port);

    process.kill(init, 'SIGTERM');
    expect(await keeper.process.end()).toEqual({ code: 143, signal: null });
    await expect(pidOf(port)).rejects.toThrow('ECONNREFUSED');
  },
);

function exists(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}
