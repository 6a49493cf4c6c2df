import { readAppsFile } from '../apps/file.js';
import { parseListen } from '../keeper/listen-address.js';
import { chooseApps, stopKeeper } from './app-keeper.js';
import {
  describeOrphan,
  exclusively,
  removeRecord,
  runningApps,
  runningRecord,
  tellLeft,
} from './app-record.js';
import { notEnded } from './ask-named.js';

export interface DownFlags {
  readonly file: string;
  /** Milliseconds. */
  readonly timeout: number;
  readonly removeOrphans?: boolean;
}

/** `holdfast down`: stops apps one after another, the last of the file first. Nothing that runs is no error. */
export async function down(names: readonly string[], flags: DownFlags): Promise<void> {
  const file = readAppsFile(flags.file, parseListen);
  const wanted = chooseApps(file, names).map(({ name }) => name);
  const running = runningApps(file.path);
  const orphans = running.filter(({ name }) => !file.apps.some((app) => app.name === name));
  const chosen = wanted.flatMap((name) => running.filter((record) => record.name === name)).reverse();
  for (const record of [...(flags.removeOrphans ? orphans : []), ...chosen]) {
    const { name } = record;
    await exclusively(name, { waitMs: flags.timeout }, async () => {
      // It may have been replaced meanwhile.
      const last = runningRecord(name) ?? record;
      if (!(await stopKeeper(name, last.keeper, flags.timeout)))
        throw notEnded(name, last.keeper, flags.timeout);
      removeRecord(last);
    });
    process.stdout.write(`${name}: stopped\n`);
  }
  const left = wanted.filter((name) => tellLeft(name));
  if (chosen.length === 0 && left.length === 0) process.stdout.write('none of these apps runs\n');
  if (flags.removeOrphans) return;
  for (const orphan of orphans) process.stdout.write(`${describeOrphan(orphan, flags.file)}\n`);
}
