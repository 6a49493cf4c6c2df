import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect } from 'vitest';
import { testNeeding, whyMissingNeed } from '../support/needing.js';
import { temporaryFolder } from '../support/temporary.js';
import { type Bed, NEEDS, openBed } from './bed.js';
import { runLibrary } from './library.js';

/** Of each of two hosts. */
const MEGABYTES = Number(process.env.HOLDFAST_TEST_FAN_MEGABYTES ?? 60);
let bed: Bed;

beforeAll(async () => {
  if (NEEDS.every((need) => whyMissingNeed(need) === undefined)) bed = await openBed(2);
});

const WAYS = {
  rsh: () => ({ via: 'rsh', user: bed.user }),
  ssh: () => ({ sshArguments: ['-F', bed.sshConfig] }),
} as const;

for (const [way, options] of Object.entries(WAYS)) {
  testNeeding(NEEDS)(
    `${way}: ${MEGABYTES} MB of two hosts each arrive byte for byte, and do not fill the memory`,
    async () => {
      const part = randomBytes(1 << 20);
      const file = join(temporaryFolder(), 'part');
      writeFileSync(file, part);
      chmodSync(join(file, '..'), 0o755);
      const whole = createHash('sha256');
      for (let i = 0; i < MEGABYTES; i++) whole.update(part);
      const command = `i=0; while [ $i -lt ${MEGABYTES} ]; do cat ${file}; i=$((i+1)); done`;
      const told = await runLibrary(
        bed,
        `import { createHash } from 'node:crypto';
        const before = process.resourceUsage().maxRSS;
        const outputs = [];
        for await (const { status, stdout } of fan({ hosts: ['h1', 'h2'], command: [${JSON.stringify(command)}], ...${JSON.stringify(options())} })) {
          const hash = createHash('sha256');
          for await (const bytes of stdout.stream()) hash.update(bytes);
          outputs.push({ status, bytes: stdout.bytes, digest: stdout.digest, read: hash.digest('hex') });
        }
        tell({ outputs, grownMb: (process.resourceUsage().maxRSS - before) / 1024 });`,
        60_000 + MEGABYTES * 1_000,
      );
      const digest = whole.digest('hex');
      const output = { status: 0, bytes: MEGABYTES << 20, digest, read: digest };
      expect(told).toMatchObject({ outputs: [output, output] });
      const { grownMb } = told as { grownMb: number };
      process.stderr.write(`${way}: grown by ${grownMb.toFixed(0)} MB\n`);
      // As much whether it is 60 MB or 1 GB.
      expect(grownMb).toBeLessThan(GROWN_MB);
    },
    120_000 + MEGABYTES * 1_000,
  );
}

const GROWN_MB = 100;

testNeeding(NEEDS)('--json tells what is no text in base64, byte for byte', async () => {
  const part = randomBytes(1_000_001);
  const file = join(temporaryFolder(), 'part');
  writeFileSync(file, part);
  chmodSync(join(file, '..'), 0o755);
  const { code, stdout } = await bed.fan('--rsh', '--json', '-w', 'h1', '--', `cat ${file}; cat ${file}`);
  expect(code).toBe(0);
  const { stdoutEncoding, stdout: output, stderr } = JSON.parse(stdout);
  expect([stdoutEncoding, stderr]).toEqual(['base64', '']);
  expect(Buffer.from(output, 'base64').equals(Buffer.concat([part, part]))).toBe(true);
});
