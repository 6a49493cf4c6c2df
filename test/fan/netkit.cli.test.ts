import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect } from 'vitest';
import { testNeeding, whyMissingNeed } from '../support/needing.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { NEEDS as BED, type Bed, openBed } from './bed.js';
import { must } from './machines.js';

const NEEDS = [...BED, 'netkitRshd'] as const;
const PORT = 5160;
const RSH = ['--rsh', '-p', `${PORT}`] as const;
let bed: Bed;

/** The other server that there is, on a port of its own. */
beforeAll(async () => {
  if (NEEDS.some((need) => whyMissingNeed(need) !== undefined)) return;
  bed = await openBed(20);
  const file = join(bed.folder, 'netkit.conf');
  writeFileSync(file, `${PORT} stream tcp nowait.60000 root ${binaryOf('netkitRshd')} in.rshd\n`);
  const inetd = start(bed.server([binaryOf('inetd'), '-i', '-q', '512', file]));
  await inetd.listening(PORT);
});

async function result(...args: string[]): Promise<object> {
  return JSON.parse((await bed.fan(...RSH, '--json', ...args)).stdout);
}

testNeeding(NEEDS)("netkit's rshd: status, output and stderr", async () => {
  const command = 'echo one; echo two >&2; exit 5';
  expect(await result('-w', 'h1', '--', command)).toMatchObject({
    status: 5,
    stdout: 'one\ntwo\n',
    stderr: '',
  });
  const apart = await result('--rsh-stderr', '-w', 'h1', '--', command);
  expect(apart).toMatchObject({ status: 5, stdout: 'one\n', stderr: 'two\n', closedFirst: 0 });
  expect(await result('-w', 'h1', '--', 'kill -9 $$')).toMatchObject({ status: 137, signal: 9 });
  expect(await result('-w', 'h1', '--', 'cat')).toMatchObject({ status: 0, stdout: '' });
});

testNeeding(NEEDS)("netkit's rshd: a user whom it refuses", async () => {
  const refused = { status: null, stdout: '', error: { phase: 'auth', text: 'Permission denied.' } };
  expect(await result('-w', 'nosuchuser@h1', '--', 'true')).toMatchObject(refused);
});

testNeeding(NEEDS)("netkit's rshd: at the timeout the command is ended", async () => {
  const args = ['--timeout', '1s', '-w', 'h1', '--', 'echo $$; sleep 9961'];
  expect(await result(...args)).toMatchObject({ timedOut: true, error: { phase: 'run' } });
});

testNeeding(NEEDS)("netkit's rshd closes first, and leaves no port of ours in TIME_WAIT", async () => {
  const before = bed.reservedInTimeWait();
  for (let round = 0; round < 3; round++) {
    const told = await bed.fan(...RSH, '-w', 'h[1-20]', '--group', '--', 'echo same');
    expect(told).toEqual({ code: 0, stdout: '---- h[1-20] (20)\nsame\n', stderr: '' });
  }
  expect(bed.reservedInTimeWait()).toBe(before);
  expect(must(bed.server([binaryOf('ss'), '-Htan', 'state', 'time-wait', `( sport = :${PORT} )`]))).not.toBe(
    '',
  );
});
