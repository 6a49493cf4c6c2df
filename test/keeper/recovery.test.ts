import { expect, test } from 'vitest';
import { decodeBigint, encodeBigint } from '../../src/keeper/recovery.js';

test('numbers of notifications survive the state file, and words that look like them stay words', () => {
  const state = {
    notifiers: [{ lastId: 18_446_744_073_709_551_615n, pending: [{ id: 7n, args: [0n, 3n] }] }],
    command: ['sleep', '5n', '{"bigint":"5"}'],
    nothing: null,
  };
  expect(JSON.parse(JSON.stringify(state, encodeBigint), decodeBigint)).toEqual(state);
});
