import {
  type StateCounts,
  WATCH_STATES,
  type WatchDelta,
  type WatchHistory,
  type WatchSnapshot,
} from './view.js';

/** How many looks a history has at most: five minutes at one a second. */
export const HISTORY_MAX = 300;
/** How many marks are kept. */
export const MARKS_MAX = 200;

/** The snapshot as it would be told now, after the delta. */
export function applyDelta(before: WatchSnapshot, delta: WatchDelta): WatchSnapshot {
  const { sequence, atMs, counts, acceptQueue, orphans, timeWaitEnds, ports, unclosed, unseen, left } = delta;
  const sockets = new Map(before.sockets.map((socket) => [socket.id, socket]));
  for (const { id } of delta.gone) sockets.delete(id);
  for (const socket of delta.sockets) sockets.set(socket.id, socket);
  const processes = new Map([...before.processes, ...delta.processes].map((one) => [one.pid, one]));
  const keepers = new Map(before.keepers.map((keeper) => [keeper.name, keeper]));
  for (const name of delta.keepersGone) keepers.delete(name);
  for (const keeper of delta.keepers) keepers.set(keeper.name, keeper);
  const named = new Set([...sockets.values(), ...ports, ...unclosed].map(({ pid }) => pid));
  return {
    ...{ type: 'snapshot', intervalMs: before.intervalMs, sequence, atMs, counts, acceptQueue, orphans },
    ...{ timeWaitEnds, ports, unclosed, unseen, left },
    sockets: [...sockets.values()],
    processes: [...processes.values()].filter(({ pid }) => named.has(pid)),
    keepers: [...keepers.values()],
    history: longer(before.history, delta),
    marks: [...before.marks, ...delta.marks].slice(-MARKS_MAX),
  };
}

/** The history with one more look, without the first one when there are too many. */
export function longer(
  history: WatchHistory,
  {
    atMs,
    counts,
    acceptQueue,
  }: { readonly atMs: number; readonly counts: StateCounts; readonly acceptQueue: number },
): WatchHistory {
  const add = (list: readonly number[], value: number): readonly number[] =>
    [...list, value].slice(-HISTORY_MAX);
  return {
    atMs: add(history.atMs, atMs),
    counts: ofStates((state) => add(history.counts[state], counts[state])),
    acceptQueue: add(history.acceptQueue, acceptQueue),
  };
}

export function noHistory(): WatchHistory {
  return { atMs: [], counts: ofStates(() => []), acceptQueue: [] };
}

/** Something for each state. */
export function ofStates<T>(
  make: (state: (typeof WATCH_STATES)[number]) => T,
): Record<(typeof WATCH_STATES)[number], T> {
  return Object.fromEntries(WATCH_STATES.map((state) => [state, make(state)])) as Record<
    (typeof WATCH_STATES)[number],
    T
  >;
}
