import { readFileSync } from 'node:fs';
import { errorCode, HoldfastError } from '../errors.js';
import { parseHosts } from '../fan/host-list.js';
import type { FanOptions } from '../index.js';

/** Which hosts, and how they are reached: the flags that all commands for many hosts take. */
export interface HostFlags {
  readonly exclude?: readonly string[];
  readonly groups?: string;
  readonly user?: string;
  readonly port?: number;
  readonly rsh?: true;
  readonly sshArg?: readonly string[];
  readonly fanout: number;
  /** Milliseconds. */
  readonly connectTimeout: number;
  readonly closeTimeout: number;
  readonly timeout?: number;
}

/**
 * The hosts of some lists, each once. `flag`: where the lists come from.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_HOSTS: a mistake in a list. ERR_HOLDFAST_OPTION: no host is left.
 */
export function hostsOf(
  flag: string,
  lists: readonly string[],
  { exclude = [], groups }: HostFlags,
): readonly string[] {
  const sources = {
    group: (name: string) => groupsIn(groups)[name],
    file: (path: string) => readFileSync(path === '-' ? 0 : path, 'utf8'),
  };
  const without = new Set(exclude.flatMap((list) => parseHosts(list, sources)));
  const all = new Set(lists.flatMap((list) => parseHosts(list, sources)));
  const hosts = [...all].filter((host) => !without.has(host));
  if (hosts.length === 0) throw wrong(`${flag} and -x leave no host`);
  return hosts;
}

/** How the hosts are reached, in the library's words. */
export function reachOf(flags: HostFlags): Omit<FanOptions, 'hosts' | 'command'> {
  return {
    ...{ via: flags.rsh ? 'rsh' : 'ssh', sshArguments: flags.sshArg },
    ...{ user: flags.user, port: flags.port, fanout: flags.fanout },
    ...{ connectTimeoutMs: flags.connectTimeout, closeTimeoutMs: flags.closeTimeout },
    timeoutMs: flags.timeout,
  };
}

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION: it cannot be read. */
export function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new HoldfastError('ERR_HOLDFAST_OPTION', `${file} cannot be read (${errorCode(error)})`, error);
  }
}

/** `name: list`, a line each. */
function groupsIn(file: string | undefined): Readonly<Record<string, string>> {
  if (file === undefined)
    throw wrong('--groups names the file that has the groups, a line each: web: web[01-20]');
  const lines = readText(file)
    .split('\n')
    .map((line) => line.replace(/(^|\s)#.*/, '').trim());
  return Object.fromEntries(
    lines.flatMap((line, index) => {
      if (line === '') return [];
      const [, name, list] = /^([\w.-]+)\s*:\s*(.+)$/.exec(line) ?? [];
      if (name === undefined || list === undefined)
        throw wrong(`${file}, line ${index + 1}: not of the form web: web[01-20]`);
      return [[name, list]];
    }),
  );
}

function wrong(text: string): HoldfastError {
  return new HoldfastError('ERR_HOLDFAST_OPTION', text);
}
