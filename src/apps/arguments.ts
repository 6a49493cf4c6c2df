import type { App } from './file.js';

/** The arguments by which `holdfast` runs an app. `logged`: its output goes to a file, unless the app says otherwise. */
export function runArguments(
  app: App,
  { replace = false, logged = false }: { readonly replace?: boolean; readonly logged?: boolean } = {},
): string[] {
  const given = logged ? { 'log-file': true, ...app.options } : app.options;
  const options = Object.entries(given).flatMap(([name, value]) => {
    if (value === true) return ON_BY_DEFAULT.has(name) ? [] : [`--${name}`];
    if (value === false) return ON_BY_DEFAULT.has(name) ? [`--no-${name}`] : [];
    return [value].flat().map((one) => `--${name}=${one}`);
  });
  return ['run', ...(replace ? ['--replace'] : []), `--name=${app.name}`, ...options, '--', ...app.command];
}

/** Options that only their `--no-` changes. */
const ON_BY_DEFAULT: ReadonlySet<string> = new Set(['trap', 'overlap']);
