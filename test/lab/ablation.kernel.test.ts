import { expect, test } from 'vitest';
import { ablations } from '../../src/lab/fuzz-run.js';
import { findScenarios } from '../../src/lab/library.js';
import { LINUX_6_18 } from '../../src/model/kernel-rules.js';
import { testNeeding } from '../support/needing.js';
import { start } from '../support/process.js';
import { TEST_MS } from './lab.js';

/** For each rule that can be left out a scenario that shows it. */
const SHOWN_BY: Readonly<Record<string, string>> = {
  connectSkipsBoundPorts: 'S13',
  automaticPortReleased: 'S7',
  specificV6BindIsV6only: 'S8',
  givenAddressKept: 'S11',
  timeWaitHoldsPort: 'F-a',
  listenerBlocksReuse: 'E5',
  explicitPortRecyclesTimeWait: 'S11',
  timeWaitNeedsReuse: 'S1',
  oddRangesIncomplete: 'S26',
  reuseportCache: 'S3',
  failedBindClearsAddress: 'S15',
  listenRechecksPort: 'S5',
  flagsReadAtCheck: 'S2',
  lowerHalfFirst: 'E10',
  acceptedHoldPort: 'S9',
  connectMovesWildcard: 'S10',
  v6ReuseportListenersLast: 'S16',
  dualStackConnectionBlocksV4Wildcard: 'S9',
  mappedAnyIsGiven: 'S24',
  connectOnlyRestored: 'S27',
  timeWaitIgnoresUid: 'S19',
  twReuse2NeedsLoopback: 'O-tw-reuse',
  incomingCpuScores: 'S17',
  specificBindLooksAtTwoBuckets: 'S22',
  udpFirstSharerDecides: 'S23',
  reuseaddrCache: 'S2',
  twReuseDelay: 'S11',
  'bind as socket(7) reads': 'S4',
  'bind as Netsem has it': 'E8',
};

test('there is a scenario for every rule that can be left out', () => {
  expect(Object.keys(SHOWN_BY).sort()).toEqual(
    ablations(LINUX_6_18)
      .map(({ rule }) => rule)
      .sort(),
  );
  expect(findScenarios([...new Set(Object.values(SHOWN_BY))]).every(({ slow }) => !slow)).toBe(true);
});

testNeeding(['netns', 'root'])(
  'a model that lacks any one rule is contradicted by the kernel in a scenario that shows it',
  async () => {
    // The lab's workers are built programs. That the whole model is contradicted in none is in coverage.test.ts.
    const program = `
      import { ablations } from '${built('lab/fuzz-run')}';
      import { findScenarios } from '${built('lab/library')}';
      import { contradictions } from '${built('lab/scenario-run')}';
      import { LINUX_6_18 } from '${built('model/kernel-rules')}';
      const shownBy = ${JSON.stringify(SHOWN_BY)};
      const silent = [];
      for (const { rule, kernel } of ablations(LINUX_6_18)) {
        if ((await contradictions(findScenarios([shownBy[rule]]), kernel)).length === 0) silent.push(rule);
      }
      console.log('told ' + JSON.stringify(silent));`;
    const child = start([process.execPath, '--input-type=module', '-e', program]);
    const [, told = ''] = await child.line(/^told (.*)$/, { timeoutMs: TEST_MS });
    expect(JSON.parse(told)).toEqual([]);
  },
  TEST_MS,
);

function built(module: string): string {
  return new URL(`../../dist/${module}.js`, import.meta.url).href;
}
