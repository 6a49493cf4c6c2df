import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { type TestContext, test } from 'vitest';
import type { NodeVersion, Requirement } from '../../scripts/requirements.js';
import { whyNoNetns } from './netns.js';
import { whyNoSystemd } from './real-systemd.js';
import { whyMissing } from './requirement.js';

/** What `whyMissingNeed` can find out by itself. */
export type Need = 'netns' | 'systemd' | 'root' | 'user' | KernelNeed | Requirement | NodeVersion;

/** `bound sockets`: the kernel tells which sockets are bound and no more. */
export type KernelNeed = 'cgroup v2' | 'mptcp' | 'bound sockets';

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
  if (need === 'systemd') return whyNoSystemd();
  if (need === 'root') return process.getuid?.() === 0 ? undefined : 'this test runs as root only';
  if (need === 'user')
    return process.getuid?.() === 0 ? 'this test runs as an ordinary user only' : undefined;
  if (need === 'cgroup v2')
    return / - cgroup2 /.test(readFileSync('/proc/self/mountinfo', 'latin1'))
      ? undefined
      : 'no cgroup v2 is mounted';
  if (need === 'mptcp') return existsSync('/proc/sys/net/mptcp') ? undefined : 'the kernel has no MPTCP';
  if (need === 'bound sockets') return linuxAtLeast(6, 8) ? undefined : 'the kernel is older than Linux 6.8';
  return whyMissing(need);
}

function linuxAtLeast(major: number, minor: number): boolean {
  const [first = 0, second = 0] = release().split('.').map(Number);
  return first > major || (first === major && second >= minor);
}

function skippedNeeds(): string[] {
  return (process.env.HOLDFAST_SKIP ?? '').split(',').map((name) => name.trim());
}
