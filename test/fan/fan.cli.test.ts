import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect } from 'vitest';
import { holdfast } from '../support/keeper.js';
import { testNeeding, whyMissingNeed } from '../support/needing.js';
import { start } from '../support/process.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { type Bed, NEEDS, openBed } from './bed.js';
import { runLibrary } from './library.js';

/** More of them are a load that other tests would feel. */
const HOSTS = Number(process.env.HOLDFAST_TEST_FAN_HOSTS ?? 60);
let bed: Bed;

beforeAll(async () => {
  if (NEEDS.every((need) => whyMissingNeed(need) === undefined)) bed = await openBed(HOSTS);
});

const WAYS = { rsh: () => ['--rsh'], ssh: () => [...bed.ssh] } as const;

for (const [way, options] of Object.entries(WAYS)) {
  testNeeding(NEEDS)(`${way}: each host's lines come with its name, and its status counts`, async () => {
    const all = await bed.fan(
      ...options(),
      '-w',
      'h[1-3]',
      '--',
      'echo one; echo two >&2; hostname >/dev/null',
    );
    expect(all.code).toBe(0);
    const text = `${all.stdout}${all.stderr}`.split('\n').toSorted();
    expect(text.filter((line) => line !== '')).toEqual(
      ['h1: one', 'h1: two', 'h2: one', 'h2: two', 'h3: one', 'h3: two'].toSorted(),
    );
    const some = await bed.fan(...options(), '-w', 'h[1-3]', '--json', '--', 'exit 5');
    expect(some.code).toBe(1);
    const results = some.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(results.map(({ host, status, error }) => [host, status, error]).toSorted()).toEqual([
      ['h1', 5, null],
      ['h2', 5, null],
      ['h3', 5, null],
    ]);
    expect((await bed.fan(...options(), '-S', '-w', 'h1', '--', '(exit 5)')).code).toBe(5);
    expect((await bed.fan(...options(), '-S', '-w', 'h1', '--', 'kill -9 $$')).code).toBe(137);
  });

  testNeeding(NEEDS)(
    `${way}: output is byte for byte what the command wrote, and arguments arrive as they are`,
    async () => {
      const bytes = await bed.fan(
        ...options(),
        '--json',
        '-w',
        'h1',
        '--',
        'head -c 300000 /dev/zero | tr "\\0" "\\n"; printf end',
      );
      expect(JSON.parse(bytes.stdout)).toMatchObject({
        status: 0,
        stdout: `${'\n'.repeat(300_000)}end`,
        stderr: '',
      });
      const odd = [`it's`, '$HOME `id`', 'a\\b', '!!', '', '*'];
      const { stdout } = await bed.fan(...options(), '--json', '-w', 'h1', '--', 'printf', '<%s>', ...odd);
      expect(JSON.parse(stdout).stdout).toBe(odd.map((word) => `<${word}>`).join(''));
    },
  );

  testNeeding(NEEDS)(
    `${way}: a command has no input, or with --stdin all of ours at every host`,
    async () => {
      expect(await bed.fan(...options(), '-w', 'h[1-2]', '--', 'cat')).toMatchObject({ code: 0, stdout: '' });
      const file = join(temporaryFolder(), 'input');
      writeFileSync(file, 'x'.repeat(500_000));
      const command = [
        'sh',
        '-c',
        `"$@" < ${file}`,
        'sh',
        ...bed.client([...holdfast, 'fan', '-l', bed.user]),
      ];
      const fed = start([...command, ...options(), '--stdin', '-w', 'h[1-3]', '--group', '--', 'wc -c']);
      expect((await fed.end(60_000)).code).toBe(0);
      expect(fed.stdout).toBe('---- h[1-3] (3)\n500000\n');
    },
  );

  testNeeding(NEEDS)(
    `${way}: a host that cannot be reached fails alone, and says how far it came`,
    async () => {
      const { code, stdout } = await bed.fan(...options(), '--json', '-w', 'h1,nobody,h2', '--', 'true');
      expect(code).toBe(1);
      const results = stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(results.find(({ host }) => host === 'nobody')).toMatchObject({
        status: null,
        error: { phase: 'resolve' },
      });
      expect(
        results
          .filter(({ status }) => status === 0)
          .map(({ host }) => host)
          .toSorted(),
      ).toEqual(['h1', 'h2']);
      const port = way === 'rsh' ? ['--rsh', '-p', '515'] : [...bed.ssh, '-p', '2223'];
      const refused = await bed.fan(...port, '--json', '-w', 'h1', '--', 'true');
      expect(JSON.parse(refused.stdout)).toMatchObject({
        error: { phase: 'connect', text: expect.stringContaining('refused') },
      });
      const stranger = await bed.fan(...options(), '--json', '-w', 'nosuchuser@h1', '--', 'true');
      expect(JSON.parse(stranger.stdout)).toMatchObject({
        status: null,
        error: { phase: 'auth' },
        stdout: '',
      });
    },
  );

  testNeeding(NEEDS)(`${way}: a script of 50,000 bytes arrives whole, with its arguments`, async () => {
    const file = join(temporaryFolder(), 'script');
    const text = 'x'.repeat(50_000);
    writeFileSync(file, `#!/bin/sh\nprintf %s "$2" | wc -c\ntext='${text}'\nprintf %s "$text" | wc -c\n`);
    const long = 'y'.repeat(30_000);
    const told = await bed.fan(...options(), '-w', 'h1', '--script', file, '--', 'one', long);
    expect(told).toEqual({ code: 0, stdout: 'h1: 30000\nh1: 50000\n', stderr: '' });
  });

  testNeeding(NEEDS)(`${way}: at the timeout the command is ended, with what it has started`, async () => {
    const seconds = way === 'rsh' ? '9871' : '9872';
    const { code, stdout } = await bed.fan(
      ...options(),
      '--json',
      '--timeout',
      '1s',
      '-w',
      'h1',
      '--',
      `sleep ${seconds} & sleep ${seconds}`,
    );
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ status: null, timedOut: true, error: { phase: 'run' } });
    await until('no sleep any more', () => bed.running(`sleep ${seconds}`).length === 0);
  });
}

