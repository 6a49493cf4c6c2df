import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { decidingRules } from '../../src/lab/deciding-rules.js';
import { builtInScenarios } from '../../src/lab/library.js';
import type { ScenarioResult } from '../../src/lab/play.js';
import { type RuleId, rules } from '../../src/model/rules.js';
import { project } from '../cli/holdfast.js';
import { holdfast } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { start } from '../support/process.js';

testNeeding(['netns', 'root'])(
  'every scenario that is quick comes out as expected, on model and kernel alike, and they reach the rules that no random program does',
  async () => {
    const lab = start([...holdfast, 'lab', 'run', 'all', '--quick', '--json']);
    const { code } = await lab.end(300_000);
    const { stdout, stderr } = lab;
    expect(stderr).toBe('');
    const { results, notRun } = JSON.parse(stdout) as { results: ScenarioResult[]; notRun: string[] };
    expect(results.filter(({ agrees, asExpected }) => !(agrees && asExpected))).toEqual([]);
    expect(notRun).toEqual([]);
    expect(code).toBe(0);
    const reached = new Set(
      results.flatMap(({ cases }) =>
        cases.flatMap(({ steps }) => steps.flatMap(({ applied }) => applied ?? [])),
      ),
    );
    for (const { id, cases } of results) expect([id, decidedBy(cases)]).toEqual([id, decidingRules[id]]);
    const wanted = (Object.keys(rules) as RuleId[]).filter((id) => rules[id].reached === 'scenario');
    expect(wanted.length).toBeGreaterThan(5);
    expect(wanted.filter((id) => !reached.has(id))).toEqual([]);
  },
  320_000,
);

/** In the order in which they are met first. */
function decidedBy(cases: ScenarioResult['cases']): readonly RuleId[] {
  const decisive = cases.flatMap(({ steps }) =>
    steps.filter(({ expected, claimed }) => expected !== 'ok' || claimed !== undefined),
  );
  const met = decisive.flatMap(({ rule }) => (rule === undefined || rule === 'done' ? [] : [rule]));
  return [...new Set(met)];
}

test('every built-in scenario has its deciding rules written down', () => {
  expect(Object.keys(decidingRules)).toEqual(builtInScenarios().map(({ id }) => id));
});

test('docs/rules.md is what the rules say', () => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/write-rules.js', '--check'], {
    cwd: project,
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
