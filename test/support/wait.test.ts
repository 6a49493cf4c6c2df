import { expect, test } from 'vitest';
import { until, within } from './wait.js';

test('until gives the first truthy answer', async () => {
  let asked = 0;
  expect(await until('the third answer', () => (++asked === 3 ? 'third' : undefined), { everyMs: 1 })).toBe(
    'third',
  );
  expect(asked).toBe(3);
});

test('until names the fact and what it saw last', async () => {
  await expect(until('a miracle', () => 0, { timeoutMs: 20 })).rejects.toThrow(
    'not within 20 ms: a miracle (last seen: 0)',
  );
});

test('until ends with the error of the one that looks', async () => {
  await expect(until('a fact', () => Promise.reject(new Error('blind')))).rejects.toThrow('blind');
});

test('within gives the answer of a promise that is in time', async () => {
  expect(await within('now', Promise.resolve(1), 1_000)).toBe(1);
});

test('within names the fact that did not come', async () => {
  await expect(within('never', new Promise(() => undefined), 20)).rejects.toThrow('not within 20 ms: never');
});
