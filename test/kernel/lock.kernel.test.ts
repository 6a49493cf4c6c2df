import { expect, test } from 'vitest';
import { oneAtATime } from '../../src/kernel/lock.js';
import { temporaryFolder } from '../support/temporary.js';

test('who keeps a lock for more than 100 ms is not waited for', () => {
  const path = temporaryFolder();
  const done: string[] = [];
  const waitedMs = oneAtATime(path, () => {
    const sinceMs = performance.now();
    oneAtATime(path, () => done.push('beside'));
    return performance.now() - sinceMs;
  });
  expect(done).toEqual(['beside']);
  expect(waitedMs).toBeGreaterThanOrEqual(100);
  oneAtATime(path, () => done.push('alone'));
  expect(done).toEqual(['beside', 'alone']);
});
