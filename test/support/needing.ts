import { type TestContext, test } from 'vitest';
import type { NodeVersion, Requirement } from '../../scripts/requirements.js';
import { whyNoNetns } from './netns.js';
import { whyMissing } from './requirement.js';

/** What `whyMissingNeed` can find out by itself. */
export type Need = 'netns' | 'root' | 'user' | Requirement | NodeVersion;

export type TestNeeding = (title: string, run: (context: TestContext) => unknown, timeoutMs?: number) => void;

/**
 * A `test` that needs something of the machine. Its title says so; it fails with the reason when that is missing,
 * and it is skipped, aloud, only when HOLDFAST_SKIP names one of its needs (`HOLDFAST_SKIP=netns,root`).
 *
 * @param whyMissing undefined when nothing is missing. Left out, each need is looked at when the test runs.
 */
export function testNeeding(needs: Need | readonly Need[]): TestNeeding;
export function testNeeding(need: string, whyMissing: string | undefined): TestNeeding;
export function testNeeding(
  needs: string | readonly string[],
  ...given: [reason?: string | undefined]
): TestNeeding {
  const names = typeof needs === 'string' ? [needs] : needs;
  return (title, run, timeoutMs) => {
    const fullTitle = names.length === 0 ? title : `${title} [needs ${names.join(', ')}]`;
    const body = async (context: TestContext): Promise<void> => {
      const skipped = names.find((name) => skippedNeeds().includes(name));
      if (skipped !== undefined) {
        console.warn(`skipped by HOLDFAST_SKIP=${skipped}: ${fullTitle}`);
        context.skip(`HOLDFAST_SKIP=${skipped}`);
      }
      const lacks = names.flatMap((name) => {
        const why = given.length > 0 ? given[0] : whyMissingNeed(name as Need);
        return why === undefined ? [] : [{ name, why }];
      });
      if (lacks.length > 0) {
        const reasons = lacks.map(({ why }) => why).join('; ');
        throw new Error(`${reasons}. Without it: HOLDFAST_SKIP=${lacks.map(({ name }) => name).join(',')}`);
      }
      await run(context);
    };
    test(fullTitle, timeoutMs === undefined ? {} : { timeout: timeoutMs }, body);
  };
}

/** Why the machine or the user lacks a need; undefined when it is there. */
export function whyMissingNeed(need: Need): string | undefined {
  if (need === 'netns') return whyNoNetns();
  if (need === 'root') return process.getuid?.() === 0 ? undefined : 'this test runs as root only';
  if (need === 'user')
    return process.getuid?.() === 0 ? 'this test runs as an ordinary user only' : undefined;
  return whyMissing(need);
}

function skippedNeeds(): string[] {
  return (process.env.HOLDFAST_SKIP ?? '').split(',').map((name) => name.trim());
}
