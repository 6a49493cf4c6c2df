import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errorText, HoldfastError } from '../errors.js';
import { parseScenarios, type Scenario } from './scenario.js';

/** Beside src and dist: data of the package, not a module. */
const FOLDER = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'scenarios');

/** The scenarios that holdfast brings, in the order of their files. */
export function builtInScenarios(): readonly Scenario[] {
  const scenarios = readdirSync(FOLDER)
    .filter((name) => name.endsWith('.yaml'))
    .sort()
    .flatMap((name) => readScenarios(join(FOLDER, name)));
  refuseEqualIds(scenarios);
  return scenarios;
}

/** @throws {HoldfastError} ERR_HOLDFAST_SCENARIO with file and line. */
export function readScenarios(file: string): readonly Scenario[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new HoldfastError('ERR_HOLDFAST_SCENARIO', `${file} cannot be read: ${errorText(error)}`, error);
  }
  return parseScenarios(text, file);
}

/** Built-in ones by name, and those of files: a word with a "/" or ".yaml" names a file. `all`: every built-in one. */
export function findScenarios(words: readonly string[]): readonly Scenario[] {
  const known = builtInScenarios();
  const found = words.flatMap((word) => {
    if (word === 'all') return known;
    if (word.includes('/') || /\.ya?ml$/.test(word)) return readScenarios(word);
    const one = known.find(({ id }) => id.toLowerCase() === word.toLowerCase());
    if (one === undefined) {
      throw new HoldfastError(
        'ERR_HOLDFAST_SCENARIO',
        `there is no scenario "${word}"; holdfast lab list shows them, a file is named with .yaml`,
      );
    }
    return [one];
  });
  refuseEqualIds(found);
  return found;
}

/** Results are told by id. The same scenario may be named twice. */
function refuseEqualIds(scenarios: readonly Scenario[]): void {
  const byId = new Map<string, Scenario>();
  for (const scenario of scenarios) {
    const other = byId.get(scenario.id);
    if (other !== undefined && other !== scenario) {
      throw new HoldfastError('ERR_HOLDFAST_SCENARIO', `two scenarios are called ${scenario.id}`);
    }
    byId.set(scenario.id, scenario);
  }
}
