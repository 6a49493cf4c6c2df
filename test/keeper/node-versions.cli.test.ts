import { expect } from 'vitest';
import type { NodeVersion } from '../../scripts/requirements.js';
import { bodyOf } from '../support/http.js';
import { startKeeper } from '../support/keeper.js';
import { type Need, testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { listeningInode } from '../support/proc.js';
import { binaryOf } from '../support/requirement.js';
import { nodeHttp, nodeHttpOn, pythonHttp, type TestServer } from '../support/servers.js';

/** The Node that runs the tests, which is the oldest supported one where that is installed, and the newer ones. */
const versions: readonly (NodeVersion | undefined)[] = [undefined, 'node22', 'node24'];

for (const version of versions) {
  const node = version ?? `node${process.version.slice(1).split('.')[0]}`;
  const own = version === undefined ? nodeHttp : nodeHttpOn(version);
  const byNode = (keeper: readonly string[]): string[] => [
    version === undefined ? process.execPath : binaryOf(version),
    ...keeper.slice(1),
  ];

  for (const server of [own, pythonHttp]) {
    const needs: Need[] = [...new Set([...(version === undefined ? [] : [version]), ...server.needs])];
    testNeeding(needs)(
      `a keeper on ${node} keeps ${server.name} through crashes and ends with it`,
      async () => {
        const port = await freePort();
        const keeper = startKeeper(server.command(port), { around: byNode });
        await keeper.holding();
        const inode = listeningInode(port);
        expect(inode).toBeDefined();
        for (let crashes = 0; crashes < 3; crashes++) {
          await keeper.crash();
          await keeper.process.line(/is served again/, { after: crashes });
          expect(listeningInode(port)).toBe(inode);
          await expectServed(server, port, keeper.worker());
        }
        keeper.process.kill('SIGTERM');
        expect(await keeper.process.end()).toEqual({ code: 143, signal: null });
        expect(listeningInode(port)).toBeUndefined();
      },
    );
  }

  testNeeding(version ?? [])(`a keeper on ${node} exits with the code of its server`, async () => {
    const [program = ''] = own.command(0);
    const keeper = startKeeper([program, '-e', 'process.exit(7)'], { around: byNode });
    expect(await keeper.process.end()).toEqual({ code: 7, signal: null });
  });
}

/** Python's server does not say its pid. */
async function expectServed(server: TestServer, port: number, pid: number): Promise<void> {
  expect(await bodyOf(port)).toContain(server === pythonHttp ? 'Directory listing' : `pid ${pid}`);
}
