import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { readScenarios } from '../../src/lab/library.js';
import { ordinaryUser } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { start } from '../support/process.js';
import { temporaryFolder } from '../support/temporary.js';
import { fuzz, runLab, TEST_MS } from './lab.js';

const isRoot = process.getuid?.() === 0;

/** Sockets of other users, and binds without privilege, are for root alone. */
const FOR_ROOT = isRoot ? [] : ['low-port-needs-privilege', 'reuseport-same-user'];

/** Met less than ten times in so many programs as are run here, so that chance may leave one out. */
const RARE = {
  tcp: [],
  udp: [],
  // Half of the sockets meet half as many others: of what two or three of them have to do with each other little comes.
  mixed: [
    ...['syn-replaces-time-wait', 'syn-resets-former-peer', 'tw-reuse', 'reset-ends-time-wait'],
    'connect-only-again',
  ],
} as const;

for (const [mix, programs] of [
  ['tcp', 10_000],
  ['udp', 5_000],
  ['mixed', 5_000],
] as const) {
  testNeeding('netns')(
    `${programs} random programs of ${mix} sockets do on the model what they do on the kernel, and meet its rules`,
    async () => {
      const { code, stderr, report } = await fuzz(`--mix ${mix} --programs ${programs} --seed 1`);
      expect(code, stderr).toBe(0);
      // The errno of a call can be lost to what V8 does before it is read: seen once in some tens of millions of calls.
      expect(report.flaky, stderr).toBeLessThanOrEqual(1);
      expect(report).toMatchObject({ programs, mix, seed: 1, disagreements: 0, files: [] });
      const mayMiss: readonly string[] = [...RARE[mix], ...FOR_ROOT];
      expect(report.neverReached.filter((rule) => !mayMiss.includes(rule))).toEqual([]);
      // Nothing is agreed on by leaving it out.
      expect(report.calls).toBeGreaterThan(10 * programs);
      expect(report.notModelled).toBeLessThan(report.calls / 30);
      expect(report.lost).toBeLessThan(programs / 1_000);
    },
    TEST_MS,
  );
}

testNeeding('netns')('an ordinary user runs random programs too', async () => {
  const { code, report } = await fuzz('--programs 300 --seed 3', ordinaryUser);
  expect(code).toBe(0);
  expect(report).toMatchObject({ programs: 300, disagreements: 0 });
  expect(report.neverReached).toContain('low-port-needs-privilege');
});

testNeeding('netns')('the shards of a run have as many programs as the whole, each its part', async () => {
  const programs = async (flags: string): Promise<number> => (await fuzz(flags)).report.programs;
  const whole = '--programs 151 --seed 2';
  expect(await programs(whole)).toBe(151);
  expect(await programs(`${whole} --jobs 3`)).toBe(151);
  expect([await programs(`${whole} --shard 1/2`), await programs(`${whole} --shard 2/2`)]).toEqual([75, 76]);
});

