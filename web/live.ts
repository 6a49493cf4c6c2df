import { useCallback, useEffect, useMemo, useState } from 'preact/hooks';
import type { Transition, WatchFilter, WatchSnapshot, WatchUpdate } from '../src/watch/view.js';
import type { Problem } from '../src/watch/web/wire.js';
import { queryOf } from './address.js';
import { whyNoStream } from './api.js';
import type { Edge } from './edges.js';
import { litBy } from './lit.js';
import { applied } from './same.js';

/** `ended`: the server has said why. */
export type Connection = 'connecting' | 'live' | 'reconnecting' | 'ended';

export interface Live {
  readonly connection: Connection;
  /** Why it has ended. */
  readonly problem: string | undefined;
  readonly snapshot: WatchSnapshot | undefined;
  /** Edges that were taken between the last two looks. */
  readonly lit: ReadonlySet<Edge>;
  readonly transitions: readonly Transition[];
}

/** A page that is not looked at is followed so long. */
const HIDDEN_MS = 30_000;

const NOTHING: Live = {
  ...{ connection: 'connecting', problem: undefined, snapshot: undefined, lit: new Set(), transitions: [] },
};

/** What the server tells of the sockets, and a function that begins again. */
export function useLive(filter: WatchFilter): readonly [live: Live, again: () => void] {
  const [live, setLive] = useState(NOTHING);
  const [attempt, setAttempt] = useState(0);
  const query = useMemo(() => queryOf(filter), [filter]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another attempt opens it again.
  useEffect(() => {
    setLive(NOTHING);
    return followInSight(query, (change) => setLive(change));
  }, [query, attempt]);
  const again = useCallback(() => setAttempt((before) => before + 1), []);
  return [live, again];
}

/**
 * Follows while the page is in sight, and a little longer: a browser has few connections to one server, and each page keeps one.
 *
 * @returns Ends it.
 */
function followInSight(query: string, change: (next: (before: Live) => Live) => void): () => void {
  let stop: (() => void) | undefined = follow(query, change);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = (): void => {
    clearTimeout(timer);
    if (document.visibilityState === 'visible') {
      stop ??= follow(query, change);
      return;
    }
    timer = setTimeout(() => {
      stop?.();
      stop = undefined;
    }, HIDDEN_MS);
  };
  document.addEventListener('visibilitychange', look);
  return () => {
    document.removeEventListener('visibilitychange', look);
    clearTimeout(timer);
    stop?.();
  };
}

/** @returns Ends it. */
function follow(query: string, change: (next: (before: Live) => Live) => void): () => void {
  const path = `updates?${query}`;
  const source = new EventSource(`api/${path}`);
  const end = (problem: string): void => {
    source.close();
    change((before) => ({ ...before, connection: 'ended', problem }));
  };
  source.addEventListener('update', ({ data }) => {
    const update = JSON.parse(data) as WatchUpdate;
    change((before) => afterUpdate(before, update));
  });
  source.addEventListener('problem', ({ data }) => end((JSON.parse(data) as Problem).text));
  source.addEventListener('error', () => {
    change((before) => ({ ...before, connection: 'reconnecting' }));
    if (source.readyState === EventSource.CLOSED) whyNoStream(path).then(end);
  });
  return () => source.close();
}

function afterUpdate(before: Live, update: WatchUpdate): Live {
  const fresh = { connection: 'live', problem: undefined } as const;
  if (update.type === 'snapshot') return { ...fresh, snapshot: update, lit: new Set(), transitions: [] };
  if (before.snapshot === undefined) return before;
  return {
    ...fresh,
    snapshot: applied(before.snapshot, update),
    lit: sameSet(before.lit, litBy(before.snapshot, update)),
    transitions: update.transitions,
  };
}

/** The one that is drawn already if they do not differ. */
function sameSet<T>(before: ReadonlySet<T>, after: ReadonlySet<T>): ReadonlySet<T> {
  return before.size === after.size && [...after].every((one) => before.has(one)) ? before : after;
}