for (const [way, options] of Object.entries(WAYS)) {
  testNeeding(NEEDS)(`${way}: what a command leaves behind does not keep its host waiting`, async () => {
    const seconds = way === 'rsh' ? '9881' : '9882';
    const command = `setsid sleep ${seconds} & echo $!`;
    const close = ['--close-timeout', '500ms'];
    const { code, stdout, stderr } = await bed.fan(...options(), ...close, '-w', 'h1', '--', command);
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: 'holdfast: 1 of the connections was closed by this side first\n',
    });
    const [, pid] = /^h1: (\d+)\n$/.exec(stdout) ?? [];
    // It is a session of its own, and lives: nobody asked for its end.
    expect(bed.running(`sleep ${seconds}`)).toHaveLength(1);
    process.kill(Number(pid), 'SIGKILL');
  });
}

testNeeding(NEEDS)('rsh: a server that takes the connection and is silent is given up', async () => {
  const silent = start(
    bed.server([
      process.execPath,
      '-e',
      'require("net").createServer((s) => s.resume()).listen(5140, "10.77.1.2")',
    ]),
  );
  await silent.listening(5140);
  const { code, stdout } = await bed.fan(
    '--rsh',
    '-p',
    '5140',
    '--connect-timeout',
    '1s',
    '--json',
    '-w',
    'h1',
    '--',
    'true',
  );
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({
    status: null,
    error: { phase: 'auth', text: 'h1 does not run the command' },
  });
});

const ROUNDS = Number(process.env.HOLDFAST_TEST_RSH_ROUNDS ?? 2);
/** More than there are reserved ports. */
const TO_ONE = Number(process.env.HOLDFAST_TEST_RSH_TO_ONE ?? 530);
const SSH_HOSTS = Number(process.env.HOLDFAST_TEST_SSH_HOSTS ?? 15);

