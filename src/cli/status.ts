import { realpathSync } from 'node:fs';
import { type DrainState, type KeeperState, knownKeepers, type WorkerState } from '../keeper/state.js';
import { isAlive } from '../keeper/tree.js';
import { formatDuration } from '../model/duration.js';
import { leftServer, otherCommand, stateOf } from './ask-named.js';

/** `holdfast status`: exit 0 when the keepers asked for run, 1 when none does, as grep tells that it found nothing. */
export async function status(name: string | undefined, options: { readonly json?: boolean }): Promise<void> {
  const known = knownKeepers().filter((keeper) => name === undefined || keeper.name === name);
  const answers = await Promise.all(
    known.map((keeper) => (isAlive(keeper) ? stateOf(keeper.name) : undefined)),
  );
  const running = answers.filter((state) => state !== undefined);
  const none =
    name === undefined ? 'no keeper runs' : `no keeper named "${name}" runs; holdfast status lists them`;
  if (options.json) process.stdout.write(`${JSON.stringify(running, null, 2)}\n`);
  else process.stdout.write(running.length === 0 ? `${none}\n` : running.map(describe).join(''));
  for (const keeper of known) {
    const left = leftServer(keeper);
    if (left !== undefined)
      process.stderr.write(`holdfast: the keeper "${keeper.name}" was killed; ${left}\n`);
  }
  if (running.length === 0) process.exitCode = 1;
}

function describe(state: KeeperState): string {
  const age = formatDuration(Date.now() - state.since);
  const worker = state.worker === null ? 'no server runs' : `server pid ${state.worker.pid}`;
  const lines = [
    `${state.name}: ${state.phase}, keeper pid ${state.pid}, ${worker}, up ${age}${describeRestarts(state)}`,
    ...describeCommand(state),
    ...(state.workers.length > 1 ? state.workers.map(describeWorker) : []),
    ...(state.paused ? [`  paused; holdfast resume ${state.name} lets it go on`] : []),
    ...(state.reload === 'steady' ? [] : [`  reload: ${state.reload}`]),
    ...(state.drain ? describeDrain(state.drain) : []),
    ...state.sockets.map(
      (socket) =>
        `  ${socket.address}  ${socket.served ? 'served' : 'held, nobody serves it'}, ${socket.waiting} waiting`,
    ),
    ...(state.log ? [`  output: ${state.log}`] : []),
  ];
  return `${lines.join('\n')}\n`;
}

function describeCommand(state: KeeperState): readonly string[] {
  const given = state.command.join(' ');
  const runs = otherCommand(state);
  const own =
    runs === undefined ? [`  ${given}`] : [`  ${runs.join(' ')}`, `  the keeper was given: ${given}`];
  const folder = otherFolder(state);
  return folder === undefined ? own : [...own, `  in ${folder}; ${state.directory} is another folder now`];
}

/** The folder that it runs in, when that is not where the keeper's leads now: a link that has been changed since. */
function otherFolder({ directory, program }: KeeperState): string | undefined {
  if (program === undefined) return undefined;
  try {
    return realpathSync(directory) === program.directory ? undefined : program.directory;
  } catch {
    return program.directory; // ENOENT, EACCES: it is elsewhere, or gone
  }
}

/** Keepers of former versions do not count them. */
function describeRestarts({ restarts }: KeeperState): string {
  if (restarts === undefined) return '';
  if (restarts === 0) return ', never restarted';
  return `, ${restarts} ${restarts === 1 ? 'restart' : 'restarts'}`;
}

function describeWorker({ pid, generation, phase }: WorkerState): string {
  return `  generation ${generation}, ${pid === null ? 'not started' : `pid ${pid}`}: ${phase}`;
}

/** What a drain waits for. */
function describeDrain({
  generation,
  connections,
  owed,
  until,
  shared,
  late,
}: DrainState): readonly string[] {
  const left = formatDuration(Math.max(0, until - Date.now()));
  const open = connections === 1 ? '1 connection' : `${connections ?? 'no look yet at its'} connections`;
  const ofThem = owed === null ? '' : `, ${owed} owed something`;
  return [
    `  generation ${generation}: ${open}${ofThem}; it is waited for ${left} more at the most`,
    ...(late.length === 0 ? [] : [`  ${late.join(', ')}: not taken by the new generation yet`]),
    ...(shared.length === 0
      ? []
      : [`  ${shared.join(', ')}: shared, the old generation takes connections there until it stops`]),
  ];
}
