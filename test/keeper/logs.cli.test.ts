import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { holdfast, type KeeperOptions, type RunningKeeper, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { isAlive, openFiles } from '../support/proc.js';
import { type Started, start } from '../support/process.js';
import { nodeHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { reloaded } from './reloads.js';

test('--log-file: stdout and stderr go to NAME.log in the state folder, of all starts, readable by us alone', async () => {
  const { keeper, log } = await startWriter(['--log-file']);
  const first = keeper.worker();
  const next = await keeper.crash();
  await until('both starts', () => textOf(log).includes(`begins ${next}\n`));
  expect(textOf(log)).toContain(`begins ${first}\n`);
  expect(textOf(log)).toContain(`complains ${first}\n`);
  expect(statSync(log).mode & 0o777).toBe(0o600);
  expect(keeper.process.stdout).toBe('');
  expect(keeper.process.stderr).not.toContain('complains');
  // Straight: what the server has at 1 and 2 is the file.
  const targets = openFiles(next).filter(({ fd }) => fd === 1 || fd === 2);
  expect(targets.map(({ target }) => target)).toEqual([log, log]);
  expect(keeper.state().log).toBe(log);
  expect((await keeper.ask('status', keeper.name)).stdout).toContain(`  output: ${log}\n`);
});

test('what the server writes after the keeper was killed is in the file, and logs shows it', async () => {
  const { keeper, log } = await startWriter(['--log-file']);
  const server = keeper.worker();
  process.kill(keeper.state().pid, 'SIGKILL');
  await keeper.process.end();
  const before = ticksIn(textOf(log));
  await until('more lines', () => ticksIn(textOf(log)) > before + 5);
  expect(isAlive(server)).toBe(true);
  const { stdout, exit } = await keeper.ask('logs', keeper.name, '-n', '3');
  expect(exit.code).toBe(0);
  expect(stdout).toMatch(/^(tick \d+ x+\n){3}$/);
});

test('a file that is too long is moved to PATH.1, and no line is in neither', async () => {
  const folder = temporaryFolder();
  const log = join(folder, 'server.log');
  const { keeper } = await startWriter(['--log-file', log, '--log-max-size', '4K'], {}, log);
  await until('the move', () => textOf(`${log}.1`) !== '');
  // Both at one time: between two moves.
  const [moved, now] = await until('lines in both', () => {
    const { ino } = statSync(`${log}.1`);
    const both = [numbersIn(textOf(`${log}.1`)), numbersIn(textOf(log))] as const;
    return both[1].length > 0 && statSync(`${log}.1`).ino === ino ? both : undefined;
  });
  expect(statSync(`${log}.1`).mode & 0o777).toBe(0o600);
  // The last of the one and the first of the other.
  expect(now[0]).toBe((moved.at(-1) ?? 0) + 1);
  expect(keeper.process.stderr).not.toContain('cannot move');
});

test('a file that another program has moved away is opened anew by the next start, as after a reload', async () => {
  const log = join(temporaryFolder(), 'server.log');
  const { keeper } = await startWriter(['--log-file', log], {}, log);
  const first = keeper.worker();
  renameSync(log, `${log}.old`);
  const second = await reloaded(keeper);
  await until('its output', () => textOf(log).includes(`begins ${second}\n`));
  expect(textOf(log)).not.toContain(`${first}\n`);
  expect(textOf(`${log}.old`)).toContain(`begins ${first}\n`);
  expect(statSync(log).mode & 0o777).toBe(0o600);
});

test('what cannot be moved away is told once, stays, and is moved when it can be', async () => {
  const log = join(temporaryFolder(), 'server.log');
  mkdirSync(`${log}.1`);
  const { keeper } = await startWriter(['--log-file', log, '--log-max-size', '4K'], {}, log);
  await keeper.process.line(/cannot move the content of .*server\.log away: /);
  await until('several looks', () => statSync(log).size > 4 * 4096, { timeoutMs: 20_000 });
  expect(numbersIn(textOf(log))[0]).toBe(1);
  expect(keeper.process.lines(/cannot move/)).toHaveLength(1);
  rmdirSync(`${log}.1`);
  await until('the move', () => numbersIn(textOf(`${log}.1`))[0] === 1, { timeoutMs: 20_000 });
});

test('logs -f goes through a move without missing a line', async () => {
  const { keeper, log } = await startWriter(['--log-file', '--log-max-size', '8K']);
  const followed = startLogs(keeper, '-f', '-n', '1');
  await followed.line(/^tick \d+ x+$/);
  await until('the move', () => textOf(`${log}.1`) !== '', { timeoutMs: 20_000 });
  const seen = (): readonly number[] => numbersIn(followed.stdout);
  const after = numbersIn(textOf(log)).at(-1) ?? 0;
  await until('lines of after the move', () => (seen().at(-1) ?? 0) > after + 10);
  const [first = 0] = seen();
  expect(seen()).toEqual(seen().map((_, index) => first + index));
});

test('logs -f goes on after somebody else has emptied the file', async () => {
  const { keeper, log } = await startWriter(['--log-file']);
  const followed = startLogs(keeper, '-f', '-n', '0');
  await followed.line(/^tick \d+ x+$/);
  truncateSync(log);
  const { length } = numbersIn(followed.stdout);
  await until('it goes on', () => numbersIn(followed.stdout).length > length + 10);
  // Written where the file ends, not where the server was: no hole.
  expect(readFileSync(log).includes(0)).toBe(false);
});

test('logs -f and events -f end when their reader has seen enough', async () => {
  const { keeper } = await startWriter(['--log-file']);
  const program = holdfast.map((word) => `'${word}'`).join(' ');
  const logs = start(['sh', '-c', `${program} logs app -f | head -1`], { env: keeper.env });
  expect(await logs.end()).toEqual({ code: 0, signal: null });
  expect(logs.stdout).toMatch(/^.+\n$/);
  const events = start(['sh', '-c', `{ ${program} events app -f; echo "exit $?" >&2; } | head -1`], {
    env: keeper.env,
  });
  await events.line(/started, pid/);
  // What it writes next has no reader.
  await keeper.crash();
  await events.line(/^exit 0$/);
  expect(events.stderr).toBe('exit 0\n');
});

test('logs -n counts lines over the move', async () => {
  const { keeper, log } = await startWriter(['--log-file'], { quiet: true });
  writeFileSync(`${log}.1`, 'one\ntwo\nthree\n');
  writeFileSync(log, 'four\nfive\n');
  const lines = async (count: number): Promise<string> =>
    (await keeper.ask('logs', keeper.name, '-n', `${count}`)).stdout;
  expect(await lines(0)).toBe('');
  expect(await lines(1)).toBe('five\n');
  expect(await lines(2)).toBe('four\nfive\n');
  expect(await lines(4)).toBe('two\nthree\nfour\nfive\n');
  expect(await lines(9)).toBe('one\ntwo\nthree\nfour\nfive\n');
  appendFileSync(log, 'si');
  expect(await lines(2)).toBe('five\nsi');
  truncateSync(log);
  expect(await lines(2)).toBe('two\nthree\n');
});

test('logs of a keeper that has ended shows what is left in the state folder', async () => {
  const { keeper, log } = await startWriter(['--log-file']);
  await until('more lines than are shown', () => ticksIn(textOf(log)) > 20);
  await keeper.ask('stop', keeper.name);
  await keeper.process.end();
  const { exit, stdout } = await keeper.ask('logs', keeper.name);
  expect(exit.code).toBe(0);
  expect(stdout.split('\n')).toHaveLength(11);
});

test('without --log-file logs says where the output went, with exit code 2', async () => {
  const keeper = startKeeper(nodeHttp.command(await freePort()));
  await keeper.holding();
  const { exit, stdout, stderr } = await keeper.ask('logs', keeper.name);
  expect({ code: exit.code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(/goes where "holdfast run" was started .*--log-file.*\[ERR_HOLDFAST_NO_LOG\]\n$/);
  expect(keeper.state().log).toBeNull();
  const other = await keeper.ask('logs', 'nobody');
  expect(other.stderr).toMatch(/no keeper named "nobody" runs.*\[ERR_HOLDFAST_NOT_RUNNING\]/);
});

test('a log file that cannot be opened is told before anything starts', async () => {
  for (const path of ['/nowhere/server.log', '/dev/null']) {
    const keeper = startKeeper(nodeHttp.command(await freePort()), { flags: ['--log-file', path] });
    expect(await keeper.process.end()).toEqual({ code: 2, signal: null });
    expect(keeper.process.stderr).toMatch(
      /^holdfast: --log-file .*; name a file .*\[ERR_HOLDFAST_LOG_FILE\]\n$/,
    );
    expect(keeper.process.stdout).toBe('');
  }
});

testNeeding('root')(
  'a user that renames its log gets no file of root opened, and its server goes on',
  async () => {
    const [folder, closed] = [temporaryFolder(), temporaryFolder()];
    chmodSync(folder, 0o755);
    chownSync(folder, 65534, 65534);
    chmodSync(closed, 0o700);
    const [log, secret] = [join(folder, 'server.log'), join(closed, 'secret')];
    const { keeper } = await startWriter(['--log-file', log, '--user', 'nobody'], {}, log);
    renameSync(log, `${log}.old`);
    symlinkSync(secret, log);
    const next = await keeper.crash();
    await keeper.process.line(/--log-file .*: .*(EACCES|permission denied)/);
    expect(existsSync(secret)).toBe(false);
    await until('its output', () => textOf(`${log}.old`).includes(`begins ${next}\n`));
    // A name that leads nowhere is no reason not to start either.
    unlinkSync(log);
    symlinkSync('server.log', log);
    const last = await keeper.crash();
    await until('its output', () => textOf(`${log}.old`).includes(`begins ${last}\n`));
    // What is to be had as that user is had.
    unlinkSync(log);
    const own = await keeper.crash();
    await until('its output', () => textOf(log).includes(`begins ${own}\n`));
    expect(statSync(log).uid).toBe(65534);
  },
);

test('a file that another program has moved to PATH.1 is left alone there', async () => {
  const log = join(temporaryFolder(), 'server.log');
  const flags = ['--log-file', log, '--log-max-size', '1M'];
  const { keeper } = await startWriter(flags, {}, log);
  const first = keeper.worker();
  renameSync(log, `${log}.1`);
  appendFileSync(`${log}.1`, `${'y'.repeat(1_100_000)}\n`);
  const before = ticksIn(textOf(`${log}.1`));
  // Longer than until the next look at its size.
  await until('more lines', () => ticksIn(textOf(`${log}.1`)) > before + 150);
  const second = await reloaded(keeper);
  await until('its output', () => textOf(log).includes(`begins ${second}\n`));
  expect(textOf(`${log}.1`)).toContain(`begins ${first}\n`);
});

testNeeding('root')('with --user a new log file belongs to that user', async () => {
  const { log } = await startWriter(['--log-file', '--user', 'nobody']);
  const { uid, mode } = statSync(log);
  expect({ uid, mode: mode & 0o777 }).toEqual({ uid: 65534, mode: 0o600 });
});

const WRITER = `
let count = 0;
console.log('begins ' + process.pid);
console.error('complains ' + process.pid);
require('node:net').createServer().listen(process.env.PORT, '127.0.0.1', () => {
  if (process.env.QUIET !== 'yes') setInterval(() => console.log('tick ' + ++count + ' ' + 'x'.repeat(200)), 10);
});
`;

/** A keeper whose server writes a numbered line every 10 ms, unless it is to be quiet. */
async function startWriter(
  flags: readonly string[],
  { quiet = false, ...options }: KeeperOptions & { readonly quiet?: boolean } = {},
  path?: string,
): Promise<{ readonly keeper: RunningKeeper; readonly log: string }> {
  const port = await freePort();
  const keeper = startKeeper([process.execPath, '-e', WRITER], {
    ...options,
    flags,
    env: { PORT: `${port}`, QUIET: quiet ? 'yes' : undefined },
  });
  await keeper.holding();
  return { keeper, log: path ?? join(keeper.env.HOLDFAST_STATE_DIR, `${keeper.name}.log`) };
}

function startLogs(keeper: RunningKeeper, ...options: readonly string[]): Started {
  return start([...holdfast, 'logs', keeper.name, ...options], { env: keeper.env });
}

/** Empty while there is none. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** The numbers of the ticks, of whole lines alone. */
function numbersIn(text: string): readonly number[] {
  return [...text.matchAll(/^tick (\d+) x{200}\n/gm)].map(([, number]) => Number(number));
}

function ticksIn(text: string): number {
  return numbersIn(text).length;
}
