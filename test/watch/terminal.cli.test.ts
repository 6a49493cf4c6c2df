import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { expect } from 'vitest';
import { holdfast } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { type Netns, openNetns } from '../support/netns.js';
import { type Started, start } from '../support/process.js';
import { onTerminal, shellWords } from '../support/shell.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { startActor } from './stage.js';

const NEEDS = ['netns', 'script'] as const;
const ESCAPE = '\x1b';
const ENTER_SCREEN = '\x1b[?1049h';
const LEAVE_SCREEN = '\x1b[?1049l';
/** What a cell is drawn with, but for the colours that NO_COLOR forbids. */
const COLOR = new RegExp(`${ESCAPE}\\[(?:3|4|9|10)\\dm`);

interface Terminal {
  readonly process: Started;
  /** Of `holdfast watch` itself. */
  pid(): number;
  /** What is on the screen: the lines of the last frame. */
  frame(): readonly string[];
  type(keys: string): void;
  until(fact: string, pattern: RegExp): Promise<void>;
  /** The modes of the terminal, as stty prints them. */
  modes(): string;
  resize(columns: number, rows: number): void;
}

/** `holdfast watch` in a shell on a terminal of its own; the shell tells how it ended, and the modes of the terminal. */
function watchOnTerminal(
  netns: Netns,
  {
    columns = 60,
    rows = 24,
    env = {},
  }: { columns?: number; rows?: number; env?: Record<string, string | undefined> } = {},
): Terminal {
  const line = shellWords(netns.command([...holdfast, 'watch', '--interval', '200ms']));
  const script = `stty rows ${rows} cols ${columns}; stty -a; ${line}; echo "exit $?"; stty -a; echo over`;
  const terminal = start(onTerminal(script), {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: {
      ...{ TERM: 'xterm-256color', LANG: 'C.UTF-8', LC_ALL: undefined, CI: '1' },
      ...{ NO_COLOR: undefined, FORCE_COLOR: undefined, HOLDFAST_STATE_DIR: temporaryFolder() },
      ...env,
    },
  });
  const pid = (): number => {
    const found = watchers(terminal.pid)[0];
    if (found === undefined) throw new Error('holdfast watch does not run');
    return found;
  };
  const frame = (): readonly string[] => {
    const screen = terminal.stdout.slice(terminal.stdout.lastIndexOf(ENTER_SCREEN) + ENTER_SCREEN.length);
    return lastFrame(screen.split(LEAVE_SCREEN)[0] ?? '');
  };
  const stty = (...args: readonly string[]): string =>
    spawnSync('stty', ['-F', readlinkSync(`/proc/${pid()}/fd/0`), ...args], { encoding: 'utf8' }).stdout;
  return {
    process: terminal,
    pid,
    frame,
    type: (keys) => terminal.child.stdin?.write(keys),
    until: async (fact, pattern) => {
      await until(fact, () => {
        if (terminal.exit !== undefined) throw new Error(`it has ended: ${terminal.stdout}`);
        return terminal.stdout.includes(ENTER_SCREEN) && frame().some((line) => pattern.test(line));
      });
    },
    modes: () => stty('-a'),
    resize: (width, height) => stty('cols', `${width}`, 'rows', `${height}`),
  };
}

/** Frames are drawn one over the other, each within marks of a synchronized update. */
function lastFrame(screen: string): readonly string[] {
  const frames = screen.split('\x1b[?2026h').filter((frame) => frame.includes('\x1b[?2026l'));
  const text = (frames.at(-1) ?? '').split('\x1b[?2026l')[0] ?? '';
  return text.replace(new RegExp(`${ESCAPE}\\[[?\\d;]*[A-Za-z]`, 'g'), '').split(/\r?\n/);
}

function watchers(root: number): readonly number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && isWatcher(pid) && descendsFrom(pid, root));
}

function isWatcher(pid: number): boolean {
  const words = read(`/proc/${pid}/cmdline`).split('\0');
  return words[0] === process.execPath && words.includes('watch');
}

function descendsFrom(pid: number, root: number): boolean {
  for (let at = pid; at > 1; ) {
    if (at === root) return true;
    at = Number(/^PPid:\s*(\d+)/m.exec(read(`/proc/${at}/status`))?.[1] ?? 0);
  }
  return false;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // it has ended
  }
}

