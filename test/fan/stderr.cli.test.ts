import { fileURLToPath } from 'node:url';
import { beforeAll, expect } from 'vitest';
import { testNeeding, whyMissingNeed } from '../support/needing.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { type Bed, NEEDS, openBed } from './bed.js';
import { runLibrary } from './library.js';
import { must } from './machines.js';

let bed: Bed;

beforeAll(async () => {
  if (NEEDS.every((need) => whyMissingNeed(need) === undefined)) bed = await openBed(3);
});

const RSH = ['--rsh', '--rsh-stderr'];

testNeeding(NEEDS)(
  '--rsh-stderr: stderr comes apart from stdout, byte for byte, and the ceiling is stated',
  async () => {
    const command =
      'head -c 200000 /dev/zero | tr "\\0" a; head -c 300000 /dev/zero | tr "\\0" b >&2; exit 3';
    const { code, stdout, stderr } = await bed.fan(...RSH, '--json', '-w', 'h[1-3]', '--', command);
    expect(code).toBe(1);
    const told = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(told).toHaveLength(3);
    for (const one of told)
      expect(one).toMatchObject({
        ...{ status: 3, error: null, closedFirst: 0 },
        ...{ stdout: 'a'.repeat(200_000), stderr: 'b'.repeat(300_000) },
      });
    expect(stderr).toContain('about 500 commands a minute');
    const merged = await bed.fan('--rsh', '--json', '-w', 'h1', '--', 'echo wrong >&2');
    expect(JSON.parse(merged.stdout)).toMatchObject({ stdout: 'wrong\n', stderr: '' });
    expect(merged.stderr).toBe('');
    expect(await bed.fan('--rsh-stderr', '-w', 'h1', '--', 'true')).toMatchObject({ code: 2 });
  },
);

/** Of the server: what its connections for stderr have left. */
function serverPortsInTimeWait(): number {
  const filter = '( sport >= :600 and sport <= :1023 )';
  const text = must(bed.server([binaryOf('ss'), '-Htan', 'state', 'time-wait', filter]));
  return text.split('\n').filter((line) => line !== '').length;
}

testNeeding(NEEDS)(
  '--rsh-stderr: each command takes a reserved port of the server for a minute, and none of ours',
  async () => {
    const [ours, theirs] = [bed.reservedInTimeWait(), serverPortsInTimeWait()];
    const told = await runLibrary(
      bed,
      `const hosts = Array.from({ length: 40 }, () => 'h1');
      const options = { via: 'rsh', user: 'holdfast', rshStderr: true, fanout: 8 };
      let ok = 0;
      for await (const { status, stdout, stderr } of fan({ ...options, hosts, command: ['echo one; echo two >&2'] })) {
        if (status === 0 && stdout.text() === 'one\\n' && stderr.text() === 'two\\n') ok++;
      }
      tell(ok);`,
    );
    expect(told).toBe(40);
    expect(bed.reservedInTimeWait()).toBe(ours);
    expect(serverPortsInTimeWait() - theirs).toBeGreaterThan(30);
    const listening = must(bed.client([binaryOf('ss'), '-Htln', '( sport >= :512 and sport <= :1023 )']));
    expect(listening).toBe('');
  },
);

testNeeding(NEEDS)('--rsh-stderr: what does not come from a reserved port is sent away', async () => {
  const server = start(
    bed.server([
      process.execPath,
      fileURLToPath(new URL('odd-rshd.js', import.meta.url)),
      '5150',
      'stranger first',
    ]),
  );
  await server.line(/^listens$/);
  const { stdout } = await bed.fan(
    ...RSH,
    '-p',
    '5150',
    '--json',
    '-w',
    'h1',
    '--',
    'echo one; echo two >&2',
  );
  expect(JSON.parse(stdout)).toMatchObject({ status: 0, stdout: 'one\n', stderr: 'two\n' });
  expect(server.stdout).toContain('the stranger is sent away');
});

testNeeding(NEEDS)('--rsh-stderr: a server that makes no second connection is given up', async () => {
  const silent = start(
    bed.server([
      process.execPath,
      '-e',
      'require("net").createServer((s) => s.resume()).listen(5151, () => console.log("listens"))',
    ]),
  );
  await silent.line(/^listens$/);
  const options = ['-p', '5151', '--connect-timeout', '1s', '--json', '-w', 'h1'];
  const { stdout } = await bed.fan(...RSH, ...options, '--', 'true');
  expect(JSON.parse(stdout)).toMatchObject({
    ...{ status: null, closedFirst: 1 },
    error: { phase: 'auth', text: 'h1 does not run the command' },
  });
});
