import { errorCode, HoldfastError, isForbidden } from '../errors.js';
import { close } from '../kernel/fd.js';
import type { Fd } from '../kernel/libc.js';
import { copyFdFrom } from '../kernel/pidfd.js';
import { allProcesses } from '../kernel/procfs.js';
import { isListening, localAddress, reusesPort, socketInode } from '../kernel/socket.js';
import { mayBeChosen, placeOf } from './child-socket.js';
import { closedByYama } from './closed-process.js';
import { type FoundHolder, findHolders } from './holder.js';
import type { Recovery, SavedNotifier, SavedSocket, SavedWorker } from './recovery.js';
import { listenersOrNone } from './strangers.js';
import { fdsOrUnknown, isAlive, type ProcessId, signalProcess, socketsOf, workerMarkOf } from './tree.js';
import { isReleased } from './turnover.js';

/** What a former keeper has left: fds of ours to its sockets and notifiers, and which processes are its workers. */
export interface Estate {
  readonly recovery: Recovery;
  /** To be ended when somebody else has what they have. */
  readonly holders: readonly ProcessId[];
  readonly notifiers: readonly (SavedNotifier & { readonly copy: Fd })[];
  /** Our fds, by inode. */
  readonly sockets: ReadonlyMap<number, Fd>;
  /** Workers of it that it had no time to write down. */
  readonly strays: readonly (ProcessId & { readonly mark: string })[];
}

/** How `openEstate` comes to sockets. */
export interface EstateMeans {
  /** Copies an fd of another process. Default: `copyFdFrom`. */
  readonly copy?: (pid: number, fd: Fd) => Fd;
  /** Inodes of sockets that somebody else gives us anyway. */
  readonly offered?: ReadonlySet<number>;
}

/**
 * Takes over the fds that a dead keeper's holders have, and from its workers what no holder has any more. Undefined when
 * nothing of it is left: no socket and no process, and no port that it has released.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_TAKE_OVER: its server runs, and who has the fds may not be looked into. Nothing
 *   has been changed.
 */
export function openEstate(
  recovery: Recovery,
  stateFile: string,
  { copy = copyFdFrom, offered = new Set() }: EstateMeans = {},
): Estate | undefined {
  const holders = findHolders(stateFile);
  const fromHolders = new Copier(copy);
  const notifiers = copyNotifiers(recovery, holders, fromHolders);
  const refusing = new Set(fromHolders.refusing);
  const marked = markedProcesses();
  const strays = straysOf(recovery, marked);
  const sockets = new Map<number, Fd>();
  const savedSockets = new Set(recovery.generations.flatMap((one) => one.sockets.map(({ inode }) => inode)));
  const { serving } = workersOf({ recovery, strays });
  const generations = recovery.generations.map((generation) => {
    if (!generation.active) return generation;
    const held = givenUnsaved(holders, savedSockets, fromHolders);
    const known = new Set([...savedSockets, ...held.map(({ inode }) => inode)]);
    const learned = recovery.left ? [] : learnedUnsaved(serving, marked, known, new Copier(copy));
    return { ...generation, sockets: [...generation.sockets, ...held, ...learned] };
  });
  for (const { active, sockets: saved, workers: own } of generations) {
    const workers = active ? [...own, ...serving] : own;
    for (const { inode, confirmed } of saved) {
      if (sockets.has(inode)) continue;
      const copier = new Copier(copy);
      const fd = copyFromHolder(inode, holders, copier) ?? copyFromWorkers(inode, workers, marked, copier);
      if (fd !== undefined) sockets.set(inode, fd);
      // One that drains needs no keeper to go on. One that is not confirmed may be a probe, and no holder has it.
      const isNeeded = active && confirmed && !offered.has(inode);
      if (fd === undefined && isNeeded) for (const pid of copier.refusing) refusing.add(pid);
    }
  }
  const known = generations.flatMap(({ workers }) => workers);
  const lives = strays.length > 0 || known.some(({ root }) => root !== null && isAlive(root));
  // Where no server lives, nobody is helped by sockets that nobody can have: it starts with new ones.
  if (lives && refusing.size > 0) {
    closeEstate({ sockets, notifiers });
    throw refused(known, refusing);
  }
  // That its port is released is left of it all the same.
  if (sockets.size === 0 && !lives && !isReleased(recovery.stage)) {
    for (const { copy } of notifiers) close(copy);
    for (const holder of holders) signalProcess(holder, 'SIGKILL');
    return undefined;
  }
  return { recovery: { ...recovery, generations }, holders, notifiers, sockets, strays };
}

