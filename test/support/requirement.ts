import {
  installLine,
  type NodeVersion,
  nodePathOf,
  nodesLine,
  pathOf,
  type Requirement,
} from '../../scripts/requirements.js';

/** Why a program that tests run is missing, with the line that installs it; undefined when it is there. */
export function whyMissing(name: Requirement | NodeVersion): string | undefined {
  if (name === 'node22' || name === 'node24') {
    return nodePathOf(name) === undefined ? `${name} is missing; run: ${nodesLine()}` : undefined;
  }
  return pathOf(name) === undefined ? `${name} is missing; run: ${installLine([name])}` : undefined;
}

/** The absolute path of a program that tests run. @throws Error with the line that installs it. */
export function binaryOf(name: Requirement | NodeVersion): string {
  const path = name === 'node22' || name === 'node24' ? nodePathOf(name) : pathOf(name);
  if (path === undefined) throw new Error(whyMissing(name));
  return path;
}
