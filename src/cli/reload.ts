import { KEEPER_STOPS, type ReloadOutcome } from '../keeper/reload.js';
import { formatDuration } from '../model/duration.js';
import { askNamed, keeperName } from './ask-named.js';
import {
  type AppReload,
  type AppToReload,
  appsToReload,
  askToReload,
  describeFailedApp,
  failedReload,
  reloadOne,
} from './reload-apps.js';

export interface ReloadFlags {
  readonly newAddresses?: boolean;
  readonly json?: boolean;
}

/**
 * `holdfast reload`: exit 0 when the new generation has taken over, 1 when it failed and the former one goes on. For apps of
 * a file that is read again: what has changed in it is replaced.
 */
export async function reload(given: string | undefined, flags: ReloadFlags): Promise<void> {
  const { newAddresses = false, json = false } = flags;
  const apps = await appsToReload(given === undefined ? undefined : keeperName(given));
  if (apps !== undefined) return reloadApps(apps, given === undefined, flags);
  const outcome = await askToReload(keeperName(given), newAddresses);
  if (!json) return tellOutcome(outcome);
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
  if (!outcome.ok) process.exitCode = 1;
}

/** `named`: each line says of which app it is. */
async function reloadApps(
  apps: readonly AppToReload[],
  named: boolean,
  { newAddresses = false, json = false }: ReloadFlags,
): Promise<void> {
  for (const { record, app } of apps) {
    if (app !== undefined) continue;
    process.stderr.write(`holdfast: ${record.name} is no longer in ${record.file}: reloaded as it runs\n`);
  }
  const reloads = apps.map(async (one): Promise<AppReload> => {
    if (!named) return reloadOne(one, newAddresses);
    // What one refuses is no reason to say nothing of the others.
    return reloadOne(one, newAddresses).catch((error: unknown) => failedReload(one, error));
  });
  for (const one of await Promise.all(reloads)) {
    const { name, outcome, replaced, refused, log } = one;
    if (!outcome.ok) process.exitCode = 1;
    if (json) process.stdout.write(`${JSON.stringify(named ? { name, ...outcome } : outcome)}\n`);
    else if (replaced !== undefined) process.stdout.write(`${name}: ${replaced}\n`);
    else if (refused !== undefined) process.stderr.write(`holdfast: ${name}: ${refused}\n`);
    else if (log !== undefined) process.stderr.write(describeFailedApp(one));
    else if (!named) tellOutcome(outcome);
    else if (outcome.ok) process.stdout.write(`${name}: ${outcomeText(outcome)}\n`);
    else process.stderr.write(`holdfast: ${name}: ${outcomeText(outcome)}\n`);
  }
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
  if (outcome.ok) return describe(outcome);
  if (outcome.why === KEEPER_STOPS) return `the ${deed} failed: ${outcome.why}`;
  return `${deedFailed(outcome, deed)}: ${outcome.why}`;
}

/** Without the reason. */
export function deedFailed(
  { goesOn, released }: { readonly goesOn: boolean; readonly released?: true },
  deed: Deed = 'reload',
): string {
  if (released) return `the ${deed} failed, nothing runs, and holdfast take tries it again`;
  if (!goesOn && deed !== 'release')
    return `the ${deed} failed, the new one is started again as after a crash`;
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