/** Closes our fds of an estate that is not taken over: whoever has them still keeps them. */
export function closeEstate({ sockets, notifiers }: Pick<Estate, 'sockets' | 'notifiers'>): void {
  for (const fd of [...sockets.values(), ...notifiers.map(({ copy }) => copy)]) close(fd);
}

/**
 * Looks whether the holder of a keeper that runs would be open to us.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_TAKE_OVER: it would not.
 */
export function checkHolder(
  { generations }: Recovery,
  stateFile: string,
  { copy = copyFdFrom }: EstateMeans = {},
): void {
  const copier = new Copier(copy);
  for (const { pid, notifiers, sockets } of findHolders(stateFile)) {
    const [fd] = [...notifiers, ...sockets.values()];
    const own = fd === undefined ? undefined : copier.tryCopy(pid, fd);
    if (own === undefined) continue;
    close(own);
    return;
  }
  const workers = generations.flatMap((one) => one.workers);
  if (copier.refusing.size > 0) throw refused(workers, copier.refusing);
}

/** Copies fds of other processes, and notes who may not be looked into. */
class Copier {
  readonly refusing = new Set<number>();
  readonly #copy: (pid: number, fd: Fd) => Fd;

  constructor(copy: (pid: number, fd: Fd) => Fd) {
    this.#copy = copy;
  }

  /** Undefined also when it has ended or closed the fd. */
  tryCopy(pid: number, fd: Fd): Fd | undefined {
    try {
      return this.#copy(pid, fd);
    } catch (error) {
      const code = errorCode(error);
      if (isForbidden(error)) this.refusing.add(pid);
      else if (code !== 'EBADF' && code !== 'ESRCH') throw error;
      return undefined;
    }
  }
}

/** Better no keeper than one without the sockets: it would end the holder, and its reloads would fail. */
function refused(workers: readonly SavedWorker[], refusing: ReadonlySet<number>): HoldfastError {
  const [first = 0] = refusing;
  const yama = closedByYama(first);
  const servers = workers.flatMap(({ root }) => (root !== null && isAlive(root) ? [root.pid] : [])).join(' ');
  const who = `who has its sockets may not be looked into, pid ${[...refusing].join(', ')}`;
  // Not "run it as root": root has another state folder, and believes no state file of another user.
  const open =
    yama?.remedy === undefined
      ? ''
      : `Start this again after \`${yama.remedy}\`, which may be set back when it has taken over. `;
  const text = [
    `the server cannot be taken over: ${who}${yama === undefined ? '' : ` (${yama.why})`}.`,
    `Nothing was changed, the server goes on as it was. ${open}`.trimEnd(),
    servers === '' ? 'Or end the server first.' : `Or end the server first: kill ${servers}`,
  ].join(' ');
  return new HoldfastError('ERR_HOLDFAST_TAKE_OVER', text);
}

function copyNotifiers(
  { notifiers }: Recovery,
  holders: readonly FoundHolder[],
  copier: Copier,
): Estate['notifiers'] {
  const [holder] = holders.filter((one) => one.notifiers.length > 0);
  if (holder === undefined) return [];
  return holder.notifiers.flatMap((fd, index) => {
    const copy = copier.tryCopy(holder.pid, fd);
    // One that was added after the last writing has had no call yet.
    const { lastId = 0n, pending = [] } = notifiers[index] ?? {};
    return copy === undefined ? [] : [{ lastId, pending, copy }];
  });
}

