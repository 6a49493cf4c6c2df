import { chmodSync, readdirSync, readFileSync } from 'node:fs';
import { expect } from 'vitest';
import {
  asNobody,
  holdfast,
  type KeeperOptions,
  type RunningKeeper,
  startKeeper,
} from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { descendantsOf, isAlive, listeners, listeningInode } from '../support/proc.js';
import { type Started, start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { goHttp, nodeHttp, pythonHttp, trap } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { freeze, outcomeOf, queueClients } from './clients.js';
import { IMPORTS, listenersPy, python } from './programs.js';

const isRoot = process.getuid?.() === 0;

/** Without a capability, and without a group. */
const asOrdinaryUser: KeeperOptions = isRoot ? { around: asNobody, stateOwner: 65534 } : {};

for (const { name, needs, command } of [nodeHttp, pythonHttp, goHttp]) {
  testNeeding([...needs, 'setpriv'])(
    `as an ordinary user ${name} is held through crashes, shown and stopped`,
    async () => {
      const port = await freePort();
      const keeper = startKeeper(command(port), { ...asOrdinaryUser, cwd: temporaryFolder() });
      await keeper.holding();
      expect(capabilitiesOf(keeper.worker())).toBe('0000000000000000');
      const inode = listeningInode(port);
      for (let crashes = 0; crashes < 2; crashes++) {
        await keeper.crash();
        expect(`${await outcomeOf(port)}`).toMatch(/^(\d+|answered)$/);
        expect(listeningInode(port)).toBe(inode);
      }
      const shown = ask(keeper, 'status', 'app', '--json');
      expect(await shown.end()).toEqual({ code: 0, signal: null });
      expect(JSON.stringify(JSON.parse(shown.stdout) as unknown)).toContain(`"inode":${inode}`);
      const stopped = ask(keeper, 'stop', 'app');
      expect(await stopped.end()).toEqual({ code: 0, signal: null });
      await keeper.process.end();
      expect(listeners(port)).toEqual([]);
      expect((await ask(keeper, 'status', 'app').end()).code).not.toBe(0);
    },
  );
}

testNeeding(['python3', 'setpriv'])(
  'as an ordinary user, clients wait while the server starts again',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(nodeHttp.command(port, '--boot', '300'), asOrdinaryUser);
    await keeper.holding();
    await freeze(keeper.worker());
    const waiting = await queueClients(port, 50);
    const pid = await keeper.crash();
    expect(await waiting.outcomes).toEqual(Array(50).fill(pid));
  },
);

testNeeding(['python3', 'setpriv'])(
  'as an ordinary user, --listen hands over what that user may bind',
  async () => {
    const port = await freePort();
    const keeper = startKeeper(listenersPy('fd:3'), {
      ...asOrdinaryUser,
      flags: ['--listen', `127.0.0.1:${port}`],
    });
    await keeper.holding();
    const inode = listeningInode(port);
    const pid = await keeper.crash();
    expect(await outcomeOf(port)).toBe(pid);
    expect(listeningInode(port)).toBe(inode);
  },
);

testNeeding('setpriv')('a folder of PATH that the user may not enter is passed over', async () => {
  const closed = temporaryFolder();
  chmodSync(closed, isRoot ? 0o700 : 0);
  const keeper = startKeeper(['true'], { ...asOrdinaryUser, env: { PATH: `${closed}:${process.env.PATH}` } });
  expect(await keeper.process.end()).toEqual({ code: 0, signal: null });
});

testNeeding(['root', 'unshare'])(
  'as PID 1 it forwards signals, and gives the exit code of the server',
  async () => {
    const port = await freePort();
    const keeper = startAsInit(python(SAYS_SIGNALS, port));
    await keeper.holding();
    expect(keeper.state().pid).toBe(1);
    const init = initOf(keeper);
    for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) {
      process.kill(init, signal);
      await keeper.process.line(new RegExp(`^got ${signal}$`));
    }
    process.kill(init, 'SIGTERM');
    await keeper.process.line(/^got SIGTERM$/);
    expect(await keeper.process.end()).toEqual({ code: 7, signal: null });
  },
);

