import { closeSync } from 'node:fs';
import { type App, readAppsFile } from '../apps/file.js';
import { changedKeys, concernsServer, fingerprintOf } from '../apps/fingerprint.js';
import { errorText, HoldfastError } from '../errors.js';
import { askKeeper } from '../keeper/control.js';
import type { ReloadOutcome } from '../keeper/generations.js';
import { parseListen } from '../keeper/listen-address.js';
import { type KeeperState, stateFiles } from '../keeper/state.js';
import { isAlive } from '../keeper/tree.js';
import { formatDuration } from '../model/duration.js';
import { type Arrival, chooseApps, startKeeper, stopKeeper, untilServing } from './app-keeper.js';
import { type AppLog, endOfLog, openLog } from './app-log.js';
import {
  type AppRecord,
  describeOrphan,
  removeRecord,
  runningApp,
  runningApps,
  writeRecord,
} from './app-record.js';
import { stateOf } from './ask-named.js';
import { foreground } from './foreground.js';
import { restoreOpenFilesLimit } from './inherited.js';

export interface UpFlags {
  readonly file: string;
  /** Milliseconds. */
  readonly wait: number;
  readonly removeOrphans?: boolean;
  readonly foreground?: boolean;
}

const LOG_LINES = 10;
/** How long an app that is no longer in the file may take to end. */
const ORPHAN_STOP_MS = 60_000;

/**
 * `holdfast up`: exit 0 when every app serves, 1 when one does not. In the foreground it ends with the first exit code of an
 * app that is not 0.
 */
export async function up(names: readonly string[], flags: UpFlags): Promise<void> {
  const file = readAppsFile(flags.file, parseListen);
  const apps = chooseApps(file, names);
  // Nothing is started when one of the names is somebody else's.
  const running = apps.map((app) => runningApp(app.name, file.path));
  restoreOpenFilesLimit();
  if (flags.foreground) {
    const [other] = running.filter((record) => record !== undefined);
    if (other === undefined) return foreground(apps, file.path);
    const text = `"${other.name}" runs already (pid ${other.keeper.pid}); end it with holdfast down`;
    throw new HoldfastError('ERR_HOLDFAST_NAME_TAKEN', text);
  }
  const came = await Promise.all(
    apps.map((app, index) =>
      bringUp(app, running[index], { file: file.path, waitMs: flags.wait }).catch((error: unknown) =>
        failed(app.name, errorText(error)),
      ),
    ),
  );
  const orphans = runningApps(file.path).filter(({ name }) => !file.apps.some((app) => app.name === name));
  const ended = await Promise.all(orphans.map((orphan) => tellOrphan(orphan, flags)));
  if (came.includes(false) || ended.includes(false)) process.exitCode = 1;
}

interface Given {
  readonly file: string;
  readonly waitMs: number;
}

/** Starts or replaces one app, unless it runs as the file has it. Gives whether it serves, and says so. */
async function bringUp(app: App, running: AppRecord | undefined, given: Given): Promise<boolean> {
  const fingerprint = fingerprintOf(app);
  if (running === undefined) return begin(app, given);
  const changed = changedKeys(running.fingerprint, fingerprint);
  if (changed.length > 0 || running.failed) return replace(app, running, changed, given);
  const arrival = await untilServing(app.name, running.keeper, given.waitMs);
  if (arrival.how === 'serving') return told(`${app.name}: unchanged, ${describe(arrival.state)}`);
  return failed(app.name, whyNot(arrival, given.waitMs));
}

async function begin(app: App, { file, waitMs }: Given): Promise<boolean> {
  const log = openLog(app.name);
  try {
    const keeper = await startKeeper(app, { stdio: ['ignore', log.fd, log.fd], logged: true });
    const { pid, startTime } = keeper;
    const record: AppRecord = {
      version: 1,
      name: app.name,
      file,
      fingerprint: fingerprintOf(app),
      keeper: { pid, startTime },
    };
    writeRecord(record);
    const arrival = await untilServing(app.name, keeper, waitMs);
    if (arrival.how === 'ended') {
      removeRecord(record);
      return failed(app.name, `ended with ${await keeper.ended} and never served`, log);
    }
    keeper.child.unref();
    if (arrival.how === 'late') return failed(app.name, whyNot(arrival, waitMs), log);
    return told(`${app.name}: ${describe(arrival.state)}`);
  } finally {
    closeSync(log.fd);
  }
}

