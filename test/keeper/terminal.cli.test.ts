import { spawnSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { KeeperState } from '../../src/index.js';
import { type KeeperOptions, type RunningKeeper, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { isAlive, listeners, listeningInode } from '../support/proc.js';
import { binaryOf } from '../support/requirement.js';
import { nodeHttp, trap } from '../support/servers.js';
import { onTerminal, shellWords } from '../support/shell.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { outcomeOf, queueClients } from './clients.js';
import { IMPORTS, listenersPy, python } from './programs.js';

testNeeding(['script', 'python3'])(
  'Ctrl-C ends keeper and server once: the server gets one SIGINT',
  async () => {
    const port = await freePort();
    const keeper = keeperOnTerminal(python(COUNTS_INTERRUPTS, port));
    await keeper.holding();
    type(keeper, '\x03');
    await keeper.process.line(/interrupted/);
    await keeper.process.line(/stopping with SIGINT/);
    type(keeper, 'q\n');
    expect((await keeper.process.line(/interrupts (\d+)/))[1]).toBe('1');
    expect(await keeper.process.end()).toEqual({ code: 3, signal: null });
    expect(keeper.process.lines(/stopping/)).toHaveLength(1);
    expect(keeper.process.lines(/started again/)).toEqual([]);
  },
);

testNeeding(['script'])('Ctrl-C ends a server that does nothing about it, as if it ran bare', async () => {
  const port = await freePort();
  const keeper = keeperOnTerminal(nodeHttp.command(port));
  await keeper.holding();
  const pid = keeper.worker();
  type(keeper, '\x03');
  expect(await keeper.process.end()).toEqual({ code: 130, signal: null });
  expect(isAlive(pid)).toBe(false);
  expect(keeper.process.lines(/started again/)).toEqual([]);
});

testNeeding(['script', 'cc'])('a second Ctrl-C ends a server that ignores the first, at once', async () => {
  const port = await freePort();
  const keeper = keeperOnTerminal(trap('ignore-sigterm').command(port));
  await keeper.holding();
  const pid = keeper.worker();
  type(keeper, '\x03');
  await keeper.process.line(/stopping with SIGINT/);
  expect(isAlive(pid)).toBe(true);
  type(keeper, '\x03');
  expect(await keeper.process.end(5_000)).toEqual({ code: 137, signal: null });
  expect(isAlive(pid)).toBe(false);
});

for (const server of ['node', 'ignore-sigterm'] as const) {
  testNeeding(['script', 'cc'])(`closing the terminal ends keeper and server (${server})`, async () => {
    const port = await freePort();
    const command = server === 'node' ? nodeHttp.command(port) : trap(server).command(port);
    const keeper = keeperOnTerminal(command, { flags: ['--stop-timeout', '500ms'] });
    const { pid } = await keeper.holding();
    const worker = keeper.worker();
    keeper.process.kill('SIGKILL'); // script, and with it the terminal
    await until('the end of both', () => !isAlive(pid) && !isAlive(worker));
    expect(listeners(port)).toEqual([]);
    expect(() => keeper.state()).toThrow('ENOENT'); // it ended in order
  });
}

testNeeding(['script', 'bash'])(
  'closing the terminal of an interactive shell ends keeper and server',
  async () => {
    const port = await freePort();
    const keeper = inShell(nodeHttp.command(port));
    const { pid } = await keeper.holding();
    const worker = keeper.worker();
    keeper.process.kill('SIGKILL');
    await until('the end of both', () => !isAlive(pid) && !isAlive(worker));
  },
);

for (const [title, after, log] of [
  ['its output in nohup.out', '', 'nohup.out'],
  ['its output elsewhere', '> log 2>&1', 'log'],
] as const) {
  testNeeding(['script', 'bash', 'python3'])(
    `nohup: closing the terminal leaves keeper and server alone, ${title}`,
    async () => {
      const port = await freePort();
      const folder = temporaryFolder();
      const server = listenersPy(`127.0.0.1:${port}`);
      const keeper = inShell(server, { cwd: folder, before: 'nohup', after });
      const { pid } = await keeper.untilState('it serves', serves);
      const worker = keeper.worker();
      expect(readFileSync(join(folder, log), 'utf8')).toMatch(/holdfast: started/);
      expect(ignoresHangup(worker)).toBe(true);
      await closeTerminal(keeper, pid);
      expect(await outcomeOf(port)).toBe(worker);
      process.kill(worker, 'SIGKILL');
      const again = await keeper.untilState('the next start', (state) => isNext(state, worker));
      const next = again.worker?.pid ?? 0;
      // It is the server by now, not the shell on its way to it.
      expect(await outcomeOf(port)).toBe(next);
      expect(ignoresHangup(next)).toBe(true);
      process.kill(pid, 'SIGTERM');
      await until('the end of both', () => !isAlive(pid) && !isAlive(next));
    },
  );
}

testNeeding(['script', 'bash'])(
  'nohup: a Node server, which never ignores SIGHUP, is there afterwards',
  async () => {
    const port = await freePort();
    const keeper = inShell(nodeHttp.command(port), { cwd: temporaryFolder(), before: 'nohup' });
    const { pid } = await keeper.untilState('it serves', serves);
    await closeTerminal(keeper, pid);
    // A request that the server has taken when SIGHUP ends it fails; those that come then are answered.
    await until('an answer', async () => typeof (await outcomeOf(port)) === 'number');
    expect(isAlive(pid)).toBe(true);
  },
);

test('SIGHUP without a terminal reloads', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { detached: true }); // with a terminal it means the end
  await keeper.holding();
  const former = keeper.worker();
  keeper.process.kill('SIGHUP');
  await keeper.process.line(/generation 2 has taken over/);
  await until('the end of the former', () => !isAlive(former));
  const { worker } = await keeper.untilState('generation 2', ({ generation }) => generation === 2);
  expect(await outcomeOf(port)).toBe(worker?.pid);
});

