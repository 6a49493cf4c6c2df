import { existsSync, realpathSync } from 'node:fs';
import { type App, readAppsFile } from '../apps/file.js';
import { errorText, HoldfastError } from '../errors.js';
import { parseListen } from '../keeper/listen-address.js';
import type { ReloadOutcome } from '../keeper/reload.js';
import { type AppLog, describeFailure } from './app-log.js';
import { type AppRecord, exclusively, runningApps, runningRecord, tellLeft } from './app-record.js';
import { askNamed } from './ask-named.js';
import { restoreOpenFilesLimit } from './inherited.js';
import { changesOf, describeReplaced, replaceLogged, whyForeground, whyNotReplaced } from './replace-app.js';

/** Where `holdfast up` looks for apps when no file is named. */
const FILE = 'holdfast.yaml';
/** As with `up`. */
const WAIT_MS = 60_000;

/** An app that `holdfast up` has started, and what its file says of it now. */
export interface AppToReload {
  readonly record: AppRecord;
  /** Undefined when the file does not have it any more. */
  readonly app: App | undefined;
  /** The keys that are to change; undefined when it runs as the file has it. */
  readonly changed: readonly string[] | undefined;
}

/** How it went. `text`: what a person reads of it. */
export interface AppReload {
  readonly name: string;
  readonly outcome: ReloadOutcome;
  /** What was done to the keeper too, in words. */
  readonly replaced?: string;
  /** Why nothing was done at all. */
  readonly refused?: string;
  readonly log?: AppLog;
}

/**
 * The apps that a reload is about, with their files read again: the one named, else those of the file in this folder.
 * Undefined when it is about a keeper that came from no file. Nothing has been touched yet.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_APPS_FILE: a file is wrong. ERR_HOLDFAST_CONTROL: an app has changed, and cannot be
 *   replaced now.
 */
export async function appsToReload(given: string | undefined): Promise<readonly AppToReload[] | undefined> {
  const found = given === undefined ? appsOfFolder() : appNamed(given);
  for (const one of found ?? []) await mayBeReplaced(one);
  return found;
}

function appNamed(name: string): readonly AppToReload[] | undefined {
  const record = runningRecord(name);
  if (record === undefined) return undefined;
  // One whose file has been removed is in it no longer.
  if (!existsSync(record.file)) return [{ record, app: undefined, changed: undefined }];
  return withDefinitions([record], readAppsFile(record.file, parseListen).apps);
}

function appsOfFolder(): readonly AppToReload[] | undefined {
  if (!existsSync(FILE)) return undefined;
  const running = runningApps(realpathSync(FILE));
  if (running.length === 0) return undefined;
  const { apps } = readAppsFile(FILE, parseListen);
  for (const { name } of apps) if (!running.some((record) => record.name === name)) tellLeft(name);
  return withDefinitions(running, apps);
}

/** In the order of the file. */
function withDefinitions(running: readonly AppRecord[], apps: readonly App[]): readonly AppToReload[] {
  const place = ({ name }: AppRecord): number => apps.findIndex((app) => app.name === name);
  return [...running]
    .sort((a, b) => place(a) - place(b))
    .map((record) => {
      const app = apps.find(({ name }) => name === record.name);
      return { record, app, changed: app === undefined ? undefined : changesOf(app, record) };
    });
}

async function mayBeReplaced({ record, changed }: Omit<AppToReload, 'app'>): Promise<void> {
  if (changed === undefined) return;
  const { name, file } = record;
  const refuse = (why: string): never => {
    throw new HoldfastError('ERR_HOLDFAST_CONTROL', `${name} has changed in ${file}, and ${why}`);
  };
  const why = whyForeground(record) ?? (await whyNotReplaced(name));
  if (why !== undefined) refuse(why);
}

/** Replaces an app that has changed, and reloads one that has not. */
export async function reloadOne(
  { record, app, changed }: AppToReload,
  newAddresses: boolean,
): Promise<AppReload> {
  const { name } = record;
  if (app === undefined || changed === undefined)
    return { name, outcome: await askToReload(name, newAddresses) };
  return exclusively(name, { waitMs: WAIT_MS }, async () => {
    // Somebody else may have done it meanwhile, or have ended it.
    const running = runningRecord(name);
    const toChange = running === undefined ? undefined : changesOf(app, running);
    if (running === undefined || toChange === undefined)
      return { name, outcome: await askToReload(name, newAddresses) };
    await mayBeReplaced({ record: running, changed: toChange });
    return replaceOne(app, running, toChange);
  });
}

async function replaceOne(app: App, running: AppRecord, changed: readonly string[]): Promise<AppReload> {
  const { name } = app;
  restoreOpenFilesLimit();
  const since = performance.now();
  const { log, ...replacement } = await replaceLogged(app, running, changed, {
    waitMs: WAIT_MS,
    reloads: true,
  });
  if (!replacement.ok) {
    const { goesOn, why } = replacement;
    return { name, outcome: { ok: false, goesOn, why }, log };
  }
  const { state } = replacement;
  const tookMs = Math.round(performance.now() - since);
  return {
    name,
    outcome: { ok: true, generation: state.generation, tookMs },
    replaced: describeReplaced(changed, state),
  };
}

export async function askToReload(name: string, newAddresses: boolean): Promise<ReloadOutcome> {
  const path = newAddresses ? '/reload?new-addresses' : '/reload';
  return (await askNamed(name, path, 0)) as ReloadOutcome;
}

export function failedReload({ record: { name } }: AppToReload, error: unknown): AppReload {
  const why = errorText(error);
  return { name, outcome: { ok: false, goesOn: true, why }, refused: why };
}

/** What of an app that could not be replaced is told. */
export function describeFailedApp({ name, outcome, log }: AppReload): string {
  return outcome.ok ? '' : describeFailure(name, outcome.why, log);
}
