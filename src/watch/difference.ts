import { longer, MARKS_MAX, noHistory } from './apply.js';
import type { Look, SocketChange } from './look.js';
import { scopeOf } from './scope.js';
import { type Counted, countOf } from './totals.js';
import { TransitionCounter } from './transitions.js';
import type {
  GoneSocket,
  KeeperMark,
  WatchDelta,
  WatchedKeeper,
  WatchedProcess,
  WatchedSocket,
  WatchFilter,
  WatchHistory,
  WatchSnapshot,
  WatchUpdate,
} from './view.js';

/** As JSON, of which every character that we write is one byte but for names of programs. */
const DELTA_BYTES = 20_000;
/** What the closing of lists, and numbers that grow, may take besides. */
const RESERVE_BYTES = 300;
/** More sockets than this come with the deltas that follow a snapshot. */
const SNAPSHOT_SOCKETS = 5_000;

/** What happened at one look besides the sockets. */
export interface Surroundings {
  readonly keepers: readonly WatchedKeeper[];
  /** Those that are new. */
  readonly marks: readonly KeeperMark[];
}

interface Last {
  readonly look: Look;
  readonly counted: Counted;
  readonly keepers: readonly WatchedKeeper[];
}

/**
 * What one viewer has been told, and what it is to be told next. A viewer that reads slowly gets the difference to what it
 * knows, so it costs no more than one that does not.
 */
export class Difference {
  readonly #filter: WatchFilter;
  readonly #intervalMs: number;
  readonly #sockets = new Map<string, WatchedSocket>();
  readonly #processes = new Map<number, WatchedProcess>();
  readonly #keepers = new Map<string, WatchedKeeper>();
  readonly #transitions = new TransitionCounter();
  readonly #fates = new Map<string, GoneSocket>();
  #marks: readonly KeeperMark[] = [];
  #history: WatchHistory;
  #members: ReadonlySet<number> = new Set();
  #last: Last | undefined;
  #missed = false;
  #sequence = 0;

  /** @param history What is known of the time before, for a viewer of everything. */
  constructor(filter: WatchFilter, intervalMs: number, history: WatchHistory = noHistory()) {
    this.#filter = filter;
    this.#intervalMs = intervalMs;
    this.#history = history;
  }

