import { expect, test } from 'vitest';
import { innerVitest, project } from './inner-vitest.js';
import { whyMissingNeed } from './needing.js';

test('what every Linux has is not missing', () => {
  expect(whyMissingNeed('unshare')).toBeUndefined();
  expect([whyMissingNeed('root'), whyMissingNeed('user')].filter((why) => why === undefined)).toHaveLength(1);
});

test('a test whose need is met runs, and its title says the need', async () => {
  const { code, output } = await vitest(`testNeeding('moon', undefined)('a tide', () => undefined)`);
  expect(output).toContain('a tide [needs moon]');
  expect(output).toContain('1 passed');
  expect(code).toBe(0);
});

test('a test whose need is missing fails with the reason', async () => {
  const { code, output } = await vitest(`testNeeding('moon', 'the moon is down')('a tide', () => undefined)`);
  expect(output).toContain('the moon is down. Without it: HOLDFAST_SKIP=moon');
  expect(output).toContain('1 failed');
  expect(code).toBe(1);
});

test('a test is skipped, aloud, only when HOLDFAST_SKIP names its need', async () => {
  const code = `testNeeding('moon', 'the moon is down')('a tide', () => undefined)`;
  const skipped = await vitest(code, 'sun, moon');
  expect(skipped.output).toContain('skipped by HOLDFAST_SKIP=moon: a tide [needs moon]');
  expect(skipped.output).toContain('1 skipped');
  expect(skipped.code).toBe(0);
  expect((await vitest(code, 'sun')).code).toBe(1);
});

test('a missing program is told with the line that installs it', async () => {
  // Looked for where it is not: the table is read in the process of the inner test.
  const { output } = await vitest(`
    const { requirements } = await import('${project}scripts/requirements.js');
    requirements.nginx.binary = 'nginx-that-does-not-exist';
    testNeeding(['nginx', 'cc'])('a page', () => undefined)`);
  expect(output).toContain('nginx is missing; run: sudo apt-get install --no-install-recommends nginx.');
  expect(output).toContain('a page [needs nginx, cc]');
});

function vitest(code: string, skip?: string): ReturnType<typeof innerVitest> {
  const imports = `import { testNeeding } from '${project}test/support/needing.ts';`;
  return innerVitest([`${imports}\n${code};\n`], { HOLDFAST_SKIP: skip });
}
