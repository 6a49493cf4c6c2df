import { closeSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { App } from '../apps/file.js';
import { type Fingerprint, fingerprintOf } from '../apps/fingerprint.js';
import { errorCode, HoldfastError } from '../errors.js';
import { type KeeperState, readState, stateDirectory, stateFiles, writeInOneStep } from '../keeper/state.js';
import { isAlive, type ProcessId } from '../keeper/tree.js';
import { tryLock } from '../kernel/lock.js';
import { leftServer } from './ask-named.js';

/** What `holdfast up` has written down of an app that it started: NAME.app beside the keeper's own files. */
export interface AppRecord {
  readonly version: 1;
  readonly name: string;
  /** The file that the app came from. */
  readonly file: string;
  readonly fingerprint: Fingerprint;
  readonly keeper: ProcessId;
  /** The `holdfast up --foreground` that reads what it prints. */
  readonly foreground?: ProcessId;
  /** Its keeper has this definition, and its server may still be that of a former one. */
  readonly failed?: true;
}

/** No keeper's file ends so, whatever its name. */
const ENDING = '.app';
/** Of the file by which one `up` after the other starts or replaces an app. */
const LOCK_ENDING = '.up';
const LOCK_LOOK_MS = 5;
/** How much longer another one may take than an app may take to serve. */
const LOCK_WAIT_MS = 10_000;

/** That of an app whose keeper has just been started. */
export function newRecord(
  app: App,
  file: string,
  { pid, startTime }: ProcessId,
  foreground?: ProcessId,
): AppRecord {
  return {
    version: 1,
    name: app.name,
    file,
    fingerprint: fingerprintOf(app),
    keeper: { pid, startTime },
    ...(foreground && { foreground }),
  };
}

/**
 * Does the work while nobody else starts or replaces that app: one of two that do so at once finds it done. `waitMs`: how
 * long that may take.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_NAME_TAKEN: another one does not come to its end.
 * @throws {DOMException} AbortError: by `signal`.
 */
export async function exclusively<T>(
  name: string,
  { waitMs, signal }: { readonly waitMs: number; readonly signal?: AbortSignal },
  work: () => Promise<T>,
): Promise<T> {
  const path = join(stateDirectory(), `${name}${LOCK_ENDING}`);
  const until = performance.now() + waitMs + LOCK_WAIT_MS;
  let lock = tryLock(path);
  for (; lock === undefined; lock = tryLock(path)) {
    if (performance.now() > until)
      throw new HoldfastError(
        'ERR_HOLDFAST_NAME_TAKEN',
        `another holdfast up or reload is at work on "${name}"; try again`,
      );
    await sleep(LOCK_LOOK_MS, undefined, { signal });
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
    closeSync(lock);
  }
}

export function writeRecord(record: AppRecord): void {
  writeInOneStep(recordPath(record.name), JSON.stringify(record));
}

/** Removes the record of a keeper that has ended, unless another has been started since. */
export function removeRecord({ name, keeper }: Pick<AppRecord, 'name' | 'keeper'>): void {
  if (readRecord(name)?.keeper.pid === keeper.pid) rmSync(recordPath(name), { force: true });
}

/** The apps of that file that run, whether it still has them or not. Records of those that have ended are removed. */
export function runningApps(file: string): readonly AppRecord[] {
  const records = readdirSync(stateDirectory())
    .filter((entry) => entry.endsWith(ENDING))
    .map((entry) => readRecord(entry.slice(0, -ENDING.length)))
    .filter((record) => record?.file === file);
  const running = records.filter((record) => record !== undefined && isAlive(record.keeper));
  for (const record of records) if (record !== undefined && !running.includes(record)) removeRecord(record);
  return running.filter((record) => record !== undefined);
}

/** The app of that name, if it runs, wherever it came from. */
export function runningRecord(name: string): AppRecord | undefined {
  const record = readRecord(name);
  return record !== undefined && isAlive(record.keeper) ? record : undefined;
}

/**
 * The app of that name, if it runs and came from that file.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_NAME_TAKEN: a keeper of that name runs that came from elsewhere.
 */
export function runningApp(name: string, file: string): AppRecord | undefined {
  const record = runningRecord(name);
  if (record !== undefined) {
    if (record.file === file) return record;
    throw taken(name, `from ${record.file} (pid ${record.keeper.pid})`);
  }
  const state = otherKeeper(name);
  if (state === undefined) return undefined;
  throw taken(name, `that holdfast up did not start (pid ${state.pid}: ${state.command.join(' ')})`);
}

/** Why an app does not run in the foreground. */
export function runsAlready({ name, keeper }: AppRecord): HoldfastError {
  const text = `"${name}" runs already (pid ${keeper.pid}); end it with holdfast down`;
  return new HoldfastError('ERR_HOLDFAST_NAME_TAKEN', text);
}

function otherKeeper(name: string): KeeperState | undefined {
  const state = readState(stateFiles(name).state);
  return state !== undefined && isAlive(state) ? state : undefined;
}

function taken(name: string, which: string): HoldfastError {
  const text = `a keeper named "${name}" runs ${which}; stop it with "holdfast stop ${name}" or give the app another name`;
  return new HoldfastError('ERR_HOLDFAST_NAME_TAKEN', text);
}

function readRecord(name: string): AppRecord | undefined {
  try {
    const record = JSON.parse(readFileSync(recordPath(name), 'utf8')) as AppRecord;
    return record.version === 1 ? record : undefined;
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function recordPath(name: string): string {
  return join(stateDirectory(), `${name}${ENDING}`);
}

/**
 * Whether the keeper of that name was killed and its server goes on without one; then says so, and the exit code is 1:
 * whoever asked for something to be done to it has not got that.
 */
export function tellLeft(name: string): boolean {
  const left = leftServer(readState(stateFiles(name).state));
  if (left === undefined) return false;
  process.stderr.write(`holdfast: ${name}: its keeper was killed; ${left} (or holdfast up)\n`);
  process.exitCode = 1;
  return true;
}

/** Of an app that runs and that `file`, as it was named, no longer has. */
export function describeOrphan({ name, keeper }: AppRecord, file: string): string {
  return `${name}: runs (pid ${keeper.pid}) and is no longer in ${file}; --remove-orphans stops it`;
}