  /** One more look. */
  add(look: Look, { keepers, marks }: Surroundings): void {
    const scope = scopeOf(this.#filter, look, keepers);
    const counted = countOf(look, scope);
    const members = new Set(counted.members.map(({ socket }) => socket.key));
    const changes = look.changes.filter(
      ({ key, port }) =>
        members.has(key) || this.#members.has(key) || (!look.entries.has(key) && scope.hasPort(port)),
    );
    if (this.#last !== undefined) this.#count(look, changes, this.#last.counted, counted);
    this.#members = members;
    this.#missed ||= look.missed;
    this.#last = { look, counted, keepers };
    this.#marks = [...this.#marks, ...marks.filter((mark) => this.#concerns(mark))].slice(-MARKS_MAX);
    const isKnown = this.#history.atMs.at(-1) === counted.atMs;
    if (this.#sequence === 0 && !isKnown) this.#history = longer(this.#history, counted);
  }

  /** The next update; undefined before the first look. */
  take(): WatchUpdate | undefined {
    if (this.#last === undefined) return undefined;
    this.#sequence++;
    return this.#sequence === 1 ? this.#snapshot(this.#last) : this.#delta(this.#last);
  }

  #concerns({ keeper }: KeeperMark): boolean {
    return this.#filter.keeper === undefined || this.#filter.keeper === keeper;
  }

  /** Entries of TIME_WAIT are counted, so what they do is told by how many there are and how many have just begun. */
  #count(look: Look, changes: readonly SocketChange[], before: Counted, now: Counted): void {
    let [seen, orphaned] = [0, 0];
    for (const change of changes) {
      this.#transitions.add(change);
      if (change.to === 'TIME_WAIT') seen++;
      if (look.entries.has(change.key)) continue;
      if (change.to === 'FIN_WAIT2') orphaned++;
      this.#noteFate(change);
    }
    const begun = Math.max(now.timeWaitsBegun, seen);
    const orphansEnded = Math.max(0, before.orphans + orphaned - now.orphans);
    const fromOrphans = Math.min(begun - seen, orphansEnded);
    const closing = 'active';
    this.#transitions.add({ from: 'FIN_WAIT2', to: 'TIME_WAIT', closing }, fromOrphans);
    this.#transitions.add({ from: 'FIN_WAIT2', to: null, closing }, orphansEnded - fromOrphans);
    this.#transitions.add({ from: null, to: 'TIME_WAIT', closing }, begun - seen - fromOrphans);
    const ended = before.counts.TIME_WAIT + begun - now.counts.TIME_WAIT;
    this.#transitions.add({ from: 'TIME_WAIT', to: null, closing }, ended);
  }

  /** Of a socket that is gone, for who knows it. */
  #noteFate({ id, to, closing }: SocketChange): void {
    if (!this.#sockets.has(id)) return;
    if (to === null || to === 'TIME_WAIT' || to === 'FIN_WAIT2') this.#fates.set(id, { id, to, closing });
  }

  #snapshot({ counted, keepers }: Last): WatchSnapshot {
    const { members, timeWaitsBegun: _, ...totals } = counted;
    const sockets = members.slice(0, SNAPSHOT_SOCKETS).map(({ view }) => view);
    for (const socket of sockets) this.#sockets.set(socket.id, socket);
    for (const keeper of keepers) this.#keepers.set(keeper.name, keeper);
    const processes = this.#wantedProcesses();
    for (const one of processes) this.#processes.set(one.pid, one);
    this.#transitions.take();
    const marks = this.#takeMarks();
    this.#missed = false;
    return {
      ...{ type: 'snapshot', intervalMs: this.#intervalMs, sequence: this.#sequence, ...totals },
      ...{
        sockets,
        left: members.length - sockets.length,
        processes,
        keepers,
        history: this.#history,
        marks,
      },
    };
  }

  #delta({ counted, keepers }: Last): WatchDelta {
    const { members, timeWaitsBegun: _, ...totals } = counted;
    const fixed = {
      ...({ type: 'delta', sequence: this.#sequence, ...totals } as const),
      ...{ transitions: this.#transitions.take(), missed: this.#missed },
    };
    this.#missed = false;
    const room = new Room(DELTA_BYTES - RESERVE_BYTES - Buffer.byteLength(JSON.stringify(fixed)));
    const marks = room.fill(this.#takeMarks());
    const changedKeepers = keepers.filter((keeper) => this.#keepers.get(keeper.name) !== keeper);
    const names = new Set(keepers.map(({ name }) => name));
    const told = room.fill(changedKeepers);
    for (const keeper of told) this.#keepers.set(keeper.name, keeper);
    const keepersGone = room.fill([...this.#keepers.keys()].filter((name) => !names.has(name)));
    for (const name of keepersGone) this.#keepers.delete(name);
    const { sockets, gone } = this.#takeSockets(
      members.map(({ view }) => view),
      room,
    );
    const processes = room.fill(
      this.#wantedProcesses().filter((one) => this.#processes.get(one.pid) !== one),
    );
    for (const one of processes) this.#processes.set(one.pid, one);
    return { ...fixed, sockets, gone, left: room.left, processes, keepers: told, keepersGone, marks };
  }

  /** Ends first, then what is in another state, then what has only moved in its queues. */
  #takeSockets(
    now: readonly WatchedSocket[],
    room: Room,
  ): { readonly sockets: readonly WatchedSocket[]; readonly gone: readonly GoneSocket[] } {
    const ids = new Set(now.map(({ id }) => id));
    const ended = [...this.#sockets.keys()].filter((id) => !ids.has(id));
    const gone = room.fill(ended.map((id) => this.#fates.get(id) ?? { id, to: null, closing: null }));
    for (const { id } of gone) {
      this.#sockets.delete(id);
      this.#fates.delete(id);
    }
    const changed = now.filter((socket) => this.#sockets.get(socket.id) !== socket);
    const isQuiet = ({ id, state }: WatchedSocket): boolean => this.#sockets.get(id)?.state === state;
    const sockets = room.fill([
      ...changed.filter((socket) => !isQuiet(socket)),
      ...changed.filter((socket) => isQuiet(socket)),
    ]);
    for (const socket of sockets) this.#sockets.set(socket.id, socket);
    return { sockets, gone };
  }

  #takeMarks(): readonly KeeperMark[] {
    const marks = this.#marks;
    this.#marks = [];
    return marks;
  }

  /** Those who are named; the others are forgotten, as `applyDelta` does. */
  #wantedProcesses(): readonly WatchedProcess[] {
    const owners = this.#last?.look.owners;
    const named = this.#namedPids();
    for (const pid of this.#processes.keys()) if (!named.has(pid)) this.#processes.delete(pid);
    return [...named].flatMap((pid) => owners?.process(pid) ?? []);
  }

  #namedPids(): ReadonlySet<number> {
    const { ports = [], unclosed = [] } = this.#last?.counted ?? {};
    const pids = new Set<number>();
    for (const { pid } of this.#sockets.values()) if (pid !== null) pids.add(pid);
    for (const { pid } of ports) if (pid !== null) pids.add(pid);
    for (const { pid } of unclosed) if (pid !== null) pids.add(pid);
    return pids;
  }
}

/** The room that is left in a delta. */
class Room {
  left = 0;
  #bytes: number;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  /** As many of them as there is room for. */
  fill<T>(items: readonly T[]): readonly T[] {
    let count = 0;
    for (const item of items) {
      const bytes = Buffer.byteLength(JSON.stringify(item)) + 1;
      if (bytes > this.#bytes) break;
      this.#bytes -= bytes;
      count++;
    }
    this.left += items.length - count;
    return count === items.length ? items : items.slice(0, count);
  }
}
