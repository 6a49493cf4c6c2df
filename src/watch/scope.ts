import type { LeftoverTimes, TableSocket } from '../kernel/socket-table.js';
import { familyOf } from './family.js';
import type { Entry, Look } from './look.js';
import type { WatchedKeeper, WatchFilter } from './view.js';

/** What a filter means at one look. */
export interface Scope {
  /** Whether it is everything. */
  readonly isAll: boolean;
  has(entry: Entry): boolean;
  /** For what no process has: leftovers, and sockets that are gone. */
  hasPort(port: number): boolean;
}

const ALL: Scope = { isAll: true, has: () => true, hasPort: () => true };

/** A process has its sockets, and what no process has at the ports at which it listens. */
export function scopeOf(filter: WatchFilter, look: Look, keepers: readonly WatchedKeeper[]): Scope {
  const { port, pid, keeper } = filter;
  if (port === undefined && pid === undefined && keeper === undefined) return ALL;
  const families = [
    ...(pid === undefined ? [] : [familyOf(pid)]),
    ...(keeper === undefined ? [] : [keptBy(keepers.find(({ name }) => name === keeper))]),
  ];
  const scopes = families.map((pids) => ({ pids, ports: portsOf(pids, look) }));
  const hasPort = (local: number): boolean =>
    (port === undefined || port === local) && scopes.every(({ ports }) => ports.has(local));
  return {
    isAll: false,
    hasPort,
    has: ({ socket, holders = [] }) => {
      if (socket.inode === 0) return hasPort(socket.local.port);
      if (port !== undefined && socket.local.port !== port) return false;
      return scopes.every(({ pids }) => holders.some((holder) => pids.has(holder)));
    },
  };
}

/** The keeper, all that it has started and what runs on from keepers before it. */
function keptBy(keeper: WatchedKeeper | undefined): ReadonlySet<number> {
  if (keeper === undefined) return new Set();
  const roots = [keeper.pid, ...keeper.workers.flatMap(({ pid }) => (pid === null ? [] : [pid]))];
  return new Set(roots.flatMap((pid) => [...familyOf(pid)]));
}

function portsOf(pids: ReadonlySet<number>, { entries }: Look): ReadonlySet<number> {
  const ports = new Set<number>();
  for (const { socket, holders = [] } of entries.values()) {
    if (isAtPort(socket) && holders.some((pid) => pids.has(pid))) ports.add(socket.local.port);
  }
  return ports;
}

function isAtPort({ state }: TableSocket): boolean {
  return state === 'LISTEN' || state === 'CLOSE';
}

/** Calls back for each leftover of the scope. */
export function eachLeftover(
  { count, ports, expiresMs }: LeftoverTimes,
  scope: Scope,
  visit: (port: number, expiresMs: number) => void,
): void {
  // Asked once for each port: there may be tens of thousands of leftovers.
  const isIn = scope.isAll ? undefined : new Map<number, boolean>();
  for (let index = 0; index < count; index++) {
    const port = ports[index] ?? 0;
    if (isIn !== undefined) {
      let known = isIn.get(port);
      if (known === undefined) {
        known = scope.hasPort(port);
        isIn.set(port, known);
      }
      if (!known) continue;
    }
    visit(port, expiresMs[index] ?? 0);
  }
}
