import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { holdfast } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { start } from '../support/process.js';
import { until } from '../support/wait.js';
import { PORT, scene } from './scene.js';

const needing = testNeeding(['netns', 'python3']);

needing('wait --free ends when the holder closes its socket', async () => {
  const { actor, netns } = await scene();
  const server = await actor('a = listener("127.0.0.1", P)');
  const waiting = start(netns.command([...holdfast, 'wait', `${PORT}`, '--free', '--json']));
  await watching(waiting.pid);
  server.kill('SIGKILL');
  expect(await waiting.end()).toEqual({ code: 0, signal: null });
  expect(JSON.parse(waiting.stdout)).toMatchObject({ reached: true });
});

needing('wait --free sees the end of a socket that is only bound', async () => {
  const { actor, netns } = await scene();
  const server = await actor('a = tcp("127.0.0.1", P)');
  const waiting = start(netns.command([...holdfast, 'wait', `${PORT}`, '--free']));
  await watching(waiting.pid);
  server.kill('SIGKILL');
  expect(await waiting.end()).toEqual({ code: 0, signal: null });
});

needing('wait --listening ends when somebody listens', async () => {
  const { actor, netns } = await scene();
  const waiting = start(netns.command([...holdfast, 'wait', `127.0.0.1:${PORT}`, '--listening']));
  await actor('a = listener("127.0.0.1", P)');
  expect(await waiting.end()).toEqual({ code: 0, signal: null });
});

needing('a listener at another address is not the one that is waited for', async () => {
  const { actor, run } = await scene();
  await actor('a = listener("127.0.0.2", P)');
  expect((await run(`wait 127.0.0.1:${PORT} --listening --timeout 200ms`)).code).toBe(1);
  expect((await run(`wait 127.0.0.2:${PORT} --listening --timeout 5s`)).code).toBe(0);
});

needing('after the time it gives up with exit 1 and says so', async () => {
  const { actor, run } = await scene();
  await actor('a = listener("127.0.0.1", P)');
  const { code, stdout, stderr } = await run(`wait ${PORT} --free --timeout 200ms`);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/^holdfast: 7000 is not free after [\d.]+ m?s; holdfast why 7000 tells more\n$/);
});

needing('what is so already needs no waiting', async () => {
  const { actor, run } = await scene();
  expect((await run(`wait ${PORT} --free`)).code).toBe(0);
  await actor('a = listener("127.0.0.1", P)');
  expect((await run(`wait ${PORT} --listening`)).code).toBe(0);
});

/** Resolves when somebody in the process's network namespace has subscribed to ends of sockets. */
async function watching(pid: number): Promise<void> {
  await until('a subscription to ends of sockets', () =>
    readFileSync(`/proc/${pid}/net/netlink`, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      // sock_diag, with a group.
      .some(([, protocol, , groups]) => protocol === '4' && Number.parseInt(groups ?? '0', 16) !== 0),
  );
}
