import { expect, test } from 'vitest';
import { close } from '../../src/kernel/fd.js';
import { pidfdEnd, pidfdOpen } from '../../src/kernel/pidfd.js';
import { start } from '../support/process.js';
import { until } from '../support/wait.js';

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
