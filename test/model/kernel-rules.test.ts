import { expect, test } from 'vitest';
import { kernelVersion, LINUX_6_1, LINUX_6_8, LINUX_6_14, LINUX_6_18 } from '../../src/model/kernel-rules.js';

test.each([
  ['6.18.44-fc-v669', LINUX_6_18],
  ['6.18', LINUX_6_18],
  ['6.17.9', LINUX_6_14],
  ['6.14.0', LINUX_6_14],
  ['6.13.12-generic', LINUX_6_8],
  ['6.9', LINUX_6_8],
  ['6.8.0-31', LINUX_6_8],
  ['6.7.12', LINUX_6_1],
  ['6.1.192', LINUX_6_1],
  ['5.15', LINUX_6_1],
  ['5.15.0-1064-azure', LINUX_6_1],
  ['4.19.325', LINUX_6_1],
])('Linux %s goes by the rules of the newest release that is known and not newer', (release, version) => {
  expect(kernelVersion(release)).toBe(version);
});

test.each([
  ['6.20.1', 'Linux 6.20, as Linux 6.18'],
  ['6.19.0-rc1', 'Linux 6.19, as Linux 6.18'],
  ['7.0', 'Linux 7.0, as Linux 6.18'],
  ['10.2.3', 'Linux 10.2, as Linux 6.18'],
])('Linux %s goes by the rules of 6.18, which nobody has compared with it', (release, name) => {
  expect(kernelVersion(release)).toEqual({ name, verified: false, rules: LINUX_6_18.rules });
});

test.each(['', 'nonsense', 'six.eighteen', '.', '-6.18'])(
  'a release that is none, "%s", goes by the oldest rules, and nothing is verified',
  (release) => {
    expect(kernelVersion(release)).toBe(LINUX_6_1);
    expect(kernelVersion(release).verified).toBe(false);
  },
);

test('the rules of 6.18 alone were compared with a live kernel', () => {
  const versions = [LINUX_6_18, LINUX_6_14, LINUX_6_8, LINUX_6_1];
  expect(versions.map(({ verified }) => verified)).toEqual([true, false, false, false]);
});

test('each version differs from the one after it in what that one brought', () => {
  const changes = (older: typeof LINUX_6_18, newer: typeof LINUX_6_18): readonly string[] =>
    (Object.keys(newer.rules) as (keyof typeof newer.rules)[]).filter(
      (rule) => older.rules[rule] !== newer.rules[rule],
    );
  expect(changes(LINUX_6_14, LINUX_6_18)).toEqual(['connectOnlyRestored']);
  expect(changes(LINUX_6_8, LINUX_6_14)).toEqual(['twReuseDelay']);
  expect(changes(LINUX_6_1, LINUX_6_8)).toEqual(['reuseaddrCache']);
});