/** The new keeper takes over from the one that runs, which goes on if that fails. */
async function replace(
  app: App,
  running: AppRecord,
  changed: readonly string[],
  { waitMs }: Given,
): Promise<boolean> {
  const log = openLog(app.name);
  try {
    const before = await stateOf(app.name);
    const keeper = await startKeeper(app, { stdio: ['ignore', log.fd, log.fd], logged: true, replace: true });
    const { pid, startTime } = keeper;
    const record = { ...running, fingerprint: fingerprintOf(app), keeper: { pid, startTime } };
    // At once, so that it is ours however this ends.
    writeRecord({ ...record, failed: true });
    const arrival = await untilServing(app.name, keeper, waitMs);
    if (arrival.how === 'ended') {
      await keeper.ended;
      writeRecord(running);
      const goesOn = isAlive(running.keeper)
        ? 'goes on as before'
        : 'has lost its keeper; what is left of it goes on without one';
      return failed(app.name, `cannot be replaced, and ${goesOn}`, log);
    }
    keeper.child.unref();
    const { state } = arrival;
    if (state?.phase !== 'serving') return failed(app.name, whyNot(arrival, waitMs), log);
    const isToChange = running.failed || concernsServer(changed);
    if (isToChange && isSameServer(before, state)) {
      const outcome = await reload(app.name);
      if (!outcome.ok)
        return failed(app.name, `goes on as before, the new server failed: ${outcome.why}`, log);
    }
    const { failed: _, ...proven } = record;
    writeRecord(proven);
    const now = (await stateOf(app.name)) ?? state;
    const why = changed.length === 0 ? 'tried again' : changed.join(', ');
    return told(`${app.name}: replaced (${why}), ${describe(now)}`);
  } finally {
    closeSync(log.fd);
  }
}

/** Whether the server is still the one of the former keeper. */
function isSameServer(before: KeeperState | undefined, now: KeeperState): boolean {
  return (
    now.worker !== null &&
    before?.worker?.pid === now.worker.pid &&
    before.worker.startTime === now.worker.startTime
  );
}

/** However long it takes: the keeper knows how long that may be. */
async function reload(name: string): Promise<ReloadOutcome> {
  const answer = await askKeeper(stateFiles(name).control, 'POST', '/reload?new-addresses', 0);
  return answer as ReloadOutcome;
}

async function tellOrphan(orphan: AppRecord, { removeOrphans, file }: UpFlags): Promise<boolean> {
  const { name, keeper } = orphan;
  if (!removeOrphans) {
    return told(describeOrphan(orphan, file));
  }
  if (!(await stopKeeper(name, keeper, ORPHAN_STOP_MS))) {
    return failed(name, `is no longer in ${file} and has not ended within ${formatDuration(ORPHAN_STOP_MS)}`);
  }
  removeRecord(orphan);
  return told(`${name}: stopped, it is no longer in ${file}`);
}

function describe({ phase, pid, sockets }: KeeperState): string {
  const addresses = sockets.map(({ address }) => address).join(', ');
  return `${phase}${addresses === '' ? '' : ` at ${addresses}`}, keeper pid ${pid}`;
}

function whyNot(arrival: Arrival, waitMs: number): string {
  if (arrival.how === 'ended') return 'has ended';
  const { state } = arrival;
  const phase = state === undefined ? 'its keeper does not answer' : state.phase;
  return `does not serve after ${formatDuration(waitMs)} (${phase}); it goes on`;
}

function told(line: string): true {
  process.stdout.write(`${line}\n`);
  return true;
}

function failed(name: string, why: string, log?: AppLog): false {
  const end = log === undefined ? [] : endOfLog(log, LOG_LINES);
  const from = log === undefined || end.length === 0 ? '' : `; the end of ${log.path}:`;
  process.stderr.write([`holdfast: ${name} ${why}${from}`, ...end.map((line) => `  ${line}`), ''].join('\n'));
  return false;
}
