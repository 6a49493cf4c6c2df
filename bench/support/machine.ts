import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { arch, cpus, release, totalmem } from 'node:os';
import type { Requirement } from '../../scripts/requirements.js';
import { pathOf } from './plain.js';
import { fromProject } from './project.js';

/** What figures depend on. Nothing in it tells whose machine it is. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly arch: string;
  readonly kernel: string;
  readonly node: string;
}

export function machine(): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    arch: arch(),
    kernel: release(),
    node: process.versions.node,
  };
}

/** The versions of holdfast and of those programs that say one. */
export function programs(names: readonly Requirement[]): Record<string, string> {
  const { version } = JSON.parse(readFileSync(fromProject('package.json'), 'utf8')) as {
    readonly version: string;
  };
  const versions: Record<string, string> = { holdfast: version };
  for (const name of names) {
    const { stdout, stderr } = spawnSync(pathOf(name), [VERSION_OPTION[name] ?? '--version'], {
      encoding: 'utf8',
    });
    const found = /\d+(?:\.\d+)+/.exec(stdout + stderr)?.[0];
    if (found !== undefined) versions[name] = found;
  }
  return versions;
}

const VERSION_OPTION: Partial<Record<Requirement, string>> = {
  nginx: '-v',
  haproxy: '-v',
  wrk: '-v',
  ss: '-V',
  lsof: '-v',
  fuser: '-V',
  pdsh: '-V',
  ssh: '-V',
};
