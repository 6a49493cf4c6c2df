import { expect, test } from 'vitest';
import { ablations, type FuzzRun, neverReached } from '../../src/lab/fuzz-run.js';
import { LINUX_6_18 } from '../../src/model/kernel-rules.js';
import { type RuleId, rules } from '../../src/model/rules.js';

function run(...reached: readonly RuleId[]): FuzzRun {
  const counts = new Map(reached.map((rule) => [rule, 1]));
  return {
    programs: 1,
    calls: 1,
    notModelled: 0,
    lost: 0,
    disagreements: 0,
    flaky: 0,
    seconds: 1,
    rules: counts,
  };
}

const all = Object.keys(rules) as RuleId[];

test('a run that met every rule has missed none', () => {
  for (const mix of ['tcp', 'udp', 'mixed'] as const) expect(neverReached(run(...all), mix)).toEqual([]);
});

test('a rule is missed where it may be met alone', () => {
  const missing = (mix: 'tcp' | 'udp' | 'mixed', id: RuleId): boolean =>
    neverReached(run(), mix).includes(id);
  const kinds = (id: RuleId): readonly boolean[] =>
    (['tcp', 'udp', 'mixed'] as const).map((mix) => missing(mix, id));
  expect(kinds('bind-once')).toEqual([true, true, true]);
  expect(kinds('listen-asks-again')).toEqual([true, false, true]);
  expect(kinds('udp-first-sharer-decides')).toEqual([false, true, true]);
  // In single scenarios, or in the source of another kernel.
  expect(kinds('time-wait-limit')).toEqual([false, false, false]);
  expect(kinds('reuseaddr-remembered')).toEqual([false, false, false]);
});

test('each ablation differs from the kernel in one rule, and is called after it', () => {
  const rows = ablations(LINUX_6_18);
  for (const { rule, kernel } of rows) {
    const names = Object.keys(LINUX_6_18.rules) as (keyof typeof LINUX_6_18.rules)[];
    const changed = names.filter((name) => kernel.rules[name] !== LINUX_6_18.rules[name]);
    expect(changed).toEqual(rule.startsWith('bind as ') ? ['bindRule'] : [rule]);
    expect(kernel.verified).toBe(false);
  }
  expect(rows.filter(({ mix }) => mix === 'udp').map(({ rule }) => rule)).toEqual(['udpFirstSharerDecides']);
  const names = Object.keys(LINUX_6_18.rules).filter((name) => name !== 'bindRule');
  expect(rows.map(({ rule }) => rule)).toEqual([
    ...names,
    'bind as socket(7) reads',
    'bind as Netsem has it',
  ]);
});
