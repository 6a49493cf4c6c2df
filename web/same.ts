import { applyDelta } from '../src/watch/apply.js';
import type { WatchDelta, WatchSnapshot } from '../src/watch/view.js';

/** The snapshot after the delta. What is equal to what was there before is the same object, so that it is not drawn again. */
export function applied(before: WatchSnapshot, delta: WatchDelta): WatchSnapshot {
  const after = applyDelta(before, delta);
  const isQuiet = delta.sockets.length === 0 && delta.gone.length === 0;
  return {
    ...after,
    sockets: isQuiet ? before.sockets : after.sockets,
    counts: same(before.counts, after.counts),
    timeWaitEnds: same(before.timeWaitEnds, after.timeWaitEnds),
    ports: sameEach(before.ports, after.ports, ({ port }) => port),
    unclosed: same(before.unclosed, after.unclosed),
    unseen: same(before.unseen, after.unseen),
    processes: same(before.processes, after.processes),
    keepers: sameEach(before.keepers, after.keepers, ({ name }) => name),
    marks: delta.marks.length === 0 ? before.marks : after.marks,
  };
}

function same<T>(before: T, after: T): T {
  return JSON.stringify(before) === JSON.stringify(after) ? before : after;
}

/** The same for each of a list; `key` tells them apart. */
function sameEach<T>(before: readonly T[], after: readonly T[], key: (one: T) => unknown): readonly T[] {
  const known = new Map(before.map((one) => [key(one), one]));
  const merged = after.map((one) => {
    const earlier = known.get(key(one));
    return earlier === undefined ? one : same(earlier, one);
  });
  const isSame = merged.length === before.length && merged.every((one, at) => one === before[at]);
  return isSame ? before : merged;
}
