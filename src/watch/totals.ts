import { endsOf, peerEndsOf } from '../kernel/socket-table.js';
import { ofStates } from './apply.js';
import type { Entry, Look } from './look.js';
import { eachLeftover, type Scope } from './scope.js';
import type { Unclosed, WatchedPort, WatchState, WatchTotals } from './view.js';

const PORTS_TOLD = 20;
const UNCLOSED_TOLD = 10;
/** TCP_TIMEWAIT_LEN in include/net/tcp.h */
const TIME_WAIT_MS = 60_000;

/** What a look counts in one scope. */
export interface Counted extends Omit<WatchTotals, 'sequence'> {
  readonly members: readonly Entry[];
  /** How many entries of TIME_WAIT have begun since the look before, by their timers. */
  readonly timeWaitsBegun: number;
}

export function countOf(look: Look, scope: Scope): Counted {
  if (!scope.isAll) return countIn(look, scope);
  // Once for all who watch everything.
  if (whole?.look !== look) whole = { look, counted: countIn(look, scope) };
  return whole.counted;
}

let whole: { readonly look: Look; readonly counted: Counted } | undefined;

function countIn(look: Look, scope: Scope): Counted {
  const members: Entry[] = [];
  const counts: Record<WatchState, number> = ofStates(() => 0);
  let [acceptQueue, hidden] = [0, 0];
  for (const entry of look.entries.values()) {
    if (!scope.has(entry)) continue;
    members.push(entry);
    counts[entry.view.state]++;
    if (entry.view.state === 'LISTEN') acceptQueue += entry.view.receiveQueue;
    if (entry.view.ownership === 'hidden') hidden++;
  }
  const timeWaits = countTimeWaits(look, scope);
  let orphans = 0;
  eachLeftover(look.orphans, scope, () => {
    orphans++;
  });
  return {
    ...{ atMs: look.atMs, members, acceptQueue, orphans, timeWaitEnds: timeWaits.ends },
    counts: { ...counts, TIME_WAIT: timeWaits.count, FIN_WAIT2: counts.FIN_WAIT2 + orphans },
    timeWaitsBegun: timeWaits.begun,
    ports: portsOf(members),
    unclosed: unclosedOf(members, look),
    unseen: { sockets: hidden, processes: hidden === 0 ? 0 : look.owners.hiddenProcesses },
  };
}

/** By local port, and which ports it has: to clear or to read all would take longer than to count. */
const byPort = new Uint32Array(1 << 16);
let portsCounted: number[] = [];

interface TimeWaits {
  readonly count: number;
  readonly begun: number;
  readonly ends: readonly number[];
}

/** Leaves in `byPort` how many each port has. */
function countTimeWaits({ timeWaits, elapsedMs = 0 }: Look, scope: Scope): TimeWaits {
  for (const port of portsCounted) byPort[port] = 0;
  portsCounted = [];
  const seconds = new Uint32Array(TIME_WAIT_MS / 1_000);
  const last = seconds.length - 1;
  let [count, begun] = [0, 0];
  eachLeftover(timeWaits, scope, (port, expiresMs) => {
    count++;
    const before = byPort[port] ?? 0;
    if (before === 0) portsCounted.push(port);
    byPort[port] = before + 1;
    const second = Math.min(last, Math.trunc(expiresMs / 1_000));
    seconds[second] = (seconds[second] ?? 0) + 1;
    if (expiresMs > TIME_WAIT_MS - elapsedMs) begun++;
  });
  return { count, begun, ends: count === 0 ? [] : [...seconds] };
}

interface Port {
  port: number;
  listening: number;
  live: number;
  acceptQueue: number;
  backlog: number;
  pid: number | null;
}

/** Ports of servers, and those with more than one socket: the others are clients' own. */
function portsOf(members: readonly Entry[]): readonly WatchedPort[] {
  const ports = new Map<number, Port>();
  const at = (port: number): Port => {
    const known = ports.get(port);
    if (known !== undefined) return known;
    const made = { port, listening: 0, live: 0, acceptQueue: 0, backlog: 0, pid: null };
    ports.set(port, made);
    return made;
  };
  for (const { socket, view } of members) {
    const port = at(socket.local.port);
    if (view.state !== 'LISTEN') port.live++;
    else {
      port.listening++;
      port.acceptQueue += view.receiveQueue;
      port.backlog += view.sendQueue;
      port.pid ??= view.pid;
    }
  }
  for (const port of portsCounted) if ((byPort[port] ?? 0) > 1) at(port);
  const shown = [...ports.values()].filter(
    ({ port, listening, live }) => listening > 0 || live + (byPort[port] ?? 0) > 1,
  );
  return shown
    .map((port) => ({ ...port, timeWait: byPort[port.port] ?? 0 }))
    .sort((one, other) => sizeOf(other) - sizeOf(one) || one.port - other.port)
    .slice(0, PORTS_TOLD)
    .map(({ port, listening, live, timeWait, acceptQueue, backlog, pid }) => ({
      ...{ port, listening, live, timeWait, acceptQueue, backlog, pid },
    }));
}

function sizeOf({ live, timeWait, acceptQueue }: Omit<WatchedPort, 'port'>): number {
  return live + timeWait + acceptQueue;
}

/** Whose fault it is that sockets are in CLOSE_WAIT, and in FIN_WAIT2 while somebody has them. */
function unclosedOf(members: readonly Entry[], look: Look): readonly Unclosed[] {
  const found = new Map<number | null, { closeWait: number; finWait2: number }>();
  const of = (pid: number | null): { closeWait: number; finWait2: number } => {
    const known = found.get(pid) ?? { closeWait: 0, finWait2: 0 };
    found.set(pid, known);
    return known;
  };
  const listeners = onceAsked(() => listenersOf(look));
  const here = onceAsked(() => connectionsOf(look));
  for (const { socket, view } of members) {
    if (view.state === 'CLOSE_WAIT') of(view.pid ?? listeners().get(socket.local.port) ?? null).closeWait++;
    else if (view.state === 'FIN_WAIT2') of(here().get(peerEndsOf(socket)) ?? null).finWait2++;
  }
  return [...found]
    .map(([pid, { closeWait, finWait2 }]) => ({ pid, closeWait, finWait2 }))
    .sort((one, other) => other.closeWait + other.finWait2 - one.closeWait - one.finWait2)
    .slice(0, UNCLOSED_TOLD);
}

/** Who listens at each port: what waits in its queue is for it to close. */
function listenersOf({ entries }: Look): ReadonlyMap<number, number> {
  const found = new Map<number, number>();
  for (const { socket, view } of entries.values()) {
    if (view.state === 'LISTEN' && view.pid !== null) found.set(socket.local.port, view.pid);
  }
  return found;
}

function connectionsOf({ entries }: Look): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const { socket, view } of entries.values()) {
    if (view.state === 'CLOSE_WAIT' && view.pid !== null) found.set(endsOf(socket), view.pid);
  }
  return found;
}

function onceAsked<T>(make: () => T): () => T {
  let made: { readonly it: T } | undefined;
  return () => {
    made ??= { it: make() };
    return made.it;
  };
}