testNeeding(['root', 'unshare', 'cc'])('as PID 1 it ends a server that ignores the stop signal', async () => {
  const port = await freePort();
  const keeper = startAsInit(trap('ignore-sigterm').command(port), ['--stop-timeout', '300ms']);
  await keeper.holding();
  process.kill(initOf(keeper), 'SIGTERM');
  expect(await keeper.process.end()).toEqual({ code: 137, signal: null });
  expect(listeners(port)).toEqual([]);
});

testNeeding(['root', 'unshare', 'python3'])(
  'as PID 1 it reaps orphans, whoever made them, while the server runs',
  async () => {
    const port = await freePort();
    const keeper = startAsInit(python(MAKES_ORPHANS, port, 30));
    await keeper.holding();
    await keeper.process.line(/^orphans ended: 30$/);
    const init = initOf(keeper);
    await until('only the server is left', () => childrenOf(init).length === 1);
    expect(stateOf(childrenOf(init)[0] as number)).not.toBe('Z');
  },
);

testNeeding(['root', 'unshare', 'python3'])('as PID 1 it keeps the port through crashes', async () => {
  const port = await freePort();
  const keeper = startAsInit(nodeHttp.command(port));
  const { sockets } = await keeper.holding();
  const init = initOf(keeper);
  for (let crashes = 0; crashes < 3; crashes++) {
    const [server = 0] = descendantsOf(init);
    await freeze(server);
    const waiting = await queueClients(port, 5);
    const pid = await keeper.restarts(() => process.kill(server, 'SIGKILL'));
    expect(await waiting.outcomes).toEqual(Array(5).fill(pid));
    expect(listeningInode(port)).toBe(sockets[0]?.inode);
    expect(isAlive(server)).toBe(false);
  }
  process.kill(init, 'SIGTERM');
  await keeper.process.end();
  expect(listeners(port)).toEqual([]);
});

function ask(keeper: RunningKeeper, ...args: readonly string[]): Started {
  const command = [...holdfast, ...args];
  return start(isRoot ? asNobody(command) : command, { env: keeper.env });
}

/** As a container's first process: its pid is 1, and nobody is there to take orphans but itself. */
function startAsInit(command: readonly string[], flags: readonly string[] = []): RunningKeeper {
  const around = (keeper: readonly string[]): readonly string[] => [
    ...[binaryOf('unshare'), '--pid', '--fork', '--mount-proc'],
    ...keeper,
  ];
  return startKeeper(command, { around, flags });
}

/** The number that such a keeper has for us. */
function initOf(keeper: RunningKeeper): number {
  const [init] = descendantsOf(keeper.process.pid);
  if (init === undefined) throw new Error('it has ended');
  return init;
}

/** Zombies too. @see proc_pid_task(5) */
function childrenOf(pid: number): readonly number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8')
      .split(' ')
      .filter((child) => child !== '')
      .map(Number),
  );
}

function stateOf(pid: number): string | undefined {
  return /^State:\s*(\w)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
}

function capabilitiesOf(pid: number): string | undefined {
  return /^CapEff:\s*(\w+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
}

const SAYS_SIGNALS: string = `${IMPORTS}
def got(number, frame):
    # One signal may come while another one is told: print would not let it.
    os.write(1, f'got {signal.Signals(number).name}\\n'.encode())
    if number == signal.SIGTERM: sys.exit(7)
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM): signal.signal(number, got)
s = socket.create_server(('127.0.0.1', int(sys.argv[1])))
while True: signal.pause()
`;

// Each orphan's parent ends before it does; the pipe tells when the last orphan has.
const MAKES_ORPHANS: string = `${IMPORTS}
s = socket.create_server(('127.0.0.1', int(sys.argv[1])))
count = int(sys.argv[2])
ended, running = os.pipe()
for _ in range(count):
    gone, parent = os.pipe()
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:
            os.close(parent)
            os.read(gone, 1)
        os._exit(0)
    os.close(parent)
    os.waitpid(pid, 0)
os.close(running)
os.read(ended, 1)
print('orphans ended:', count, flush=True)
signal.pause()
`;
