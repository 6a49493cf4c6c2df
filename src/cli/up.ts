import { closeSync } from 'node:fs';
import { type App, readAppsFile } from '../apps/file.js';
import { errorText } from '../errors.js';
import { parseListen } from '../keeper/listen-address.js';
import { formatDuration } from '../model/duration.js';
import { chooseApps, startKeeper, stopKeeper, untilServing } from './app-keeper.js';
import { type AppLog, describeFailure, openLog } from './app-log.js';
import {
  type AppRecord,
  describeOrphan,
  exclusively,
  newRecord,
  removeRecord,
  runningApp,
  runningApps,
  runsAlready,
  writeRecord,
} from './app-record.js';
import { foreground } from './foreground.js';
import { restoreOpenFilesLimit } from './inherited.js';
import {
  changesOf,
  describeApp,
  describeReplaced,
  replaceLogged,
  whyForeground,
  whyNot,
} from './replace-app.js';

export interface UpFlags {
  readonly file: string;
  /** Milliseconds. */
  readonly wait: number;
  readonly removeOrphans?: boolean;
  readonly foreground?: boolean;
}

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
    if (other === undefined) return foreground(apps, { ...file, given: flags.file, waitMs: flags.wait });
    throw runsAlready(other);
  }
  const came = await Promise.all(
    apps.map((app) =>
      bringUp(app, { file: file.path, waitMs: flags.wait }).catch((error: unknown) =>
        failed(`${app.name}:`, errorText(error)),
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
async function bringUp(app: App, given: Given): Promise<boolean> {
  return exclusively(app.name, given, async () => {
    const running = runningApp(app.name, given.file);
    if (running === undefined) return begin(app, given);
    const changed = changesOf(app, running);
    const refusal = changed === undefined ? undefined : whyForeground(running);
    if (refusal !== undefined) return failed(app.name, `has changed, and ${refusal}`);
    if (changed !== undefined) return replace(app, running, changed, given);
    const arrival = await untilServing(app.name, running.keeper, given.waitMs);
    if (arrival.how === 'serving') return told(`${app.name}: unchanged, ${describeApp(arrival.state)}`);
    return failed(app.name, whyNot(arrival, given.waitMs));
  });
}

async function begin(app: App, { file, waitMs }: Given): Promise<boolean> {
  const log = openLog(app.name);
  try {
    const keeper = await startKeeper(app, { stdio: ['ignore', log.fd, log.fd], logged: true });
    const record = newRecord(app, file, keeper);
    writeRecord(record);
    const arrival = await untilServing(app.name, keeper, waitMs);
    if (arrival.how === 'ended') {
      removeRecord(record);
      return failed(app.name, `ended with ${await keeper.ended} and never served`, log);
    }
    keeper.child.unref();
    if (arrival.how !== 'serving') return failed(app.name, whyNot(arrival, waitMs), log);
    return told(`${app.name}: ${describeApp(arrival.state)}`);
  } finally {
    closeSync(log.fd);
  }
}

async function replace(
  app: App,
  running: AppRecord,
  changed: readonly string[],
  { waitMs }: Given,
): Promise<boolean> {
  const { log, ...replacement } = await replaceLogged(app, running, changed, { waitMs });
  if (!replacement.ok) return failed(app.name, replacement.why, log);
  return told(`${app.name}: ${describeReplaced(changed, replacement.state)}`);
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

function told(line: string): true {
  process.stdout.write(`${line}\n`);
  return true;
}

function failed(name: string, why: string, log?: AppLog): false {
  process.stderr.write(describeFailure(name, why, log));
  return false;
}
