// Installs npm's packages when they are missing or older than the lockfile; otherwise returns at once.

import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const project = new URL('../', import.meta.url);

if (changedAt('node_modules/.package-lock.json') < changedAt('package-lock.json')) {
  const npm = spawnSync(
    'npm',
    ['ci', '--include=dev', '--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error'],
    {
      cwd: fileURLToPath(project),
      stdio: 'inherit',
    },
  );
  if (npm.error) throw npm.error;
  process.exitCode = npm.status ?? 1;
}

/** When the file was last written, in ms since the epoch; before everything else when it does not exist. */
function changedAt(file) {
  return statSync(new URL(file, project), { throwIfNoEntry: false })?.mtimeMs ?? Number.NEGATIVE_INFINITY;
}
