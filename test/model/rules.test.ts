import { expect, test } from 'vitest';
import { rules } from '../../src/model/rules.js';
import { runOnModel } from '../lab/on-model.js';

const entries = Object.entries(rules);

test.each(entries)('%s has a name, a sentence, a place in the kernel and a way to be reached', (id, rule) => {
  expect(id).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
  expect(rule.says).toMatch(/^\S.*[^.\s]\.$/);
  if (id === 'done') expect(rule.kernel).toBe('');
  else expect(rule.kernel).toMatch(/^\w+\(\)(, \w+\(\))*$/);
  expect([undefined, 'tcp', 'udp', 'both', 'scenario', 'source']).toContain(rule.reached);
});

test('no two rules say the same', () => {
  const sentences = entries.map(([, { says }]) => says);
  expect(sentences.filter((says, index) => sentences.indexOf(says) !== index)).toEqual([]);
});

test('every rule that random programs meet has an entry, and its entry says that they may', () => {
  const legal = { tcp: ['tcp', 'both'], udp: ['udp', 'both'] };
  for (const mix of ['tcp', 'udp'] as const) {
    const met = new Set<string>();
    for (let seed = 1; seed <= 200; seed++) {
      runOnModel(seed, mix, (_before, _operation, perform) => {
        for (const rule of perform()?.applied ?? []) met.add(rule);
      });
    }
    expect(met.size).toBeGreaterThan(20);
    for (const id of met) {
      const rule = rules[id as keyof typeof rules];
      expect(rule, id).toBeDefined();
      expect(legal[mix], `${id} in a program of ${mix} sockets`).toContain(rule.reached ?? 'tcp');
    }
  }
});