/** Sockets that a holder was given, and that the keeper had no time to write down. */
function givenUnsaved(
  holders: readonly FoundHolder[],
  saved: ReadonlySet<number>,
  copier: Copier,
): readonly SavedSocket[] {
  const known = new Set(saved);
  return holders.flatMap(({ pid, sockets }) =>
    [...sockets].flatMap(([inode, fd]) => {
      const copy = known.has(inode) ? undefined : checked(copier.tryCopy(pid, fd), inode);
      if (copy === undefined) return [];
      known.add(inode);
      try {
        // SO_REUSEPORT is what the keeper has set, whether the program had or not.
        return seenSocket(copy, { claims: [], programReusesPort: undefined }) ?? [];
      } finally {
        close(copy);
      }
    }),
  );
}

/**
 * Sockets whose listen the keeper has answered, and that no holder has yet: it has set SO_REUSEPORT before. Not those that
 * it would have left alone, nor those of a server that was started without holdfast, which it has found as they were.
 */
function learnedUnsaved(
  workers: readonly SavedWorker[],
  marked: readonly MarkedProcess[],
  saved: ReadonlySet<number>,
  copier: Copier,
): readonly SavedSocket[] {
  const listening = new Set(listenersOrNone().map(({ inode }) => inode));
  const known = new Set(saved);
  const open = workers
    .filter(({ mark }) => mark !== '')
    .flatMap((worker) => processesOf([worker], marked).map(({ pid }) => ({ id: worker.id, pid })))
    .flatMap(({ id, pid }) => socketsOf(pid).map((inode) => ({ id, pid, inode })));
  return open.flatMap(({ id, pid, inode }) => {
    if (!listening.has(inode) || known.has(inode)) return [];
    const copy = copyFromProcess(inode, pid, copier);
    if (copy === undefined) return [];
    known.add(inode);
    try {
      const told = { claims: [id], programReusesPort: undefined };
      const socket = reusesPort(copy) ? seenSocket(copy, told) : undefined;
      if (socket?.place === undefined || mayBeChosen(socket.place.address)) return [];
      return { ...socket, confirmed: false };
    } finally {
      close(copy);
    }
  });
}

function copyFromHolder(inode: number, holders: readonly FoundHolder[], copier: Copier): Fd | undefined {
  for (const { pid, sockets } of holders) {
    const fd = sockets.get(inode);
    const copy = fd === undefined ? undefined : checked(copier.tryCopy(pid, fd), inode);
    if (copy !== undefined) return copy;
  }
  return undefined;
}

function copyFromWorkers(
  inode: number,
  workers: readonly SavedWorker[],
  marked: readonly MarkedProcess[],
  copier: Copier,
): Fd | undefined {
  for (const { pid } of processesOf(workers, marked)) {
    const copy = copyFromProcess(inode, pid, copier);
    if (copy !== undefined) return copy;
  }
  return undefined;
}

function copyFromProcess(inode: number, pid: number, copier: Copier): Fd | undefined {
  const [fd] = fdsOrUnknown(pid, inode) ?? [];
  return fd === undefined ? undefined : checked(copier.tryCopy(pid, fd), inode);
}

