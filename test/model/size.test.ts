import { expect, test } from 'vitest';
import { parseSize } from '../../src/model/size.js';

test.each([
  ['4096', 4_096],
  ['512K', 524_288],
  ['10M', 10_485_760],
  ['10m', 10_485_760],
  ['1G', 1_073_741_824],
  ['0', 0],
])('%s is %d bytes', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each(['', 'M', '-1M', '1 M', '1T', '1.5M', '10MB', '1e6'])('"%s" is no size', (text) => {
  expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'ERR_HOLDFAST_OPTION' }));
});
