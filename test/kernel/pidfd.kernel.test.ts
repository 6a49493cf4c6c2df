import { expect, onTestFinished, test } from 'vitest';
import { close } from '../../src/kernel/fd.js';
import { pidfdEnd, pidfdOpen, pidfdOpenThread } from '../../src/kernel/pidfd.js';
import { Poller } from '../../src/kernel/poller.js';
import { processStat, threadsOf } from '../../src/kernel/procfs.js';
import { start } from '../support/process.js';
import { until, within } from '../support/wait.js';

/** A shell whose child is not ours, and is not waited for by anybody: its pid is told. */
function grandchild(script: string): ReturnType<typeof start> {
  return start(['/bin/sh', '-c', `sh -c '${script}' & echo pid $!; exec sleep 60`]);
}

test.each([
  ['read -r _ < /dev/null; sleep 0.3; exit 7', { code: 7, signal: null }],
  ['sleep 0.3; kill -9 $$', { code: null, signal: 9 }],
])('how a process ended that is no child of ours is told while it is a zombie: %s', async (script, end) => {
  const shell = grandchild(script);
  const pid = Number((await shell.line(/^pid (\d+)$/))[1]);
  const pidfd = pidfdOpen(pid);
  try {
    expect(pidfdEnd(pidfd, pid)).toBeUndefined();
    expect(await until('its end', () => pidfdEnd(pidfd, pid))).toEqual(end);
  } finally {
    close(pidfd);
  }
});

test('a thread of a process that is killed is seen to end, and from then on it is told how the process ends', async () => {
  const server = start([process.execPath, '-e', 'setInterval(() => {}, 1000); console.log("runs")']);
  await server.line(/^runs$/);
  const { pid } = server;
  expect(processStat(pid)?.exitStatus).toBe(0);
  const thread = threadsOf(pid).find((tid) => tid !== pid) ?? 0;
  const pidfd = pidfdOpenThread(thread);
  const poller = new Poller();
  onTestFinished(() => poller.close());
  const ended = new Promise<number | undefined>((resolve) => {
    poller.add(pidfd, () => resolve(processStat(pid)?.exitStatus));
  });
  server.kill('SIGKILL');
  // Undefined: it was reaped before anybody could look.
  expect([9, undefined]).toContain(await within('the end of the thread', ended));
  poller.remove(pidfd);
  close(pidfd);
});
