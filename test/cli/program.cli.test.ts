import { expect, test } from 'vitest';
import { describeProgram } from '../../src/cli/program.js';
import type { StartOptions } from '../support/process.js';
import { temporaryFolder } from '../support/temporary.js';
import { runHoldfast } from './holdfast.js';

const commands = describeProgram().commands.map((command) => command.name());

test('the commands are those that the help lists', async () => {
  const { code, stdout } = await runHoldfast(['--help']);
  expect(code).toBe(0);
  expect(commands).toEqual([
    'run',
    'adopt',
    'up',
    'down',
    'init',
    'status',
    'events',
    'logs',
    'reload',
    'restart',
    'rollback',
    'scale',
    'unpark',
    'pause',
    'resume',
    'release',
    'take',
    'stop',
    'why',
    'free',
    'wait',
    'watch',
    'port',
    'fan',
    'doctor',
    'systemd',
    'predict',
    'lab',
    'completion',
    'help',
  ]);
  for (const command of commands) expect(stdout).toMatch(new RegExp(`^ {2}${command} `, 'm'));
});

test('the help of every command ends with two examples', async () => {
  for (const args of [[], ...commands.map((command) => [command])]) {
    const { code, stdout, stderr } = await runHoldfast([...args, '--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const examples = stdout.split('\nExamples:\n')[1]?.trimEnd().split('\n') ?? [];
    expect(examples).toHaveLength(2);
    expect(new Set(examples).size).toBe(2);
    for (const example of examples) expect(example).toContain(['holdfast', ...args].join(' '));
  }
});

test('help COMMAND and COMMAND --help say the same', async () => {
  expect(await runHoldfast(['help', 'run'])).toEqual(await runHoldfast(['run', '--help']));
  expect(await runHoldfast(['help'])).toEqual(await runHoldfast(['--help']));
});

test('the usage of run shows where the server stands, and every default', async () => {
  const { stdout } = await runHoldfast(['run', '--help']);
  expect(stdout).toMatch(/^Usage: holdfast run \[options\] -- command\.\.\.$/m);
  const text = stdout.replace(/\s+/g, ' ');
  for (const value of ['"on-failure"', '30s', '"SIGTERM"', '10s', '"text"']) {
    expect(text).toContain(`default: ${value})`);
  }
});

test('without a command the help goes to stderr', async () => {
  const { code, stdout, stderr } = await runHoldfast([]);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toContain('Usage: holdfast');
});

const WRONG: readonly (readonly [line: string, says: RegExp])[] = [
  ['jiggle', /^holdfast: unknown command 'jiggle'\n.*holdfast run -- COMMAND\n$/],
  ['node server.js', /^holdfast: unknown command 'node'\n.*holdfast run -- COMMAND\n$/],
  ['stauts', /Did you mean status\?/],
  ['help jiggle', /^holdfast: unknown command 'jiggle'/],
  ['--jiggle', /^holdfast: unknown option '--jiggle'/],
  [
    'run',
    /^holdfast: there is no command to run; it stands after --, as in: holdfast run -- node server\.js \[/,
  ],
  ['run --', /^holdfast: there is no command to run/],
  ['run --name shop', /^holdfast: there is no command to run/],
  [
    'run --nme shop -- true',
    /^holdfast: unknown option '--nme'\n\(Did you mean --name\?\)\nholdfast run --help/,
  ],
  [
    'run --restart sometimes -- true',
    /'sometimes' is invalid\. Allowed choices are always, on-failure, never\./,
  ],
  ['run --overlap some -- true', /'some' is invalid\. Allowed choices are none\./],
  ['run --log xml -- true', /'xml' is invalid\. Allowed choices are text, json\./],
  ['run --hold-for long -- true', /"long" is no time; write 500ms, 10s, 2m or 1h/],
  ['run --stop-signal SIGFOO -- true', /"SIGFOO" is no signal .* SIGTERM, SIGINT/],
  ['run --listen 99999 -- true', /--listen 99999: a port is a number from 1 to 65535/],
  ['run --name a/b -- true', /"a\/b" cannot be a keeper's name/],
  ['run --log-file --log-max-size 10X -- true', /"10X" is no size; write 512K, 10M or 1G/],
  ['run --log-file --log-max-size 1K -- true', /logMaxBytes is a whole number from 4096, not 1024/],
  ['run --log-max-size 10M -- true', /--log-max-size goes with --log-file/],
  ['run --metrics 9469 -- true', /--metrics 9469: the host is missing; the forms are 127\.0\.0\.1:9469/],
  ['logs -n many', /--lines: "many" is no whole number/],
  ['run --name', /^holdfast: option '--name <name>' argument missing/],
  ['status --jiggle', /^holdfast: unknown option '--jiggle'\nholdfast status --help tells more\n$/],
  ['status one two', /^holdfast: too many arguments for 'status'/],
  ['stop --timeout soon', /"soon" is no time/],
  ['doctor please', /^holdfast: too many arguments for 'doctor'/],
  ['reload shop --batch 2', /^holdfast: --batch goes with --on, which names hosts \[ERR_HOLDFAST_OPTION\]/],
  ['why 8080 -l root', /^holdfast: --user goes with --on, which names hosts/],
  ['reload --on web1', /^holdfast: with --on the keeper is named: holdfast reload shop --on/],
  ['reload shop --on web1 --batch 0%', /"0%" is no batch; write how many hosts, 5, or which share, 10%/],
  ['reload shop --on web[3-1]', /column 5: this range ends before it begins.*\[ERR_HOLDFAST_HOSTS\]/],
  ['reload shop --on web1 -x web1', /^holdfast: --on and -x leave no host/],
  ['why 8080 --on @web', /--groups names the file that has the groups/],
  ['why 8080 --on web1 --remote-holdfast=', /--remote-holdfast says how holdfast is called there/],
  ['completion', /^holdfast: missing required argument 'shell'/],
];

for (const [line, says] of WRONG) {
  test(`"holdfast ${line}" exits 2 and says what is wrong`, async () => {
    const { code, stdout, stderr } = await runHoldfast(line.split(' '), withState());
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(says);
  });
}

test('what stands after -- belongs to the server, whatever it looks like', async () => {
  const { code, stdout } = await runHoldfast(['run', '--', 'echo', '--name', '--help', '-V'], withState());
  expect({ code, stdout }).toEqual({ code: 0, stdout: '--name --help -V\n' });
});

function withState(): StartOptions {
  return { env: { HOLDFAST_STATE_DIR: temporaryFolder() } };
}
