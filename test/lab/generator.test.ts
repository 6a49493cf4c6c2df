import { expect, test } from 'vitest';
import { PORTS, random, randomSysctls } from '../../src/lab/generator.js';
import { runOnModel } from './on-model.js';

const SEEDS = Array.from({ length: 100 }, (_, index) => index + 1);

test('the same seed gives the same program, others give others', () => {
  const programs = SEEDS.map((seed) => JSON.stringify(runOnModel(seed, 'mixed')));
  expect(SEEDS.map((seed) => JSON.stringify(runOnModel(seed, 'mixed')))).toEqual(programs);
  expect(new Set(programs).size).toBe(SEEDS.length);
});

test('numbers are spread evenly, those of neighbouring seeds too', () => {
  const counts = new Array<number>(10).fill(0);
  for (let seed = 0; seed < 10_000; seed++) {
    const at = random(seed).below(10);
    counts[at] = (counts[at] ?? 0) + 1;
  }
  // 1000 each, give or take 30.
  expect(Math.min(...counts)).toBeGreaterThan(850);
  expect(Math.max(...counts)).toBeLessThan(1150);
  expect(SEEDS.filter((seed) => random(seed).chance(1)).length).toBe(SEEDS.length);
  expect(SEEDS.filter((seed) => random(seed).chance(0))).toEqual([]);
});

test('settings are such as the kernel takes', () => {
  for (const seed of SEEDS) {
    const { portRange, reservedPorts, unprivilegedPortStart } = randomSysctls(random(seed));
    const { low, high } = portRange;
    expect(low).toBeGreaterThanOrEqual(0);
    expect(high).toBeGreaterThanOrEqual(low);
    expect(high).toBeLessThan(PORTS);
    expect(unprivilegedPortStart).toBeLessThanOrEqual(low);
    expect(reservedPorts.every((port) => port >= 0 && port < PORTS)).toBe(true);
  }
});

test.each([
  ['tcp', ['tcp']],
  ['udp', ['udp']],
  ['mixed', ['tcp', 'udp']],
] as const)('programs of %s sockets have those alone', (mix, protocols) => {
  const met = new Set(
    SEEDS.flatMap((seed) =>
      runOnModel(seed, mix).program.calls.map((call) => (call.call === 'socket' ? call.protocol : mix)),
    ).filter((protocol) => protocol !== 'mixed'),
  );
  expect([...met].sort()).toEqual(protocols);
});

test('every kind of call is made, and both ends of it are met', () => {
  const ends = new Map<string, Set<boolean>>();
  // Pauses are rare: each costs the comparison with the kernel its time.
  for (let seed = 1; seed <= 1_000; seed++) {
    const { program, outcomes } = runOnModel(seed, 'tcp');
    program.calls.forEach(({ call }, index) => {
      ends.set(call, (ends.get(call) ?? new Set()).add(outcomes[index] === 'ok'));
    });
  }
  const both = [...ends].filter(([, met]) => met.size === 2).map(([call]) => call);
  expect(both.sort()).toEqual(['accept', 'bind', 'connect', 'listen', 'set', 'shutdown']);
  const others = [...ends.keys()].filter((call) => !both.includes(call));
  expect(others.sort()).toEqual(['close', 'disconnect', 'socket', 'wait']);
});
