import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './process.js';
import { benchFolder } from './project.js';

/**
 * Installs packages that benches compare with and nothing else needs, unless they are there, and gives their
 * node_modules. `specs` have exact versions: `pm2@7.0.4`.
 *
 * @throws Error with npm's words.
 */
export async function installPackages(specs: readonly string[]): Promise<string> {
  const folder = packagesFolder(specs);
  const modules = join(folder, 'node_modules');
  if (existsSync(join(modules, '.package-lock.json'))) return modules;
  const options = ['--no-audit', '--no-fund', '--no-update-notifier', '--ignore-scripts', '--save-exact'];
  await run(['npm', 'install', '--prefix', folder, ...options, ...specs], { timeoutMs: 300_000 });
  return modules;
}

/** Where they are installed. */
export function packagesFolder(specs: readonly string[]): string {
  return join(benchFolder, specs.map((spec) => spec.replaceAll('/', '+')).join('+'));
}