function processesOf(
  workers: readonly SavedWorker[],
  marked: readonly MarkedProcess[],
): readonly ProcessId[] {
  const roots = workers.flatMap(({ root }) => (root !== null && isAlive(root) ? [root] : []));
  const others = marked.filter(({ mark }) => workers.some((worker) => worker.mark === mark));
  return [...roots, ...others];
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

/** A process that says whose worker it is of. */
interface MarkedProcess extends ProcessId {
  readonly ppid: number;
  readonly mark: string;
}

function markedProcesses(): readonly MarkedProcess[] {
  return allProcesses().flatMap(({ pid, startTime, ppid }) => {
    const mark = workerMarkOf(pid);
    return mark === undefined ? [] : [{ pid, startTime, ppid, mark }];
  });
}

/** First processes of workers of the keeper that are not written down: started just before it died. */
function straysOf({ keeper, generations }: Recovery, marked: readonly MarkedProcess[]): Estate['strays'] {
  const known = generations.flatMap(({ workers }) => workers);
  const marks = new Set(known.filter(({ root }) => root !== null).map(({ mark }) => mark));
  const found = marked.filter(
    ({ mark }) => mark.startsWith(`${keeper}:`) && !marks.has(mark) && Number.isSafeInteger(workerIdIn(mark)),
  );
  const pids = new Set(found.map(({ pid }) => pid));
  const eldest = found.filter(({ ppid }) => !pids.has(ppid)).toSorted((a, b) => a.startTime - b.startTime);
  // What a worker has orphaned has its mark too.
  return eldest.filter(({ mark }, index) => eldest.findIndex((one) => one.mark === mark) === index);
}

function workerIdIn(mark: string): number {
  return Number(mark.split(':').at(-1));
}

/** A worker of which nothing is known but its first process. */
export function seenWorker(
  seen: Pick<SavedWorker, 'id' | 'mark' | 'phase'> & { readonly root: ProcessId },
): SavedWorker {
  return { attempt: 1, everListened: true, failures: 0, lastEnd: null, isStandby: false, ...seen };
}

/** A listening TCP socket of which nothing is known but an fd; undefined for any other. */
export function seenSocket(
  fd: Fd,
  told: Pick<SavedSocket, 'claims' | 'programReusesPort'>,
): SavedSocket | undefined {
  const address = localAddress(fd);
  if (address === undefined || address.family === 'unix' || !isListening(fd)) return undefined;
  const place = placeOf(fd, address);
  return {
    inode: socketInode(fd),
    address,
    place,
    backlog: undefined,
    confirmed: true,
    refusing: false,
    ...told,
  };
}

/**
 * The workers of an estate: those that new connections go to, and those that only finish what they have (taken over from,
 * never ready, or being stopped). A worker that was started in the last moment stands for one that is dead or not written down.
 */
export function workersOf({ recovery, strays }: Pick<Estate, 'recovery' | 'strays'>): {
  readonly serving: readonly SavedWorker[];
  readonly former: readonly SavedWorker[];
} {
  const { stage, generations, workers: wanted } = recovery;
  const found = strays.map(strayWorker);
  const serving: SavedWorker[] = [];
  const former: SavedWorker[] = [];
  for (const { active, workers } of generations) {
    for (const saved of workers) {
      // What was to be started anew, or to make room, is stopped as soon as the new keeper does that.
      const isStopped = saved.phase === 'stopping' && stage !== 'emptying' && stage !== 'releasing';
      if (!active || isStopped) former.push(saved);
      else {
        const isDead = saved.root === null || !isAlive(saved.root);
        const stray = isDead ? found.shift() : undefined;
        serving.push(stray === undefined ? saved : { ...stray, isStandby: saved.isStandby });
      }
    }
  }
  // Where the active generation has too few, they are of its start, or of a take; else of one that was to take over from it.
  const standing = serving.filter(({ isStandby }) => !isStandby).length;
  const isTheirs = stage === 'steady' || (stage === 'starting' && serving.length + former.length === 0);
  const missing = isTheirs ? Math.max(0, wanted.now - standing) : 0;
  return { serving: [...serving, ...found.slice(0, missing)], former: [...former, ...found.slice(missing)] };
}

/** How many workers had been started, with those that the former keeper had no time to write down. */
export function startsOf({ recovery, strays }: Estate): number {
  return Math.max(recovery.starts, ...strays.map(({ mark }) => workerIdIn(mark)));
}

function strayWorker({ pid, startTime, mark }: Estate['strays'][number]): SavedWorker {
  return seenWorker({ id: workerIdIn(mark), mark, root: { pid, startTime }, phase: 'starting' });
}