testNeeding('script')('keys reach a server in raw mode, Ctrl-C and Ctrl-Z as keys too', async () => {
  const port = await freePort();
  const keeper = keeperOnTerminal(rawServer(port));
  await keeper.holding();
  for (const key of ['r', '\x03', '\x1a', '\x04', '\x1b[A']) {
    type(keeper, key);
    await keeper.process.line(new RegExp(`^key ${Buffer.from(key).toString('hex')}`));
  }
  expect(await outcomeOf(port)).toBe(keeper.worker());
  const pid = await keeper.crash();
  await keeper.process.line(/^raw/, { after: 1 });
  type(keeper, 'x');
  await keeper.process.line(/^key 78/);
  expect(await outcomeOf(port)).toBe(pid);
});

testNeeding('script')('the server has the terminal as its own, in both directions', async () => {
  const port = await freePort();
  const script = `console.log('tty ' + [process.stdin.isTTY, process.stdout.isTTY, process.stderr.isTTY])`;
  const keeper = keeperOnTerminal([
    process.execPath,
    '-e',
    `${script}; require('net').createServer().listen(${port})`,
  ]);
  await keeper.process.line(/^tty true,true,true/);
});

testNeeding('script')(
  'the modes of the terminal are restored after a server in raw mode is killed',
  async () => {
    const port = await freePort();
    const keeper = keeperOnTerminal(rawServer(port), { flags: ['--restart', 'never'], after: '; stty -a' });
    await keeper.holding();
    const worker = keeper.worker();
    expect(modesOf(worker)).toMatch(/-icanon/);
    process.kill(worker, 'SIGKILL');
    await keeper.process.line(/^speed/);
    await keeper.process.end();
    expect(keeper.process.stdout).toMatch(/\sicanon/);
    expect(keeper.process.stdout).toMatch(/\secho\s/);
    expect(keeper.process.stdout).toMatch(/\sisig/);
  },
);

testNeeding(['script', 'bash'])(
  'Ctrl-Z stops keeper and server, and fg lets both go on with those who waited',
  async () => {
    const port = await freePort();
    const keeper = inShell(nodeHttp.command(port));
    const { pid } = await keeper.holding();
    const worker = keeper.worker();
    for (let times = 0; times < 2; times++) {
      type(keeper, '\x1a');
      await until('both stand still', () => stateOf(pid) === 'T' && stateOf(worker) === 'T');
      await keeper.process.line(/Stopped/, { after: times });
      const waiting = await queueClients(port, 3);
      type(keeper, 'fg\n');
      expect(await waiting.outcomes).toEqual([worker, worker, worker]);
    }
    const again = await keeper.crash();
    expect(await outcomeOf(port)).toBe(again);
    type(keeper, '\x03');
    await until('the end of both', () => !isAlive(pid) && !isAlive(again));
  },
);