testNeeding('netns')(
  'a model that lacks a rule is contradicted by the kernel, the whole one is not',
  async () => {
    const { code, stdout, stderr } = await runLab([
      'ablate',
      '--programs',
      '400',
      '--no-scenarios',
      '--json',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const rows = JSON.parse(stdout) as {
      rule: string;
      mix: string;
      programs: number;
      disagreements: number;
    }[];
    expect(rows.every(({ programs }) => programs === 400)).toBe(true);
    const whole = rows.filter(({ rule }) => rule === 'nothing left out');
    expect(whole.map(({ mix, disagreements }) => ({ mix, disagreements }))).toEqual([
      { mix: 'tcp', disagreements: 0 },
      { mix: 'udp', disagreements: 0 },
    ]);
    const without = Object.fromEntries(rows.map(({ rule, disagreements }) => [rule, disagreements]));
    for (const rule of [
      ...['specificV6BindIsV6only', 'automaticPortReleased', 'connectSkipsBoundPorts', 'givenAddressKept'],
      ...['listenerBlocksReuse', 'bind as socket(7) reads', 'bind as Netsem has it'],
    ]) {
      expect(without[rule], rule).toBeGreaterThan(0);
    }
  },
  TEST_MS,
);

testNeeding('netns')(
  'what contradicts a wrong model is told as a short scenario, on which the right one agrees',
  async () => {
    const found = await contradictions('specificV6BindIsV6only');
    expect(found.length).toBeGreaterThan(0);
    const folder = temporaryFolder();
    const files = found.map(({ text, calls, reproduced }, index) => {
      expect(reproduced).toBe(true);
      // A socket, a bind, what shows the difference, and little besides.
      expect(calls).toBeLessThanOrEqual(8);
      const file = join(folder, `${index}.yaml`);
      writeFileSync(file, text);
      expect(readScenarios(file)[0]?.cases[0]?.steps).toHaveLength(calls);
      return file;
    });
    const { code, stdout } = await runLab(['run', ...files]);
    expect(stdout).toContain(`${files.length} scenarios on Linux`);
    expect(stdout).toContain('disagree in 0, 0 came out other than');
    expect(code).toBe(0);
  },
  TEST_MS,
);

test.each(['0/2', '3/2', '1/0', '1', '1/2/3', 'a/b'])(
  '--shard %s is refused with what it must be',
  async (shard) => {
    expect(await runLab(['fuzz', `--shard=${shard}`])).toEqual({
      code: 2,
      stdout: '',
      stderr: `holdfast: --shard is I/N with I from 1 to N, such as 2/8, not ${shard} [ERR_HOLDFAST_OPTION]\n`,
    });
  },
);

test.each(['0', '-5', '1.5', '1e4', 'many'])('--programs "%s" is refused as no number', async (programs) => {
  expect(await runLab(['fuzz', `--programs=${programs}`])).toEqual({
    code: 2,
    stdout: '',
    stderr: `holdfast: --programs <n>: "${programs}" is no whole number from 1 [ERR_HOLDFAST_OPTION]\n`,
  });
});

test('--out to a folder that is not there is refused before anything runs', async () => {
  const out = join(temporaryFolder(), 'gone', 'found.yaml');
  const { code, stdout, stderr } = await runLab(['fuzz', '--programs=1000000', `--out=${out}`]);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toContain(`holdfast: --out ${out}: nothing can be written to the folder `);
  expect(stderr).toMatch(/\[ERR_HOLDFAST_OPTION\]\n$/);
});

test('--seed, --jobs and --mix are refused when they are none', async () => {
  for (const [flag, says] of [
    ['--seed=x', /--seed <n>: "x" is no whole number from 1/],
    ['--jobs=0', /--jobs <n>: "0" is no whole number from 1/],
    ['--mix=sctp', /'sctp' is invalid\. Allowed choices are tcp, udp, mixed\./],
  ] as const) {
    const { code, stdout, stderr } = await runLab(['fuzz', flag]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(says);
  }
});

interface Contradiction {
  readonly text: string;
  readonly calls: number;
  readonly reproduced: boolean;
}

/** What the kernel has against a model without that rule, as `lab fuzz` would write it. */
async function contradictions(rule: string): Promise<readonly Contradiction[]> {
  const built = (module: string): string =>
    JSON.stringify(fileURLToPath(new URL(`../../dist/${module}.js`, import.meta.url)));
  const code = `
    import { fuzz } from ${built('lab/fuzz-run')};
    import { writeScenario } from ${built('lab/write-scenario')};
    import { LINUX_6_18 } from ${built('model/kernel-rules')};
    const kernel = { ...LINUX_6_18, rules: { ...LINUX_6_18.rules, ${rule}: false } };
    const all = [];
    const found = ({ program, outcomes, disagreement }, reproduced) => {
      // The call at which they part stands last, with what the kernel gave.
      const text = writeScenario('found-' + all.length, disagreement.what, program, outcomes);
      all.push({ text, calls: program.calls.length, reproduced });
    };
    await fuzz({ mix: 'tcp', seed: 1, from: 0, to: 40, kernel, shrinks: true, jobs: 1, found });
    console.log(JSON.stringify(all));`;
  const child = start([process.execPath, '--input-type=module', '-e', code]);
  return JSON.parse((await child.line(/^\[.*\]$/, { timeoutMs: 30_000 }))[0]) as Contradiction[];
}
