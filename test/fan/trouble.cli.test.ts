import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect } from 'vitest';
import { holdfast } from '../support/keeper.js';
import { testNeeding, whyMissingNeed } from '../support/needing.js';
import { type Started, start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { type Bed, NEEDS, openBed } from './bed.js';
import { must } from './machines.js';

let bed: Bed;

beforeAll(async () => {
  if (NEEDS.every((need) => whyMissingNeed(need) === undefined)) bed = await openBed(10);
});

const WAYS = { rsh: () => ['--rsh'], ssh: () => [...bed.ssh] } as const;
const ODD_RSHD = fileURLToPath(new URL('odd-rshd.js', import.meta.url));

interface Told {
  readonly host: string;
  readonly status: number | null;
  readonly timedOut: boolean;
  readonly error: { readonly phase: string; readonly text: string } | null;
  readonly closedFirst: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function results(...args: string[]): Promise<Told[]> {
  return toldBy((await bed.fan('--json', ...args)).stdout);
}

function toldBy(stdout: string): Told[] {
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Told);
}

/** A server at that port of the hosts' machine. */
async function oddRshd(port: number, way: string): Promise<Started> {
  const server = start(bed.server([process.execPath, ODD_RSHD, `${port}`, way]));
  await server.line(/^listens$/);
  return server;
}

async function sshdWith(port: number, ...options: string[]): Promise<Started> {
  const all = options.flatMap((option) => ['-o', option]);
  const sshd = start(
    bed.server([binaryOf('sshd'), '-D', '-e', '-f', join(bed.folder, 'sshd.conf'), '-p', `${port}`, ...all]),
  );
  await sshd.listening(port);
  return sshd;
}

for (const [way, options] of Object.entries(WAYS)) {
  testNeeding(NEEDS)(
    `${way}: a host that nobody has fails to connect, and the others do not wait for it`,
    async () => {
      const told = await results(
        ...options(),
        '-w',
        '10.77.200.200,h1',
        '--connect-timeout',
        '20s',
        '--',
        'true',
      );
      expect(told.map(({ host, status }) => [host, status])).toEqual([
        ['h1', 0],
        ['10.77.200.200', null],
      ]);
      expect(told[1]?.error?.phase).toBe('connect');
    },
  );

  testNeeding(NEEDS)(
    `${way}: a host that hangs after its output has told it when it is given up`,
    async () => {
      const [told] = await results(...options(), '-w', 'h1', '--timeout', '2s', '--', 'echo out; sleep 1000');
      expect(told).toMatchObject({ status: null, timedOut: true, stdout: 'out\n', error: { phase: 'run' } });
    },
  );

  testNeeding(NEEDS)(`${way}: Ctrl-C once tells where each host is, and twice ends all`, async () => {
    const seconds = way === 'rsh' ? '9671' : '9672';
    const command = [...options(), '-w', 'h[1-3]', '--', `echo up; sleep ${seconds}`];
    // As a terminal does it: the signal is for all processes of the command's group.
    const fan = start(bed.client([...holdfast, 'fan', '-l', bed.user, ...command]), { detached: true });
    await until('three lines', () => fan.stdout.split('\n').length === 4);
    process.kill(-fan.pid, 'SIGINT');
    const [, running] = await fan.line(
      /^holdfast: 0 of 3 done, 0 failed; running: (.*); Ctrl-C again ends all$/,
    );
    expect(running?.match(/h\d for \d+/g)).toHaveLength(3);
    expect(bed.running(`sleep ${seconds}`)).toHaveLength(3);
    process.kill(-fan.pid, 'SIGINT');
    expect((await fan.end(30_000)).code).toBe(1);
    expect(fan.stderr.match(/^h\d: holdfast: stopped \[stopped\]$/gm)).toHaveLength(3);
    await until('no sleep any more', () => bed.running(`sleep ${seconds}`).length === 0);
  });

  testNeeding(NEEDS)(
    `${way}: backslashes arrive as they are, and what is no text is told in base64`,
    async () => {
      const words = ['-w', 'h1', '--', 'printf', '%s', '\\377\\0x'];
      const [told] = await results(...options(), ...words);
      expect(told).toMatchObject({ status: 0, stdout: '\\377\\0x' });
      const [binary] = await results(...options(), '-w', 'h1', '--', 'printf "\\377\\0x"');
      expect(binary).toMatchObject({ status: 0, stdoutEncoding: 'base64', stdout: '/wB4', stderr: '' });
    },
  );
}

testNeeding(NEEDS)('ssh: a host whose key has changed is not talked to', async () => {
  const known = join(temporaryFolder(), 'known_hosts');
  must(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', `${known}.key`]);
  writeFileSync(known, `[h1]:2222 ${readFileSync(`${known}.key.pub`, 'utf8')}`);
  const [told] = await results(
    ...bed.ssh,
    '--ssh-arg',
    `-oUserKnownHostsFile=${known}`,
    '-w',
    'h1',
    '--',
    'true',
  );
  expect(told).toMatchObject({
    status: null,
    stdout: '',
    error: { phase: 'auth', text: 'Host key verification failed.' },
  });
});

testNeeding(NEEDS)(
  'ssh: where a password would be asked for nobody is asked, and the host refuses',
  async () => {
    await sshdWith(2224, 'PasswordAuthentication=yes');
    const noKey = ['--ssh-arg', '-oPubkeyAuthentication=no', '--ssh-arg', '-oStrictHostKeyChecking=no'];
    const [told] = await results(...bed.ssh, ...noKey, '-p', '2224', '-w', 'h1', '--', 'true');
    expect(told).toMatchObject({ error: { phase: 'auth', text: expect.stringContaining('password') } });
  },
);

testNeeding(NEEDS)(
  'ssh: when sshd is killed halfway each of its hosts is lost, with what it has told',
  async () => {
    const sshd = await sshdWith(2225);
    const fan = start(
      bed.client([
        ...[
          ...holdfast,
          'fan',
          '-l',
          bed.user,
          ...bed.ssh,
          '--ssh-arg',
          '-oStrictHostKeyChecking=no',
          '-p',
          '2225',
        ],
        ...['--json', '-w', 'h[1-5],10.77.0.2', '--', 'echo $PPID $$; sleep 9673'],
      ]),
    );
    await until('six sleeps', () => bed.running('sleep 9673').length === 6);
    sshd.kill('SIGKILL');
    for (const pid of bed.running(/^sshd: holdfast/)) process.kill(pid, 'SIGKILL');
    expect((await fan.end(60_000)).code).toBe(1);
    const told = toldBy(fan.stdout);
    expect(told.map(({ error, status }) => [error?.phase, status])).toEqual(Array(6).fill(['lost', null]));
    for (const { stdout } of told) expect(stdout).toMatch(/^\d+ \d+\n$/);
    await until('no sleep any more', () => bed.running('sleep 9673').length === 0);
  },
);

testNeeding(NEEDS)('rsh: when the servers are killed halfway each host is lost', async () => {
  const server = await oddRshd(5141, 'well');
  const fan = start(
    bed.client([
      ...[...holdfast, 'fan', '-l', bed.user, '--rsh', '-p', '5141', '--json', '-w', 'h[1-5]'],
      ...['--', 'echo out; sleep 9674'],
    ]),
  );
  await until('five sleeps', () => bed.running('sleep 9674').length === 5);
  await server.line(/^command begun$/, { after: 4 });
  server.kill('SIGKILL');
  expect((await fan.end(60_000)).code).toBe(1);
  const told = toldBy(fan.stdout);
  expect(told.map(({ error, status }) => [error?.phase, status])).toEqual(Array(5).fill(['lost', null]));
  await until('no sleep any more', () => bed.running('sleep 9674').length === 0);
});

testNeeding(NEEDS)('rsh: a slow server has its time', async () => {
  await oddRshd(5142, 'slow');
  const [told] = await results('--rsh', '-p', '5142', '-w', 'h1', '--', 'echo slow');
  expect(told).toMatchObject({ status: 0, stdout: 'slow\n', error: null, closedFirst: 0 });
});

testNeeding(NEEDS)('rsh: what a server says before the command is no output of it', async () => {
  await oddRshd(5145, 'greets');
  const [told] = await results('--rsh', '-p', '5145', '-w', 'h1', '--', 'echo out');
  expect(told).toMatchObject({ status: 0, stdout: 'out\n', stderr: 'Welcome\n' });
});

testNeeding(NEEDS)('rsh: a server that refuses is told in its own words', async () => {
  await oddRshd(5143, 'refuses');
  const [told] = await results('--rsh', '-p', '5143', '-w', 'h1', '--', 'true');
  expect(told).toMatchObject({
    status: null,
    stdout: '',
    error: { phase: 'auth', text: 'Permission denied.' },
  });
});

testNeeding(NEEDS)(
  'rsh: a server that never closes is closed first after its time, and counted',
  async () => {
    const server = await oddRshd(5144, 'never closes');
    const options = ['--rsh', '-p', '5144', '-w', 'h1', '--close-timeout', '100ms'];
    const [told] = await results(...options, '--', 'echo out; exit 3');
    expect(told).toMatchObject({ status: 3, stdout: 'out\n', error: null, closedFirst: 1 });
    await server.line(/^command over$/);
    const { code, stderr } = await bed.fan(...options, '--', 'true');
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: 'holdfast: 1 of the connections was closed by this side first\n',
    });
  },
);

