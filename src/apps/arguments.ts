import type { App } from './file.js';

/** The arguments by which `holdfast` runs an app. */
export function runArguments(app: App, { replace = false }: { readonly replace?: boolean } = {}): string[] {
  const options = Object.entries(app.options).flatMap(([name, value]) => {
    if (value === true) return ON_BY_DEFAULT.has(name) ? [] : [`--${name}`];
    if (value === false) return ON_BY_DEFAULT.has(name) ? [`--no-${name}`] : [];
    return [value].flat().map((one) => `--${name}=${one}`);
  });
  return ['run', ...(replace ? ['--replace'] : []), `--name=${app.name}`, ...options, '--', ...app.command];
}

/** Options that only their `--no-` changes. */
const ON_BY_DEFAULT: ReadonlySet<string> = new Set(['trap', 'overlap']);
