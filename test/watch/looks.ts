import type { LeftoverTimes, TableSocket } from '../../src/kernel/socket-table.js';
import type { Entry, Look, SocketChange } from '../../src/watch/look.js';
import type { WatchState } from '../../src/watch/view.js';

/** A socket as a look tells of it, made up. */
export interface MadeSocket {
  readonly key: number;
  readonly state: WatchState;
  readonly port?: number;
  readonly receiveQueue?: number;
  readonly sendQueue?: number;
  readonly pid?: number;
}

/** Looks that nobody has made, one after the other: a socket that is the same is the same object. */
export class MadeLooks {
  #known = new Map<number, { readonly made: string; readonly entry: Entry }>();
  #looks = 0;

  /** @param timeWaits By local port, milliseconds until each entry ends. */
  next(
    sockets: readonly MadeSocket[],
    timeWaits: readonly (readonly [port: number, expiresMs: number])[] = [],
    given: Partial<Look> = {},
  ): Look {
    const atMs = 1_000_000 + 1_000 * this.#looks++;
    const entries = new Map<number, Entry>();
    for (const made of sockets) {
      const known = this.#known.get(made.key);
      const text = JSON.stringify(made);
      entries.set(made.key, known?.made === text ? known.entry : entryOf(made, atMs));
    }
    const changes = [...changesBetween(this.#known, entries)];
    this.#known = new Map(
      sockets.map((made) => [
        made.key,
        { made: JSON.stringify(made), entry: entries.get(made.key) as Entry },
      ]),
    );
    return {
      ...{ atMs, elapsedMs: this.#looks === 1 ? undefined : 1_000, entries, changes, missed: false },
      ...{ timeWaits: timesOf(timeWaits), orphans: timesOf([]) },
      owners: { process: (pid) => ({ pid, program: `program-${pid}` }), hiddenProcesses: 3 },
      ...given,
    };
  }
}

function* changesBetween(
  before: ReadonlyMap<number, { readonly entry: Entry }>,
  now: ReadonlyMap<number, Entry>,
): Generator<SocketChange> {
  for (const [key, { view, socket }] of now) {
    const from = before.get(key)?.entry.view.state ?? null;
    if (from !== view.state)
      yield { ...{ key, id: view.id, port: socket.local.port, from }, to: view.state, closing: null };
  }
  for (const [key, { entry }] of before) {
    const { view, socket } = entry;
    if (!now.has(key))
      yield { ...{ key, id: view.id, port: socket.local.port }, from: view.state, to: null, closing: null };
  }
}

function entryOf(made: MadeSocket, atMs: number): Entry {
  const { key, state, port = 7000, receiveQueue = 0, sendQueue = 0, pid = 1 } = made;
  const isConnected = state !== 'LISTEN' && state !== 'BOUND';
  const socket = {
    ...{ key, state: state === 'BOUND' ? 'CLOSE' : state, inode: key },
    local: { family: 'ipv4', host: '127.0.0.1', port },
    peer: {
      family: 'ipv4',
      host: isConnected ? '127.0.0.1' : '0.0.0.0',
      port: isConnected ? 30_000 + key : 0,
    },
  } as unknown as TableSocket;
  return {
    socket,
    holders: [pid],
    view: {
      ...{
        id: key.toString(16),
        state,
        local: `127.0.0.1:${port}`,
        peer: isConnected ? `127.0.0.1:${30_000 + key}` : null,
      },
      ...{
        ownership: 'process',
        pid,
        user: 'root',
        receiveQueue,
        sendQueue,
        timer: null,
        sinceMs: atMs,
        closing: null,
      },
    },
  };
}

function timesOf(all: readonly (readonly [port: number, expiresMs: number])[]): LeftoverTimes {
  return {
    count: all.length,
    ports: Uint16Array.from(all, ([port]) => port),
    expiresMs: Uint32Array.from(all, ([, expiresMs]) => expiresMs),
  };
}
