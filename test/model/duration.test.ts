import { expect, test } from 'vitest';
import { formatDuration, parseDuration } from '../../src/model/duration.js';

test.each([
  ['500ms', 500],
  ['10s', 10_000],
  ['2m', 120_000],
  ['1h', 3_600_000],
  ['10', 10_000],
  ['0', 0],
  ['0s', 0],
  ['1.5s', 1_500],
  ['0.5m', 30_000],
])('%s is %d ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test.each(['', 's', '-1s', '1 s', '1d', '1e3', '.5s', '5.', '1s2', 'Infinity', '10S'])(
  '"%s" is no time',
  (text) => {
    expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: 'ERR_HOLDFAST_OPTION' }));
  },
);

test.each([
  [0, '0 ms'],
  [3.4, '3 ms'],
  [950, '950 ms'],
  [999.6, '1 s'],
  [1_000, '1 s'],
  [1_250, '1.3 s'],
  [12_000, '12 s'],
  [119_000, '119 s'],
  [119_990, '2 min'],
  [180_000, '3 min'],
])('%d ms is written %s', (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});
