import { errorCode, isForbidden } from '../errors.js';
import { close } from '../kernel/fd.js';
import type { Fd } from '../kernel/libc.js';
import { copyFdFrom } from '../kernel/pidfd.js';
import { allProcesses, processStat } from '../kernel/procfs.js';
import { socketInode } from '../kernel/socket.js';
import type { Recovery, SavedNotifier, SavedSocket, SavedWorker } from './recovery.js';
import { fdsOrUnknown, isAlive, type ProcessId, workerMarkOf } from './tree.js';

/** What a former keeper has left: fds of ours to its sockets and notifiers, and which processes are its workers. */
export interface Estate {
  readonly recovery: Recovery;
  readonly notifiers: readonly (SavedNotifier & { readonly copy: Fd })[];
  /** Our fds, by inode. */
  readonly sockets: ReadonlyMap<number, Fd>;
  /** Workers of it that it had no time to write down. */
  readonly strays: readonly (ProcessId & { readonly mark: string })[];
}

/**
 * Takes over the fds that a dead keeper's holder has, and from its workers what no holder has any more. Undefined when
 * nothing of it is left: no socket and no process.
 */
export function openEstate(recovery: Recovery, name: string): Estate | undefined {
  const holder = recovery.holder !== null && isAlive(recovery.holder) ? recovery.holder : undefined;
  const notifiers = recovery.notifiers.flatMap((notifier) => {
    const copy = holder === undefined ? undefined : tryCopy(holder.pid, notifier.fd);
    return copy === undefined ? [] : [{ ...notifier, copy }];
  });
  const sockets = new Map<number, Fd>();
  for (const { sockets: saved, workers } of recovery.generations) {
    for (const socket of saved) {
      const copy = copyOfSocket(socket, holder, workers);
      if (copy !== undefined) sockets.set(socket.inode, copy);
    }
  }
  const known = recovery.generations.flatMap(({ workers }) => workers);
  const strays = straysOf(name, known);
  const lives = strays.length > 0 || known.some(({ root }) => root !== null && isAlive(root));
  if (sockets.size === 0 && !lives) {
    for (const { copy } of notifiers) close(copy);
    return undefined;
  }
  return { recovery, notifiers, sockets, strays };
}

/** Whose fds nobody may copy is taken for closed. */
function tryCopy(pid: number, fd: Fd): Fd | undefined {
  try {
    return copyFdFrom(pid, fd);
  } catch (error) {
    const code = errorCode(error);
    if (isForbidden(error) || code === 'EBADF' || code === 'ESRCH') return undefined;
    throw error;
  }
}

function copyOfSocket(
  { inode, holderFd }: SavedSocket,
  holder: ProcessId | undefined,
  workers: readonly SavedWorker[],
): Fd | undefined {
  if (holder !== undefined && holderFd !== null) {
    const copy = checked(tryCopy(holder.pid, holderFd), inode);
    if (copy !== undefined) return copy;
  }
  for (const { root, mark } of workers) {
    for (const pid of [...(root !== null && isAlive(root) ? [root.pid] : []), ...marked(mark)]) {
      const [fd] = fdsOrUnknown(pid, inode) ?? [];
      const copy = fd === undefined ? undefined : checked(tryCopy(pid, fd), inode);
      if (copy !== undefined) return copy;
    }
  }
  return undefined;
}

/** A number may be another file's by now. */
function checked(copy: Fd | undefined, inode: number): Fd | undefined {
  if (copy === undefined) return undefined;
  try {
    if (socketInode(copy) === inode) return copy;
  } catch (error) {
    // No socket at all.
    if (errorCode(error) !== 'ENOTSOCK') throw error;
  }
  close(copy);
  return undefined;
}

function marked(mark: string): readonly number[] {
  if (mark === '') return [];
  return allProcesses()
    .filter(({ pid }) => workerMarkOf(pid) === mark)
    .map(({ pid }) => pid);
}

/** First processes of workers of a keeper with this name that are nobody's: started just before the keeper died. */
function straysOf(name: string, known: readonly SavedWorker[]): Estate['strays'] {
  const marks = new Set(known.filter(({ root }) => root !== null).map(({ mark }) => mark));
  const found = allProcesses().flatMap(({ pid, startTime, ppid }) => {
    const mark = workerMarkOf(pid);
    return mark?.startsWith(`${name}:`) && !marks.has(mark) ? [{ pid, startTime, ppid, mark }] : [];
  });
  const pids = new Set(found.map(({ pid }) => pid));
  return found.filter(({ ppid, mark }) => !pids.has(ppid) && isOrphaned(mark));
}

/** The keeper that gave the mark is no more. */
function isOrphaned(mark: string): boolean {
  const keeper = Number(mark.split(':')[1]);
  const stat = processStat(keeper);
  return stat === undefined || stat.state === 'Z';
}

/**
 * The workers of an estate: those that new connections go to, and those that only finish what they have (taken over from,
 * never ready, or being stopped). A worker that was started in the last moment stands for one that is dead.
 */
export function workersOf({ recovery, strays }: Estate): {
  readonly serving: readonly SavedWorker[];
  readonly former: readonly SavedWorker[];
} {
  const { stage, generations } = recovery;
  const found = strays.map(strayWorker);
  const serving: SavedWorker[] = [];
  const former: SavedWorker[] = [];
  for (const { active, workers } of generations) {
    for (const saved of workers) {
      // What was to be started anew is stopped as soon as the new keeper does that.
      if (!active || (saved.phase === 'stopping' && stage !== 'emptying')) former.push(saved);
      else {
        const isDead = saved.root === null || !isAlive(saved.root);
        serving.push((isDead ? found.shift() : undefined) ?? saved);
      }
    }
  }
  return { serving, former: [...former, ...found] };
}

function strayWorker({ pid, startTime, mark }: Estate['strays'][number]): SavedWorker {
  return {
    id: Number(mark.split(':')[2]),
    attempt: 1,
    mark,
    root: { pid, startTime },
    phase: 'starting',
    everListened: true,
    failures: 0,
    lastEnd: null,
    isStandby: false,
  };
}
