import { once } from 'node:events';
import { mkdirSync, readFileSync, rmdirSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { cgroupPathById, unifiedMount } from '../../src/kernel/cgroup.js';
import { tcpListeners } from '../../src/kernel/sock-diag.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';

testNeeding('cgroup v2')('a socket tells the cgroup in which it was made', async () => {
  const port = await freePort();
  const server = createServer().listen(port, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const [listener] = tcpListeners(port);
  const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
  expect(cgroupPathById(listener?.cgroupId ?? 0n)).toBe(own);
});

testNeeding(['root', 'cgroup v2'])(
  'a cgroup within others is found by its id, and not once it is gone',
  () => {
    const outer = `holdfast-test-${process.pid}`;
    const folder = join(unifiedMount() ?? '', outer, 'inner');
    mkdirSync(folder, { recursive: true });
    const id = statSync(folder, { bigint: true }).ino;
    try {
      expect(cgroupPathById(id)).toBe(`/${outer}/inner`);
    } finally {
      rmdirSync(folder);
      rmdirSync(join(folder, '..'));
    }
    expect(cgroupPathById(id)).toBeUndefined();
  },
);

test('an id that no cgroup has is none', () => {
  expect(cgroupPathById(0n)).toBeUndefined();
  expect(cgroupPathById(1n << 60n)).toBeUndefined();
});
