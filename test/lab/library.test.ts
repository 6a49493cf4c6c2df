import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { builtInScenarios, findScenarios } from '../../src/lab/library.js';
import { temporaryFolder } from '../support/temporary.js';

const ids = builtInScenarios().map(({ id }) => id);

function numbered(prefix: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index + 1}`);
}

function lettered(prefix: string, last: string): readonly string[] {
  const [from, to] = ['a'.charCodeAt(0), last.charCodeAt(0)];
  return Array.from(
    { length: to - from + 1 },
    (_, index) => `${prefix}-${String.fromCharCode(from + index)}`,
  );
}

/** What docs/lab.md and others refer to by name. */
const PROMISED: readonly string[] = [
  ...numbered('S', 27),
  ...numbered('E', 12),
  ...lettered('Q', 'h'),
  ...lettered('F', 'l'),
  ...lettered('C', 'e'),
  ...lettered('G', 'd'),
];

test('every scenario that is spoken of is there, once', () => {
  expect(PROMISED).toHaveLength(27 + 12 + 8 + 12 + 5 + 4);
  expect(ids.filter((id) => PROMISED.includes(id)).sort()).toEqual([...PROMISED].sort());
});

test('no two scenarios have one id, in whatever letters', () => {
  const small = ids.map((id) => id.toLowerCase());
  expect(small.filter((id, index) => small.indexOf(id) !== index)).toEqual([]);
});

test('whatever claims something has a step that is claimed, and the other way round', () => {
  for (const { id, claim, cases } of builtInScenarios()) {
    const claimed = cases.some(({ steps }) => steps.some((step) => step.claimed !== undefined));
    expect(claimed, id).toBe(claim !== undefined);
  }
});

test('cases of one scenario are told apart', () => {
  for (const { id, cases } of builtInScenarios()) {
    const whens = cases.map(({ when }) => when);
    expect(new Set(whens).size, id).toBe(whens.length);
    if (cases.length > 1) expect(whens, id).not.toContain('');
  }
});

test('a scenario is found by its id in any letters, "all" are all, a path is a file', () => {
  const file = join(temporaryFolder(), 'mine.yml');
  writeFileSync(file, 'id: S1\ntitle: mine\nsource: me\nsteps: [wait 1ms]\n');
  expect(findScenarios(['s1', 'q-F']).map(({ id }) => id)).toEqual(['S1', 'Q-f']);
  expect(findScenarios(['all']).map(({ id }) => id)).toEqual(ids);
  expect(findScenarios([file]).map(({ title }) => title)).toEqual(['mine']);
});

test('a scenario that there is not is refused with the way to the others', () => {
  const refused = { code: 'ERR_HOLDFAST_SCENARIO', message: expect.stringContaining('holdfast lab list') };
  expect(() => findScenarios(['S99'])).toThrow(expect.objectContaining(refused));
});

test('a file that cannot be read is refused with its name', () => {
  const message = expect.stringMatching(/^\/nowhere\/mine\.yaml cannot be read: ENOENT/);
  const refused = { code: 'ERR_HOLDFAST_SCENARIO', message };
  expect(() => findScenarios(['/nowhere/mine.yaml'])).toThrow(expect.objectContaining(refused));
});