testNeeding(['script', 'bash'])(
  'a keeper in the background of a terminal starts its server again',
  async () => {
    const port = await freePort();
    const keeper = inShell(nodeHttp.command(port), { after: '&' });
    const { pid } = await keeper.holding();
    const inode = listeningInode(port);
    type(keeper, 'echo the shell goes on\n');
    await keeper.process.line(/^the shell goes on/);
    for (let crashes = 0; crashes < 2; crashes++) {
      const worker = await keeper.crash();
      expect(await outcomeOf(port)).toBe(worker);
      expect(listeningInode(port)).toBe(inode);
    }
    expect(stateOf(pid)).not.toBe('T');
    type(keeper, '\x03'); // is the shell's
    await keeper.process.line(/\^C/); // it also discards what is typed before
    type(keeper, 'echo and on\n');
    await keeper.process.line(/^and on/);
    expect(await outcomeOf(port)).toBe(keeper.worker());
    type(keeper, 'fg\n');
    await until('it has the terminal', () => foregroundGroupOf(pid) === groupOf(pid));
    type(keeper, '\x03');
    await until('its end', () => !isAlive(pid));
  },
);

/** Ends `script`, and with it the terminal and the shell in which the process is a job. */
async function closeTerminal(keeper: RunningKeeper, job: number): Promise<void> {
  const shell = parentOf(job);
  keeper.process.kill('SIGKILL');
  // It passes the signal on to its jobs before it ends.
  await until('the end of the shell', () => !isAlive(shell));
}

const serves = (state: KeeperState): boolean => state.sockets.some((socket) => socket.served);

const isNext = ({ worker }: KeeperState, killed: number): boolean => worker !== null && worker.pid !== killed;

function ignoresHangup(pid: number): boolean {
  const ignored = /^SigIgn:\s*([0-9a-f]+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
  return (BigInt(`0x${ignored}`) & 1n) === 1n;
}

interface TerminalOptions extends KeeperOptions {
  /** Words before the keeper's command, and shell text after it. */
  readonly before?: string;
  readonly after?: string;
}

/** A keeper that leads the session of a terminal of its own. What is typed goes to the terminal. */
function keeperOnTerminal(
  command: readonly string[],
  { after = '', ...options }: TerminalOptions = {},
): RunningKeeper {
  const exec = after === '' ? 'exec ' : '';
  return startKeeper(command, {
    ...options,
    stdio: ['pipe', 'pipe', 'pipe'],
    around: (keeper) => onTerminal(`${exec}${shellWords(keeper)} ${after}`),
  });
}

/** A keeper that an interactive shell runs as a job. */
function inShell(
  command: readonly string[],
  { before = '', after = '', ...options }: TerminalOptions = {},
): RunningKeeper {
  let typed = '';
  const keeper = startKeeper(command, {
    ...options,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PS1: '', HISTFILE: '/dev/null', INPUTRC: '/dev/null' },
    around: (words) => {
      typed = `${before} ${shellWords(words)} ${after}\n`;
      return onTerminal(`exec ${binaryOf('bash')} --norc --noprofile --noediting -i`);
    },
  });
  type(keeper, typed);
  return keeper;
}

function type(keeper: RunningKeeper, keys: string): void {
  keeper.process.child.stdin?.write(keys);
}

function rawServer(port: number): readonly string[] {
  const script = `
    process.stdin.setRawMode(true);
    process.stdin.on('data', (keys) => console.log('key ' + keys.toString('hex')));
    const answer = (request, response) => response.end('pid ' + process.pid);
    require('http').createServer(answer).listen(${port}, () => console.log('raw'));
  `;
  return [process.execPath, '-e', script];
}

/** The modes of the terminal that is the process's stdin. */
function modesOf(pid: number): string {
  const { stdout } = spawnSync('stty', ['-a', '-F', readlinkSync(`/proc/${pid}/fd/0`)], { encoding: 'utf8' });
  return stdout;
}

/** @see proc_pid_stat(5): the fields after the name, from the state on. */
function statFields(pid: number): readonly string[] {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

const stateOf = (pid: number): string | undefined => statFields(pid)[0];
const parentOf = (pid: number): number => Number(statFields(pid)[1]);
const groupOf = (pid: number): number => Number(statFields(pid)[2]);
const foregroundGroupOf = (pid: number): number => Number(statFields(pid)[5]);

const COUNTS_INTERRUPTS: string = `${IMPORTS}
count = 0
def interrupted(*_):
    global count
    count += 1
    print('interrupted', flush=True)
signal.signal(signal.SIGINT, interrupted)
s = socket.create_server(('127.0.0.1', int(sys.argv[1])))
for line in sys.stdin:
    if line.strip() == 'q': break
print('interrupts', count, flush=True)
sys.exit(3)
`;
