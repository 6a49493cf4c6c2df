import { expect, test } from 'vitest';
import { inside } from '../kernel/inside.js';

/** An epoll that has been told of a call looks at it when it is asked to, however long ago that was. */
test('a keeper that takes over does not wait in its notifier for a call that it has answered already', async () => {
  const built = (module: string): string =>
    JSON.stringify(new URL(`../../dist/keeper/${module}.js`, import.meta.url).href);
  const ends = await inside(
    ['poller', 'seccomp'],
    `const { Spawner } = await import(${built('spawner')});
    const { Traps, waitingCalls } = await import(${built('traps')});
    await kernel.startThreadPool();
    const poller = new kernel.Poller();
    const add = poller.add.bind(poller);
    poller.add = (...watch) => {
      add(...watch);
      // The poller's thread shares our CPU: it sees what is readable now before we go on.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
    };
    const spawner = await Spawner.start({ trap: ['listen'], noNewPrivileges: true });
    const command = [process.execPath, '-e', "require('net').createServer().listen(0, '127.0.0.1', () => process.exit())"];
    const request = { command, cwd: '/', env: {}, fds: [], ipc: false };
    const servers = await Promise.all([1, 2, 3].map(() => spawner.spawn(request)));
    const pids = servers.map(({ pid }) => pid);
    while (waitingCalls(pids).length < 3) await new Promise((go) => setTimeout(go, 5));
    const { id } = new kernel.SeccompNotifier(spawner.notifier).receive();
    const traps = new Traps(poller, { mayCopy: true, whose: () => undefined, pids: () => pids, changed: () => undefined });
    traps.takeOver(spawner.notifier, { lastId: id, pending: [] });
    tell(await Promise.all(servers.map(({ exited }) => exited)));
    traps.stop();
    poller.close();
    await spawner.stop();`,
  );
  expect(ends).toEqual([1, 2, 3].map(() => ({ code: 0, signal: null })));
});
