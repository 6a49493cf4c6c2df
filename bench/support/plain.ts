// The plain JavaScript that benches share with the tests: it stays where it is, so it is imported from there.

import { pathToFileURL } from 'node:url';
import type { Requirement } from '../../scripts/requirements.js';
import { fromProject } from './project.js';

const ports = (await load('test/support/ports.js')) as typeof import('../../test/support/ports.js');
const programs = (await load('scripts/requirements.js')) as typeof import('../../scripts/requirements.js');

export const freePort: () => Promise<number> = ports.freePort;

/** The absolute path of a program. @throws Error with the line that installs it. */
export function pathOf(name: Requirement): string {
  const path = programs.pathOf(name);
  if (path === undefined) throw new Error(`${name} is missing; run: ${programs.installLine([name])}`);
  return path;
}

/** The same where doing without is possible. */
export const findPath: (name: Requirement) => string | undefined = programs.pathOf;

/** @throws Error with the line that installs what is missing of these. */
export function needs(names: readonly Requirement[]): void {
  const missing = programs.missing(names);
  if (missing.length > 0) {
    throw new Error(`${missing.join(', ')} missing; run: ${programs.installLine(missing)}`);
  }
}

function load(file: string): Promise<unknown> {
  return import(pathToFileURL(fromProject(file)).href);
}
