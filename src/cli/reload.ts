import type { ReloadOutcome } from '../keeper/generations.js';
import { formatDuration } from '../model/duration.js';
import { askNamed, keeperName } from './ask-named.js';

/** `holdfast reload`: exit 0 when the new generation has taken over, 1 when it failed and the former one goes on. */
export async function reload(
  given: string | undefined,
  { newAddresses = false, json = false }: { readonly newAddresses?: boolean; readonly json?: boolean },
): Promise<void> {
  const name = keeperName(given);
  const outcome = (await askNamed(
    name,
    newAddresses ? '/reload?new-addresses' : '/reload',
    0,
  )) as ReloadOutcome;
  if (!json) return tellOutcome(outcome);
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
  if (!outcome.ok) process.exitCode = 1;
}

/** `holdfast restart`: exit 0 when the server serves again, 1 when it did not come up in time; it is tried on. */
export async function restart(given: string | undefined): Promise<void> {
  const name = keeperName(given);
  tellOutcome(await askNamed(name, '/restart', 0), takenOver, 'restart');
}

/** `holdfast rollback`: exit 0 when the generation before serves again, 1 when there is none or it failed. */
export async function rollback(given: string | undefined): Promise<void> {
  const name = keeperName(given);
  tellOutcome(
    await askNamed(name, '/rollback', 0),
    ({ generation, tookMs }) => `generation ${generation} serves again after ${formatDuration(tookMs)}`,
    'rollback',
  );
}

export type Success = Extract<ReloadOutcome, { readonly ok: true }>;

/** What was asked for, as a message names it. */
export type Deed = 'reload' | 'restart' | 'rollback' | 'scaling' | 'release' | 'take';

/** `describe`: what to say when it went well. */
export function tellOutcome(
  answer: unknown,
  describe: (outcome: Success) => string = takenOver,
  deed: Deed = 'reload',
): void {
  const outcome = answer as ReloadOutcome;
  const text = outcomeText(outcome, describe, deed);
  if (outcome.ok) {
    process.stdout.write(`${text}\n`);
  } else {
    process.stderr.write(`holdfast: ${text}\n`);
    process.exitCode = 1;
  }
}

export function outcomeText(
  outcome: ReloadOutcome,
  describe: (outcome: Success) => string = takenOver,
  deed: Deed = 'reload',
): string {
  return outcome.ok ? describe(outcome) : `${deedFailed(outcome, deed)}: ${outcome.why}`;
}

/** Without the reason. */
export function deedFailed({ goesOn }: { readonly goesOn: boolean }, deed: Deed = 'reload'): string {
  if (!goesOn) return `the ${deed} failed, the new one is started again as after a crash`;
  switch (deed) {
    case 'release':
    case 'take':
      // Whether a server runs depends on what was before.
      return `the ${deed} failed`;
    case 'rollback':
      return `the ${deed} failed, the server goes on as before`;
    case 'reload':
    case 'restart':
    case 'scaling':
      return `the ${deed} failed, the former server goes on`;
  }
}

export function takenOver({ generation, tookMs }: Pick<Success, 'generation' | 'tookMs'>): string {
  return `generation ${generation} has taken over after ${formatDuration(tookMs)}`;
}
