// A keeper that is killed in its first moments, or in those of its server: before it has written down or handed on all
// that it knows.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { KeeperState } from '../../src/index.js';
import { findHolders } from '../../src/keeper/holder.js';
import { bodyOf, pidOf } from '../support/http.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { isAlive } from '../support/proc.js';
import { goHttp, nodeHttp, pythonHttp, staticHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { ANSWER, IMPORTS, python } from './programs.js';
import { inodesOf } from './sockets.js';
import { killed, killedNow, rewriteRecovery, stateFileOf, successor } from './successors.js';

const KILLS = Number(process.env.HOLDFAST_TEST_KEEPER_KILLS ?? 3);
/** After that a keeper holds what its server listens on, on a machine that has nothing else to do. */
const EARLY_MS = 400;

for (const server of [nodeHttp, pythonHttp, staticHttp, goHttp]) {
  testNeeding(server.needs)(
    `${server.name}: whenever in its first ${EARLY_MS} ms a keeper is killed, the next one holds the port (${KILLS} kills)`,
    async () => {
      for (let kill = 0; kill < KILLS; kill++) {
        const port = await freePort();
        const command = server.command(port);
        const first = startKeeper(command);
        const afterMs = Math.random() * EARLY_MS;
        await sleep(afterMs);
        await killedNow(first);
        const before = inodesOf(port);
        const keeper = successor(first, command);
        await keeper.untilState(
          `a server, after a kill at ${afterMs} ms`,
          ({ pid, phase, sockets }) =>
            pid === keeper.process.pid && phase === 'serving' && sockets.length === 1,
        );
        const inodes = inodesOf(port);
        if (before.length > 0) expect(inodes).toEqual(before);
        expect(inodes).toHaveLength(1);
        const next = await keeper.crash();
        expect(await bodyOf(port, { timeoutMs: 10_000 })).not.toBe('');
        expect(inodesOf(port)).toEqual(inodes);
        process.kill(keeper.process.pid, 'SIGTERM');
        await keeper.process.exited;
        expect(isAlive(next)).toBe(false);
      }
    },
    60_000 + KILLS * 30_000,
  );
}

for (const [stage, flags] of [
  ['steady', []],
  ['steady', ['--workers', '2']],
  ['starting', []],
] as const)
  test(`a server is taken over whose start the keeper had no time to write down (${[stage, ...flags].join(' ')})`, async () => {
    const port = await freePort();
    const command = nodeHttp.command(port);
    const first = startKeeper(command, { flags });
    const serve = ({ workers }: KeeperState): boolean => workers.every(({ phase }) => phase === 'serving');
    const { workers } = await first.untilState(
      'a server',
      (state) => state.phase === 'serving' && serve(state),
    );
    await killed(first);
    rewriteRecovery(first, (recovery) => {
      Object.assign(recovery, { starts: 0, stage });
      recovery.generations[0].workers = [];
    });
    const keeper = successor(first, command, flags);
    await keeper.process.line(/took over the server/);
    const pids = async (): Promise<readonly (number | null)[]> => {
      const now = await keeper.untilState(
        'all',
        (one) => one.workers.length === workers.length && serve(one),
      );
      return now.workers.map(({ pid }) => pid).toSorted();
    };
    expect(await pids()).toEqual(workers.map(({ pid }) => pid).toSorted());
    // The next starts have numbers of their own.
    for (let crash = 0; crash < 2; crash++) {
      const next = await keeper.crash();
      expect(await pids()).toContain(next);
    }
    expect(await bodyOf(port)).toContain('pid');
  });

test('a port that a keeper says it keeps outlives the keeper and the server', async () => {
  const port = await freePort();
  const first = startKeeper(nodeHttp.command(port));
  await first.process.line(/keeps /);
  const inodes = inodesOf(port);
  await killedNow(first);
  expect(heldBeside(first)).toEqual(inodes);
});

testNeeding('python3')(
  'a keeper that is killed when its server has just begun to listen has told nobody, and the next one has the socket',
  async () => {
    const port = await freePort();
    const { command } = binding(
      'bind(listener, port)',
      'listener.listen()',
      'os.kill(os.getppid(), signal.SIGKILL)',
    );
    const first = startKeeper(command(port));
    await first.process.exited;
    const worker = await pidOf(port);
    const inodes = inodesOf(port);
    const keeper = successor(first, command(port));
    await keeper.process.line(
      new RegExp(`took over the server, pid ${worker}, and 127\\.0\\.0\\.1:${port}\\b`),
    );
    await keeper.untilState('a server', ({ phase }) => phase === 'serving');
    // Beyond doubt, and with somebody who has it when this one is killed as well.
    await until('a holder', () => heldBeside(keeper).length > 0);
    expect(heldBeside(keeper)).toEqual(inodes);
    process.kill(worker, 'SIGKILL');
    await until('its end', () => !isAlive(worker));
    expect(await bodyOf(port, { timeoutMs: 10_000 })).not.toBe(`pid ${worker}`);
    expect(inodesOf(port)).toEqual(inodes);
  },
);

testNeeding('python3')(
  'a socket that was bound under the former keeper and listens under the next is held',
  async () => {
    const port = await freePort();
    const { command, goOn } = binding(
      'bind(listener, port)',
      'bind(other, 0)',
      WAIT,
      'other.listen()',
      'listener.listen()',
    );
    const first = startKeeper(command(port));
    await first.process.line(/^waits$/);
    await killed(first);
    const keeper = successor(first, command(port));
    await keeper.process.line(/took over the server/);
    goOn();
    await keeper.process.line(new RegExp(`keeps 127\\.0\\.0\\.1:${port} `));
    // The other's port was chosen by the kernel.
    expect(keeper.state().sockets.map(({ address }) => address)).toEqual([`127.0.0.1:${port}`]);
    const worker = await keeper.crash();
    expect(await bodyOf(port)).toBe(`pid ${worker}`);
  },
);

for (const flags of [[], ['--replace']])
  testNeeding('python3')(
    `a port that the kernel chose is not held by the next keeper either ${flags.join('')}`,
    async () => {
      const port = await freePort();
      const steps = [
        REUSE('other'),
        'bind(other, 0)',
        'other.listen()',
        'bind(listener, port)',
        'listener.listen()',
      ];
      const { command } = binding(...steps);
      const first = startKeeper(command(port));
      await first.holding();
      if (flags.length === 0) await killed(first);
      const keeper = successor(first, command(port), flags);
      await keeper.process.line(/took over the server/);
      expect((await keeper.ask('reload', 'app')).exit.code).toBe(0);
      expect(keeper.state().sockets.map(({ address }) => address)).toEqual([`127.0.0.1:${port}`]);
    },
  );

testNeeding('python3')(
  'a server that shares its port with itself may go on to do so under the next keeper',
  async () => {
    const port = await freePort();
    const share = (name: string): readonly string[] => [
      REUSE(name),
      `bind(${name}, port)`,
      `${name}.listen()`,
    ];
    const { command, goOn } = binding(...share('other'), WAIT, ...share('listener'));
    const first = startKeeper(command(port));
    await first.process.line(/keeps /);
    await killed(first);
    rewriteRecovery(first, ({ generations }) => {
      generations[0].sockets = [];
    });
    const keeper = successor(first, command(port));
    await keeper.process.line(/took over the server/);
    const worker = keeper.worker();
    goOn();
    await keeper.untilState('both sockets', ({ sockets }) => sockets.length === 2);
    expect(keeper.worker()).toBe(worker);
    await keeper.crash();
    await keeper.untilState('both served', ({ sockets }) => sockets.every(({ served }) => served));
    expect(inodesOf(port)).toHaveLength(2);
  },
);

test('a server whose port the kernel chose serves for the next keeper too, when that was not written down', async () => {
  const code = `
    const server = require('node:http').createServer((_, response) => response.end('ok'));
    server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));`;
  const command = [process.execPath, '-e', code];
  const first = startKeeper(command);
  await first.process.line(/^port /);
  await killed(first);
  rewriteRecovery(first, ({ generations }) => {
    generations[0].workers[0].phase = 'starting';
  });
  const keeper = startKeeper(command, { beside: first });
  await keeper.untilState('a server', ({ phase }) => phase === 'serving');
});

const WAIT = 'wait()';
const REUSE = (name: string): string => `${name}.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)`;

/** A server that takes these steps, and serves. */
function binding(...steps: readonly string[]): { command(port: number): readonly string[]; goOn(): void } {
  const file = join(temporaryFolder(), 'go-on');
  const script = `${IMPORTS}, time
${ANSWER}
port, file = int(sys.argv[1]), sys.argv[2]
listener, other = socket.socket(), socket.socket()
def bind(one, at): one.bind(('127.0.0.1', at))
def wait():
    print('waits', flush=True)
    while not os.path.exists(file): time.sleep(0.002)
${steps.join('\n')}
serve(listener)`;
  return { command: (port) => python(script, port, file), goOn: () => writeFileSync(file, '') };
}

/** The inodes of what holders have beside the keeper, or have after it. */
function heldBeside(keeper: RunningKeeper): readonly number[] {
  return findHolders(stateFileOf(keeper)).flatMap(({ sockets }) => [...sockets.keys()]);
}