testNeeding(NEEDS)(
  `rsh: ${ROUNDS * HOSTS} commands at ${HOSTS} hosts do not run out of ports, and leave none in TIME_WAIT`,
  async () => {
    const before = bed.reservedInTimeWait();
    for (let round = 0; round < ROUNDS; round++) {
      const told = await bed.fan(
        '--rsh',
        '-w',
        `h[1-${HOSTS}]`,
        '--group',
        '--',
        'printf',
        '%s\\n',
        `${round}`,
      );
      expect(told).toEqual({ code: 0, stdout: `---- h[1-${HOSTS}] (${HOSTS})\n${round}\n`, stderr: '' });
    }
    expect(bed.reservedInTimeWait()).toBeLessThanOrEqual(before);
  },
  60_000 + ROUNDS * HOSTS * 100,
);

const COUNT = `
  const count = async (options) => {
    const all = { ok: 0, failed: [] };
    for await (const { status, error } of fan({ via: 'rsh', user: 'holdfast', ...options })) {
      if (status === 0) all.ok++;
      else all.failed.push(error ?? status);
    }
    return all;
  };`;

testNeeding(NEEDS)(
  `rsh: ${TO_ONE} commands at one host, 16 at a time, do not run out of ports`,
  async () => {
    const before = bed.reservedInTimeWait();
    const hosts = `Array.from({ length: ${TO_ONE} }, () => 'h1')`;
    const told = await runLibrary(
      bed,
      `${COUNT} tell(await count({ hosts: ${hosts}, command: ['true'], fanout: 16 }));`,
      60_000 + TO_ONE * 100,
    );
    expect(told).toEqual({ ok: TO_ONE, failed: [] });
    expect(bed.reservedInTimeWait()).toBeLessThanOrEqual(before);
  },
  90_000 + TO_ONE * 100,
);

testNeeding(NEEDS)(
  `rsh: ${HOSTS} hosts at once share a few ports`,
  async () => {
    const told = await runLibrary(
      bed,
      `${COUNT}
      const hosts = Array.from({ length: ${HOSTS} }, (_, index) => 'h' + (index + 1));
      const { execFileSync } = await import('node:child_process');
      const ports = new Set();
      const look = setInterval(() => {
        const filter = ['-Htn', 'state', 'established', '( sport >= :512 and sport <= :1023 )'];
        for (const [, port] of execFileSync('ss', filter, { encoding: 'utf8' }).matchAll(/10\\.77\\.0\\.1:(\\d+)/g)) ports.add(port);
      }, 200);
      const all = await count({ hosts, command: ['sleep', '10'], fanout: ${HOSTS} });
      clearInterval(look);
      tell({ ...all, ports: ports.size });`,
      120_000,
    );
    const { ports, ...rest } = told as { ports: number };
    expect(rest).toEqual({ ok: HOSTS, failed: [] });
    expect(ports).toBeGreaterThan(0);
    expect(ports).toBeLessThan(HOSTS / 4);
  },
  150_000,
);

testNeeding(NEEDS)(
  `ssh: ${SSH_HOSTS} hosts`,
  async () => {
    const { code, stdout } = await bed.fan(
      ...bed.ssh,
      '-w',
      `h[1-${SSH_HOSTS}]`,
      '--group',
      '--',
      'echo same',
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: `---- h[1-${SSH_HOSTS}] (${SSH_HOSTS})\nsame\n` });
  },
  60_000 + SSH_HOSTS * 1_000,
);

testNeeding(NEEDS)(
  'ssh: a connection that dies before its command is over is lost, whatever came',
  async () => {
    const fan = start(
      bed.client([
        ...holdfast,
        'fan',
        '-l',
        bed.user,
        ...bed.ssh,
        '--json',
        '-w',
        'h1',
        '--',
        'echo $PPID; sleep 9873',
      ]),
    );
    await until('the command', () => bed.running('sleep 9873').length === 1);
    for (const pid of bed.running(/^sshd: holdfast@notty/)) process.kill(pid, 'SIGKILL');
    expect((await fan.end(30_000)).code).toBe(1);
    expect(JSON.parse(fan.stdout)).toMatchObject({ status: null, error: { phase: 'lost' } });
    await until('no sleep any more', () => bed.running('sleep 9873').length === 0);
  },
);
