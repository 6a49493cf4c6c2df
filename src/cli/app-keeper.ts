import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runArguments } from '../apps/arguments.js';
import type { App, AppsFile } from '../apps/file.js';
import { HoldfastError } from '../errors.js';
import { askKeeper } from '../keeper/control.js';
import { exitCodeOf } from '../keeper/lifecycle.js';
import { type KeeperState, stateDirectory, stateFiles } from '../keeper/state.js';
import { isAlive, type ProcessId } from '../keeper/tree.js';
import { isReleased } from '../keeper/turnover.js';
import { processStat } from '../kernel/procfs.js';
import { keeperEnvironment } from './app-environment.js';
import { hasGone, stateOf } from './ask-named.js';

const LOOK_EVERY_MS = 20;

/** A keeper that was started for an app. */
export interface AppKeeper extends ProcessId {
  readonly child: ChildProcess;
  /** Settles when it has ended, with its exit code or 128 + the number of its signal. */
  readonly ended: Promise<number>;
}

/**
 * Starts `holdfast run` for an app, in a session of its own. `replace`: one of that name runs. `logged`: nobody reads what the
 * server writes.
 */
export async function startKeeper(
  app: App,
  {
    stdio,
    replace = false,
    logged = false,
  }: { readonly stdio: StdioOptions; readonly replace?: boolean; readonly logged?: boolean },
): Promise<AppKeeper> {
  const main = join(import.meta.dirname, 'main.cjs');
  const child = spawn(process.execPath, [main, ...runArguments(app, { replace, logged })], {
    cwd: app.directory,
    env: keeperEnvironment(app.env, app.directory, resolve(stateDirectory())),
    detached: true,
    stdio,
  });
  const ended = new Promise<number>((settle) => {
    child.once('exit', (code, signal) => settle(exitCodeOf({ code, signal })));
  });
  await new Promise<void>((started, failed) => {
    child.once('spawn', started).once('error', failed);
  });
  const pid = child.pid ?? 0;
  return { child, ended, pid, startTime: processStat(pid)?.startTime ?? 0 };
}

/** Waits until that keeper answers, and has taken over if it is to; false when it has ended before, or is late. */
export async function untilAnswering(name: string, keeper: ProcessId, waitMs: number): Promise<boolean> {
  const until = performance.now() + waitMs;
  while (isAlive(keeper) && performance.now() < until) {
    if ((await stateOf(name))?.pid === keeper.pid) return true;
    await sleep(LOOK_EVERY_MS);
  }
  return false;
}

/** How far an app came. */
export type Arrival =
  | { readonly how: 'serving'; readonly state: KeeperState }
  | { readonly how: 'ended' }
  /** Its port is somebody else's until `holdfast take`. */
  | { readonly how: 'released'; readonly state: KeeperState }
  /** `state`: undefined while its keeper does not answer. */
  | { readonly how: 'late'; readonly state: KeeperState | undefined };

/** Waits until that keeper's server serves, and no reload of it is on its way. */
export async function untilServing(name: string, keeper: ProcessId, waitMs: number): Promise<Arrival> {
  const until = performance.now() + waitMs;
  for (;;) {
    const isLast = performance.now() >= until;
    if (!isAlive(keeper)) return { how: 'ended' };
    const state = await stateOf(name);
    // While one keeper takes over from another, the former one answers.
    const isOurs = state?.pid === keeper.pid;
    if (isOurs && state.phase === 'serving' && !UNDECIDED.has(state.reload)) return { how: 'serving', state };
    if (isOurs && isReleased(state.reload)) return { how: 'released', state };
    if (isLast) return { how: 'late', state: isOurs ? state : undefined };
    await sleep(LOOK_EVERY_MS);
  }
}

/** Stages of a reload at which the new generation may still fail. */
const UNDECIDED: ReadonlySet<KeeperState['reload']> = new Set(['emptying', 'starting', 'discarding']);

/** Asks a keeper to stop and waits until it has ended; false when it has not after `timeoutMs`. */
export async function stopKeeper(name: string, keeper: ProcessId, timeoutMs: number): Promise<boolean> {
  const until = performance.now() + timeoutMs;
  let isAsked = false;
  while (isAlive(keeper)) {
    if (!isAsked) isAsked = await askToStop(name);
    if (performance.now() > until) return false;
    await sleep(LOOK_EVERY_MS);
  }
  return true;
}

/** False when the keeper does not hear yet, or does not any more. */
async function askToStop(name: string): Promise<boolean> {
  try {
    await askKeeper(stateFiles(name).control, 'POST', '/stop');
    return true;
  } catch (error) {
    if (hasGone(error)) return false;
    throw error;
  }
}

/**
 * The apps that were named, in the order of the file; all when none was.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION: the file has no such app.
 */
export function chooseApps({ apps, path }: AppsFile, names: readonly string[]): readonly App[] {
  const unknown = names.filter((name) => !apps.some((app) => app.name === name));
  if (unknown.length > 0) {
    const has = apps.length === 0 ? 'none' : apps.map(({ name }) => name).join(', ');
    const which = unknown.map((name) => `"${name}"`).join(', ');
    throw new HoldfastError('ERR_HOLDFAST_OPTION', `there is no app ${which} in ${path}; it has ${has}`);
  }
  return names.length === 0 ? apps : apps.filter(({ name }) => names.includes(name));
}
