import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { followKeeper } from './control.js';
import type { KeeperEvent, MissedEvents } from './event-log.js';
import { type KeeperState, readState, stateDirectory, stateFiles } from './state.js';
import { isAlive, type ProcessId } from './tree.js';

/** A keeper of this user that runs, as others show it. */
export interface RunningKeeper {
  readonly name: string;
  readonly pid: number;
  readonly phase: string;
  readonly generation: number;
  readonly starts: number;
  readonly reload: string;
  readonly paused: boolean;
  readonly addresses: readonly string[];
  readonly workers: KeeperState['workers'];
}

/** Something that a keeper has done. */
export interface KeeperDeed {
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly keeper: string;
  readonly kind: (typeof DEEDS)[number] | 'restarted';
  readonly generation: number | null;
  readonly pid: number | null;
}

const DEEDS = [
  'promoted',
  'reloading',
  'reloaded',
  'reload-failed',
  'rolled-back',
  'paused',
  'resumed',
] as const;

interface Seen {
  readonly keeper: RunningKeeper;
  readonly process: ProcessId;
  readonly version: string;
  readonly ear: Ear;
}

/** How a keeper is listened to. */
interface Ear {
  readonly stop: AbortController;
  isOpen: boolean;
  /** Of the last event that was heard. */
  lastId: number;
}

/** As many deeds are kept for who does not ask. */
const DEEDS_MAX = 200;

/**
 * The keepers of this user, looked at again and again: their state files are read when they have changed, and each is
 * listened to for as long as it runs.
 */
export class RunningKeepers {
  readonly #seen = new Map<string, Seen>();
  #deeds: readonly KeeperDeed[] = [];

  /** The same object as long as nothing of it has changed. @throws {HoldfastError} ERR_HOLDFAST_STATE_DIRECTORY */
  look(): readonly RunningKeeper[] {
    const directory = stateDirectory();
    const names = new Set<string>();
    for (const file of readdirSync(directory)) {
      if (!file.endsWith('.json')) continue;
      const name = file.slice(0, -'.json'.length);
      if (this.#refresh(name, join(directory, file))) names.add(name);
    }
    for (const [name, { ear }] of this.#seen) {
      if (names.has(name)) continue;
      ear.stop.abort();
      this.#seen.delete(name);
    }
    return [...this.#seen.values()].map(({ keeper }) => keeper);
  }

  /** What they have done since it was asked last; of a keeper that is new, what it remembers. */
  takeMarks(): readonly KeeperDeed[] {
    const deeds = this.#deeds;
    this.#deeds = [];
    return [...deeds].sort((one, other) => one.atMs - other.atMs);
  }

  close(): void {
    for (const { ear } of this.#seen.values()) ear.stop.abort();
    this.#seen.clear();
  }

  /** False when no keeper of that name runs. */
  #refresh(name: string, path: string): boolean {
    const known = this.#seen.get(name);
    const version = versionOf(path);
    if (known !== undefined && known.version === version) {
      if (!isAlive(known.process)) return false;
      this.#listen(name, known.ear);
      return true;
    }
    const state = readState(path);
    if (state === undefined || state.name !== name || !isAlive(state)) return false;
    const { pid, startTime } = state;
    const isSame = known?.process.pid === pid && known.process.startTime === startTime;
    if (!isSame) known?.ear.stop.abort();
    const ear = isSame ? known.ear : { stop: new AbortController(), isOpen: false, lastId: 0 };
    this.#seen.set(name, { keeper: keeperOf(state), process: { pid, startTime }, version, ear });
    this.#listen(name, ear);
    return true;
  }

  /** Unless that is done: a keeper that is about to start or to leave does not answer yet, or no longer. */
  #listen(name: string, ear: Ear): void {
    if (ear.isOpen) return;
    ear.isOpen = true;
    this.#follow(name, ear)
      .catch(() => undefined) // tried again at the next look, as long as it runs
      .finally(() => {
        ear.isOpen = false;
      });
  }

  async #follow(name: string, ear: Ear): Promise<void> {
    const { control } = stateFiles(name);
    let generation: number | null = null;
    for await (const line of followKeeper(control, '/events?follow', ear.stop.signal)) {
      if (ear.stop.signal.aborted) return;
      const event = JSON.parse(line) as KeeperEvent | MissedEvents;
      if (event.type === 'reloading' || event.type === 'rolled-back') ({ generation } = event);
      const kind = kindOf(event);
      if (kind !== undefined && event.id > ear.lastId) {
        const pid = 'pid' in event ? event.pid : null;
        const deed: KeeperDeed = { atMs: event.time, keeper: name, kind, generation, pid };
        this.#deeds = [...this.#deeds, deed].slice(-DEEDS_MAX);
      }
      ear.lastId = Math.max(ear.lastId, event.id);
    }
  }
}

function kindOf(event: KeeperEvent | MissedEvents): KeeperDeed['kind'] | undefined {
  if (event.type === 'started') return event.attempt > 1 ? 'restarted' : undefined;
  return DEEDS.find((kind) => kind === event.type);
}

function keeperOf(state: KeeperState): RunningKeeper {
  const { name, pid, phase, generation, starts, reload, paused, sockets, workers } = state;
  const addresses = sockets.map(({ address }) => address);
  return {
    ...{ name, pid, phase, generation, starts, reload, paused, addresses },
    workers: workers.map((worker) => ({ ...worker })),
  };
}

/** What is another number when the file has been written again; '' when it is gone. */
function versionOf(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false, bigint: true });
  return found === undefined ? '' : `${found.ino} ${found.mtimeNs}`;
}
