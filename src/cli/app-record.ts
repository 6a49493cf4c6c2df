import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Fingerprint } from '../apps/fingerprint.js';
import { errorCode, HoldfastError } from '../errors.js';
import { type KeeperState, readState, stateDirectory, stateFiles, writeInOneStep } from '../keeper/state.js';
import { isAlive, type ProcessId } from '../keeper/tree.js';

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

/** Of an app that runs and that `file`, as it was named, no longer has. */
export function describeOrphan({ name, keeper }: AppRecord, file: string): string {
  return `${name}: runs (pid ${keeper.pid}) and is no longer in ${file}; --remove-orphans stops it`;
}