testNeeding(NEEDS)('--diff tells how the outputs differ from the most common one', async () => {
  const same = await bed.fan('--rsh', '-w', 'h[1-4]', '--diff', '--', 'echo first');
  expect(same).toEqual({ code: 0, stdout: '', stderr: '' });
  const odd = await diffOf('echo first', 'echo changed; exit 3', 'echo common; echo last');
  expect(odd).toEqual([
    expect.stringMatching(/^--- h\[\d(,\d|-\d)+\] \(3\)$/),
    expect.stringMatching(/^\+\+\+ h\d \(1\): exit 3$/),
    ...['@@ -1,3 +1,2 @@', ' first', '-common', '-last', '+changed'],
    '---- nobody (1): there is no host nobody (ENOTFOUND) [resolve]',
    '',
  ]);
  const binary = await diffOf('true', 'printf "\\377"', 'printf "\\376x"');
  expect(binary.slice(2)).toEqual([
    'The outputs differ, and are too large or no text: 2 and 1 bytes',
    '---- nobody (1): there is no host nobody (ENOTFOUND) [resolve]',
    '',
  ]);
});

/** The lines of --diff where one host of four, whichever, does `one` and the others `others`. */
async function diffOf(all: string, one: string, others: string): Promise<string[]> {
  const folder = temporaryFolder();
  chmodSync(folder, 0o777);
  const command = `${all}; if mkdir ${folder}/taken 2>/dev/null; then ${one}; else ${others}; fi`;
  const { code, stdout } = await bed.fan('--rsh', '-w', 'h[1-4],nobody', '--diff', '--', command);
  expect(code).toBe(1);
  return stdout.split('\n');
}
