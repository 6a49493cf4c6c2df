import { closeSync } from 'node:fs';
import type { App } from '../apps/file.js';
import { changedKeys, concernsServer, fingerprintOf } from '../apps/fingerprint.js';
import { askKeeper } from '../keeper/control.js';
import type { ReloadOutcome } from '../keeper/reload.js';
import { type KeeperState, stateFiles } from '../keeper/state.js';
import { isAlive } from '../keeper/tree.js';
import { isReleased } from '../keeper/turnover.js';
import { processStat } from '../kernel/procfs.js';
import { formatDuration } from '../model/duration.js';
import { type AppKeeper, type Arrival, startKeeper, untilServing } from './app-keeper.js';
import { type AppLog, openLog } from './app-log.js';
import { type AppRecord, writeRecord } from './app-record.js';
import { otherCommand, stateOf } from './ask-named.js';

/** How an app came to be as its file has it. `why` stands behind its name; `goesOn`: the former server serves as before. */
export type Replacement =
  | { readonly ok: true; readonly state: KeeperState }
  | { readonly ok: false; readonly goesOn: boolean; readonly why: string };

export interface Replacing {
  /** Starts a keeper of the app that takes over from the one that runs. */
  readonly start: () => Promise<AppKeeper>;
  /** How long it may take until it serves. */
  readonly waitMs: number;
  /** The server is reloaded also when the change is the keeper's alone. */
  readonly reloads?: boolean;
}

/** The keys in which an app differs from what runs; undefined when it runs as the file has it. */
export function changesOf(app: App, running: AppRecord): readonly string[] | undefined {
  const changed = changedKeys(running.fingerprint, fingerprintOf(app));
  return changed.length > 0 || running.failed ? changed : undefined;
}

/** Why an app that has changed may not be replaced from elsewhere; undefined when no `up --foreground` has it. */
export function whyForeground({ foreground }: AppRecord): string | undefined {
  if (foreground === undefined || !isAlive(foreground)) return undefined;
  const { pid } = foreground;
  return processStat(pid)?.terminal !== 0
    ? `runs under holdfast up --foreground in a terminal (pid ${pid}): end that and start it again`
    : `runs under holdfast up --foreground, which reads the file again at SIGHUP: kill -HUP ${pid}`;
}

/** Why a reload may not replace an app now, whose server is not to serve; undefined when it may. */
export async function whyNotReplaced(name: string): Promise<string | undefined> {
  const state = await stateOf(name);
  if (state?.paused) return `is paused: holdfast resume ${name} first`;
  return state !== undefined && isReleased(state.reload)
    ? `its port is released: holdfast take ${name} first`
    : undefined;
}

/** A new keeper takes over from the one that runs, which goes on if that fails, and has the server reloaded if need be. */
export async function replaceApp(
  app: App,
  running: AppRecord,
  changed: readonly string[],
  { start, waitMs, reloads = false }: Replacing,
): Promise<Replacement> {
  const before = await stateOf(app.name);
  const keeper = await start();
  const { pid, startTime } = keeper;
  const record = { ...running, fingerprint: fingerprintOf(app), keeper: { pid, startTime } };
  // At once, so that it is ours however this ends.
  writeRecord({ ...record, failed: true });
  const arrival = await untilServing(app.name, keeper, waitMs);
  if (arrival.how === 'ended') {
    await keeper.ended;
    writeRecord(running);
    return isAlive(running.keeper)
      ? { ok: false, goesOn: true, why: 'cannot be replaced, and goes on as before' }
      : {
          ok: false,
          goesOn: false,
          why: 'cannot be replaced, and has lost its keeper; what is left of it goes on without one',
        };
  }
  const { failed: _, ...proven } = record;
  if (arrival.how === 'released') writeRecord(proven);
  const { state } = arrival;
  if (state?.phase !== 'serving') return { ok: false, goesOn: true, why: whyNot(arrival, waitMs) };
  const isToChange = reloads || running.failed || concernsServer(changed);
  if (isToChange && isSameServer(before, state)) {
    const outcome = await reloadApp(app.name);
    if (!outcome.ok) {
      const why = `goes on as before, the new server failed: ${outcome.why}`;
      return { ok: false, goesOn: outcome.goesOn, why };
    }
  }
  writeRecord(proven);
  return { ok: true, state: (await stateOf(app.name)) ?? state };
}

/** The same for an app whose output goes to its log, from which the end tells more of a failure. */
export async function replaceLogged(
  app: App,
  running: AppRecord,
  changed: readonly string[],
  how: Omit<Replacing, 'start'>,
): Promise<Replacement & { readonly log: AppLog }> {
  const log = openLog(app.name);
  let keeper: AppKeeper | undefined;
  const start = async (): Promise<AppKeeper> => {
    keeper = await startKeeper(app, { stdio: ['ignore', log.fd, log.fd], logged: true, replace: true });
    return keeper;
  };
  try {
    return { ...(await replaceApp(app, running, changed, { ...how, start })), log };
  } finally {
    // It goes on without us.
    keeper?.child.unref();
    closeSync(log.fd);
  }
}

/** Whether the server is still the one of the former keeper. */
function isSameServer(before: KeeperState | undefined, now: KeeperState): boolean {
  return (
    now.worker !== null &&
    before?.worker?.pid === now.worker.pid &&
    before.worker.startTime === now.worker.startTime
  );
}

/** However long it takes: the keeper knows how long that may be. */
async function reloadApp(name: string): Promise<ReloadOutcome> {
  const answer = await askKeeper(stateFiles(name).control, 'POST', '/reload?new-addresses', 0);
  return answer as ReloadOutcome;
}

/** What has been done, behind the name of the app. */
export function describeReplaced(changed: readonly string[], state: KeeperState): string {
  return `replaced (${changed.length === 0 ? 'tried again' : changed.join(', ')}), ${describeApp(state)}`;
}

export function describeApp(state: KeeperState): string {
  const { phase, pid, sockets } = state;
  const addresses = sockets.map(({ address }) => address).join(', ');
  const runs = otherCommand(state);
  const back = runs === undefined ? '' : `, runs ${runs.join(' ')}`;
  return `${phase}${addresses === '' ? '' : ` at ${addresses}`}, keeper pid ${pid}${back}`;
}

export function whyNot(arrival: Arrival, waitMs: number): string {
  if (arrival.how === 'ended') return 'has ended';
  if (arrival.how === 'released')
    return `does not serve: its port is released, holdfast take ${arrival.state.name} starts it`;
  const { state } = arrival;
  const phase = state === undefined ? 'its keeper does not answer' : state.phase;
  return `does not serve after ${formatDuration(waitMs)} (${phase}); it goes on`;
}
