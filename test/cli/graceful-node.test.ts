import { expect, test } from 'vitest';
import { gracefulNode } from '../../src/cli/graceful-node.js';

const POLICY = { stopSignal: 'SIGTERM', stopTimeoutMs: 10_000 } as const;

test("the server's environment is a copy with what it needs", () => {
  const env = { PATH: '/bin' };
  const { NODE_OPTIONS, ...others } = gracefulNode(env, POLICY);
  expect(NODE_OPTIONS).toMatch(/^--import=file:\/\/\S+\/graceful\.js$/);
  expect(others).toEqual({
    PATH: '/bin',
    HOLDFAST_GRACEFUL_SIGNAL: 'SIGTERM',
    HOLDFAST_GRACEFUL_TIMEOUT_MS: '9000',
  });
  expect(env).toEqual({ PATH: '/bin' });
});

test('what nobody can handle is not named, and no time is negative', () => {
  const env = gracefulNode({}, { stopSignal: 'SIGKILL', stopTimeoutMs: 10 });
  expect(env.HOLDFAST_GRACEFUL_SIGNAL).toBeUndefined();
  expect(env.HOLDFAST_GRACEFUL_TIMEOUT_MS).toBe('0');
});

for (const given of ['--import holdfast/graceful', '--import=file:///opt/holdfast/dist/graceful.js']) {
  test(`${given} is enough`, () => {
    expect(gracefulNode({ NODE_OPTIONS: given }, POLICY).NODE_OPTIONS).toBe(given);
  });
}

test('what else is in NODE_OPTIONS comes first', () => {
  expect(gracefulNode({ NODE_OPTIONS: '--max-old-space-size=99' }, POLICY).NODE_OPTIONS).toMatch(
    /^--max-old-space-size=99 --import=file:/,
  );
});
