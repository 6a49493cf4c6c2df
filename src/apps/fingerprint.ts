import { createHash } from 'node:crypto';
import type { App } from './file.js';

/** What an app is made of, without its secrets: a hash for each key. */
export type Fingerprint = Readonly<Record<string, string>>;

export function fingerprintOf({ command, directory, env, options }: App): Fingerprint {
  const variables = Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1));
  const keys = { command, directory, ...(variables.length === 0 ? {} : { env: variables }), ...options };
  return Object.fromEntries(Object.entries(keys).map(([key, value]) => [key, hashOf(value)]));
}

/** The keys in which two differ, in the order of the second. */
export function changedKeys(before: Fingerprint, after: Fingerprint): readonly string[] {
  const keys = new Set([...Object.keys(after), ...Object.keys(before)]);
  return [...keys].filter((key) => before[key] !== after[key]);
}

/** Whether a server has to be started anew for the change: the keeper alone cannot make it. */
export function concernsServer(keys: readonly string[]): boolean {
  return keys.some((key) => OF_THE_SERVER.has(key));
}

const OF_THE_SERVER: ReadonlySet<string> = new Set([
  ...['command', 'directory', 'env', 'user', 'group', 'listen', 'trap', 'workers', 'standby'],
  ...['graceful', 'log-file'],
]);

function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}