/** The terminal is as it was, the shell's screen is back with its cursor, and the shell goes on. */
async function leftAsFound(terminal: Terminal, code: number): Promise<void> {
  await terminal.process.line(/^over/);
  const { stdout } = terminal.process;
  const after = stdout.slice(stdout.lastIndexOf(LEAVE_SCREEN));
  expect(stdout.split(ENTER_SCREEN)).toHaveLength(2);
  expect(after).toContain(`exit ${code}`);
  expect(after).not.toContain('\x1b[?25l');
  const [before, then] = [stdout, after].map((text) =>
    /intr.*?-extproc/s.exec(text)?.[0].replace(/\s+/g, ' '),
  );
  expect(then).toBe(before);
}

testNeeding(NEEDS)(
  'it draws the states and ports, at 60 columns, and again when the terminal grows',
  async () => {
    const netns = await openNetns();
    const actor = await startActor(netns);
    await actor.act(`fds.listener = listenAt('127.0.0.1', 7000), fds.client = connect('127.0.0.1', 7000)`);
    const terminal = watchOnTerminal(netns);
    await terminal.until('two established', /^ESTABLISHED +2 /);
    await terminal.until(
      'the port with its process',
      new RegExp(`^> +7000 +1 +0 +1/128 {2}node \\(${actor.pid}\\)`),
    );
    for (const line of terminal.frame()) expect([...line].length).toBeLessThanOrEqual(60);
    expect(terminal.process.stdout).toMatch(COLOR);
    expect(terminal.modes()).toMatch(/-icanon/);
    await actor.act('fds.child = accept(fds.listener), close(fds.child), close(fds.client)');
    await terminal.until('a countdown', /^TIME_WAIT ends: 0 in 1 s, 0 in 10 s, all in (59|60) s/);
    terminal.resize(140, 40);
    await terminal.until('the wider screen', /^TIME_WAIT ends: .{40,}█/);
    expect(terminal.frame().length).toBeGreaterThan(15);
    terminal.type('q');
    await leftAsFound(terminal, 0);
    await netns.close();
  },
);

testNeeding(NEEDS)('keys choose a port, tell why it is held, and filter', async () => {
  const netns = await openNetns();
  const actor = await startActor(netns);
  await actor.act(`fds.one = listenAt('127.0.0.1', 7000), fds.other = listenAt('127.0.0.1', 7001)`);
  const terminal = watchOnTerminal(netns, { env: { NO_COLOR: '1' } });
  await terminal.until('the first port', /^> +7000/);
  terminal.type('\x1b[B');
  await terminal.until('the second port', /^> +7001/);
  terminal.type('\r');
  await terminal.until('why', /^Port 7001 is held by/);
  terminal.type('\x1b');
  await terminal.until('the ports again', /^> +7001/);
  terminal.type('p');
  await terminal.until('a question', /^port: _/);
  terminal.type('7000');
  await terminal.until('an answer', /^port: 7000_/);
  terminal.type('\r');
  await terminal.until('the filter', /^holdfast watch port 7000 /);
  await terminal.until('one listener', /^LISTEN +1 /);
  terminal.type('i');
  await terminal.until('another question', /^pid of the process: _/);
  terminal.type('2147483647\r');
  await terminal.until('a refusal', /no process has the pid 2147483647/);
  terminal.type('a');
  await terminal.until('all', /^LISTEN +2 /);
  expect(terminal.process.stdout).not.toMatch(COLOR);
  terminal.type('\x03');
  await leftAsFound(terminal, 130);
  await netns.close();
});

for (const [signal, code] of [
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const) {
  testNeeding(NEEDS)(`${signal} leaves the terminal as it was found`, async () => {
    const netns = await openNetns();
    const terminal = watchOnTerminal(netns);
    await terminal.until('a frame', /^LISTEN +0/);
    process.kill(terminal.pid(), signal);
    await leftAsFound(terminal, code);
    await netns.close();
  });
}

testNeeding(NEEDS)(
  'a crash leaves the terminal as it was found, and is told on the screen of the shell',
  async () => {
    const netns = await openNetns();
    const fault = `process.on('SIGUSR2', () => { throw new Error('made by a test'); })`;
    const terminal = watchOnTerminal(netns, {
      env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(fault)}` },
    });
    await terminal.until('a frame', /^LISTEN +0/);
    process.kill(terminal.pid(), 'SIGUSR2');
    await leftAsFound(terminal, 2);
    const { stdout } = terminal.process;
    expect(stdout.slice(stdout.lastIndexOf(LEAVE_SCREEN))).toContain('holdfast: made by a test');
    await netns.close();
  },
);
