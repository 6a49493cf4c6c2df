import { expect, test } from 'vitest';
import { pidOf } from '../support/http.js';
import { startKeeper } from '../support/keeper.js';
import { freePort } from '../support/ports.js';
import { nodeHttp } from '../support/servers.js';

test('500 clients that connect while the server starts again are all served', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port, '--boot', '1000'));
  await keeper.holding();
  const before = keeper.worker();
  process.kill(before, 'SIGKILL');
  const answers = await Promise.all(Array.from({ length: 500 }, () => pidOf(port, { timeoutMs: 20_000 })));
  expect(new Set(answers)).toEqual(new Set([keeper.worker()]));
  expect(keeper.worker()).not.toBe(before);
});
