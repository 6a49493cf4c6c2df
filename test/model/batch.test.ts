import { expect, test } from 'vitest';
import { type Batch, batches, parseBatch } from '../../src/model/batch.js';

const hosts = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index + 1);
const sizes = (count: number, batch: Batch): readonly number[] =>
  batches(hosts(count), batch).map(({ length }) => length);

test('a batch is a number of hosts, or a share that is rounded down and is one at least', () => {
  expect(sizes(5, 2)).toEqual([2, 2, 1]);
  expect(sizes(20, '10%')).toEqual(Array.from({ length: 10 }, () => 2));
  expect(sizes(19, '10%')).toEqual(Array.from({ length: 19 }, () => 1));
  expect(sizes(3, '1%')).toEqual([1, 1, 1]);
  expect(sizes(7, '50%')).toEqual([3, 3, 1]);
  expect(sizes(7, '100%')).toEqual([7]);
  expect(sizes(2, 100)).toEqual([2]);
  expect(batches(hosts(4), 3)).toEqual([[1, 2, 3], [4]]);
});

for (const text of ['0', '0%', '101%', '-1', '1.5', '10 %', '%', 'all', '']) {
  test(`"${text}" is no batch`, () => {
    expect(() => parseBatch(text)).toThrow(expect.objectContaining({ code: 'ERR_HOLDFAST_OPTION' }));
  });
}
