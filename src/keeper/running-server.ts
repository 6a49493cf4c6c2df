import { realpathSync } from 'node:fs';
import { errorCode, HoldfastError, isForbidden } from '../errors.js';
import { cgroupOf, moveToCgroup } from '../kernel/cgroup.js';
import { close } from '../kernel/fd.js';
import { walkSockets } from '../kernel/fd-walk.js';
import type { Fd } from '../kernel/libc.js';
import { type ResourceLimit, resourceLimits, setResourceLimits, ulimitLines } from '../kernel/limits.js';
import { copyFdFrom } from '../kernel/pidfd.js';
import {
  commandLine,
  linkOrGone,
  networkNamespace,
  processStat,
  startVariables,
  statusField,
} from '../kernel/procfs.js';
import { reusesPort } from '../kernel/socket.js';
import { closedByYama } from './closed-process.js';
import { type Estate, seenSocket, seenWorker } from './estate.js';
import { findProgram } from './hand-over.js';
import { type Identity, ownIdentity } from './options.js';
import { newRecovery, type SavedSocket } from './recovery.js';
import { knownKeepers } from './state.js';
import { listenersOrNone } from './strangers.js';
import { fdsOrUnknown, isAlive, type ProcessId, socketsOf, WorkerTree } from './tree.js';

/** The number of the worker that it becomes. */
const FIRST_WORKER = 1;

/** Which server that runs: by a port that it listens on, or by its first process. */
export type ServerTarget = { readonly port: number } | { readonly pid: number };

/** What a process was given beside its command, and what is started in its place is to have too. */
export interface ProcessSetting {
  /** By number of the resource. @see getrlimit(2) */
  readonly limits: readonly ResourceLimit[];
  /** Path of its cgroup below the mount of version 2; null: not told. */
  readonly cgroup: string | null;
}

/** A server that was started without holdfast. */
export interface RunningServer {
  readonly root: ProcessId;
  readonly command: readonly string[];
  readonly directory: string;
  /** Undefined: it has written over it. */
  readonly env: Readonly<Record<string, string>> | undefined;
  /** Undefined: whom we run as ourselves. */
  readonly identity: Identity | undefined;
  readonly setting: ProcessSetting;
}

/**
 * Finds the server, and how it was started.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_ADOPT: there is none, it is kept already, several processes may be meant, or we
 *   may not look into it.
 */
export function findServer(target: ServerTarget): RunningServer {
  const pid = 'pid' in target ? target.pid : rootAt(target.port);
  const stat = processStat(pid);
  if (stat === undefined || stat.state === 'Z') throw cannot(`there is no process ${pid}`);
  try {
    if (networkNamespace(pid) !== networkNamespace('self')) {
      throw cannot(`pid ${pid} is in another network namespace; run holdfast adopt in there (nsenter)`);
    }
    const directory = linkOrGone(`/proc/${pid}/cwd`);
    if (directory === undefined) throw cannot(`pid ${pid} has ended`);
    const env = startVariables(pid);
    return {
      root: { pid, startTime: stat.startTime },
      command: commandOf(pid, env, directory),
      directory,
      env,
      identity: identityOfProcess(pid),
      setting: { limits: resourceLimits(pid), cgroup: cgroupOf(pid) ?? null },
    };
  } catch (error) {
    if (!isForbidden(error)) throw error;
    throw cannot(notOurs(pid), error);
  }
}

/**
 * Copies the listening sockets of a server.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_ADOPT: it has none, or they may not be copied.
 */
export function estateOf({ root, command, directory }: RunningServer, workers: number): Estate {
  const tree = new WorkerTree({
    ...{ root: root.pid, mark: '', spawnerThread: 0, ownsOrphans: false, before: new Set<number>() },
    adopted: root.startTime,
  });
  const sockets = new Map<number, Fd>();
  const saved: SavedSocket[] = [];
  const listening = new Set(listenersOrNone().map(({ inode }) => inode));
  for (const { pid } of tree.members()) {
    for (const inode of socketsOf(pid)) {
      if (!listening.has(inode) || sockets.has(inode)) continue;
      const fd = copyOf(pid, inode);
      if (fd === undefined) continue;
      const socket = seenSocket(fd, { claims: [FIRST_WORKER], programReusesPort: reusesPort(fd) });
      if (socket === undefined) close(fd);
      else {
        sockets.set(inode, fd);
        saved.push(socket);
      }
    }
  }
  if (sockets.size === 0) throw cannot(`pid ${root.pid} listens on no TCP port`);
  const worker = seenWorker({ id: FIRST_WORKER, mark: '', root, phase: 'serving' });
  const recovery = newRecovery({
    ...{
      keeper: '',
      command,
      directory,
      starts: 1,
      stage: 'steady',
      holder: null,
      notifiers: [],
      groups: [],
    },
    workers: { asked: workers, now: workers },
    generations: [{ number: 1, active: true, workers: [worker], sockets: saved }],
  });
  return { recovery, holders: [], notifiers: [], sockets, strays: [] };
}

/** What a shell does before the program begins: what it can set itself, and stop until the rest is. */
export function linesBefore({ limits }: ProcessSetting): readonly string[] {
  return [...ulimitLines(limits), 'kill -STOP $$'];
}

/** Gives a process that has stopped itself what another one has. @throws {Error} EPERM, EACCES */
export function applySetting(pid: number, { limits, cgroup }: ProcessSetting): void {
  setResourceLimits(pid, limits);
  if (cgroup !== null) moveToCgroup(pid, cgroup);
}

/** Of those that have the socket the one that the others come from. */
function rootAt(port: number): number {
  const inodes = new Set(listenersOrNone(port).map(({ inode }) => inode));
  if (inodes.size === 0) {
    const isProcess = processStat(port) !== undefined;
    throw cannot(
      `nobody listens on port ${port}${isProcess ? `; if process ${port} is meant, write pid:${port}` : ''}`,
    );
  }
  const { holders, hiddenPids } = walkSockets(inodes);
  const pids = new Set([...holders.values()].flat().map(({ pid }) => pid));
  // One that was killed may have had no time to write down the socket, but the worker that has it.
  const keepers = knownKeepers().filter(
    ({ sockets, workers }) =>
      sockets.some(({ inode }) => inodes.has(inode)) ||
      workers.some(({ pid, startTime }) => {
        return pid !== null && startTime !== null && pids.has(pid) && isAlive({ pid, startTime });
      }),
  );
  const keeper = keepers.find((known) => isAlive(known)) ?? keepers[0];
  if (keeper !== undefined && isAlive(keeper))
    throw cannot(`port ${port} is kept by holdfast already, as "${keeper.name}"`);
  if (keeper !== undefined) {
    const again = `holdfast run --name ${keeper.name} -- ${keeper.command.join(' ')}`;
    throw cannot(
      `port ${port} is kept as "${keeper.name}", whose keeper was killed; go on with it by ${again}`,
    );
  }
  if (pids.has(1) && pids.size > 1) pids.delete(1);
  const roots = [...pids].filter((pid) => !ancestors(pid).some((parent) => pids.has(parent)));
  const [root] = roots;
  if (root === undefined) {
    const why = hiddenPids.length > 0 ? '; run holdfast as root' : '';
    throw cannot(`no process that has port ${port} may be seen by this user${why}`);
  }
  if (roots.length > 1) {
    const list = roots.map((pid) => `pid:${pid} (${commandLine(pid).join(' ')})`).join(', ');
    throw cannot(`several servers have port ${port}: ${list}; name one of them`);
  }
  return root;
}

function ancestors(pid: number): readonly number[] {
  const found: number[] = [];
  for (let at = processStat(pid)?.ppid ?? 0; at > 1; at = processStat(at)?.ppid ?? 0) found.push(at);
  return found;
}

/** Some servers write a title over their arguments; then only the user knows the command, and there is none here. */
function commandOf(
  pid: number,
  env: Readonly<Record<string, string>> | undefined,
  directory: string,
): readonly string[] {
  const command = commandLine(pid);
  const [first, ...more] = command;
  // Of a title that is shorter than the command line was, NUL bytes are left.
  if (first === undefined || more.some((word) => word !== '')) return command;
  const program = linkOrGone(`/proc/${pid}/exe`)?.replace(/ \(deleted\)$/, '');
  try {
    return realpathSync(findProgram(first, env ?? process.env, directory)) === program ? command : [];
  } catch (error) {
    if (errorCode(error) === 'ERR_HOLDFAST_COMMAND') return [];
    throw error;
  }
}

function identityOfProcess(pid: number): Identity | undefined {
  const numbers = (field: string): readonly number[] =>
    (statusField(pid, field) ?? '').split(/\s+/).filter(Boolean).map(Number);
  const [, uid = 0] = numbers('Uid');
  const [, gid = 0] = numbers('Gid');
  const identity = { uid, gid, groups: numbers('Groups'), user: undefined };
  const own = ownIdentity();
  const isOwn = own.uid === uid && own.gid === gid && supplementary(own) === supplementary(identity);
  if (isOwn) return undefined;
  if (own.uid !== 0)
    throw cannot(
      `pid ${pid} runs as user ${uid}, and what is started in its place must too: run holdfast as root`,
    );
  return identity;
}

/** Node counts the gid among them. */
function supplementary({ gid, groups }: Pick<Identity, 'gid' | 'groups'>): string {
  return groups
    .filter((group) => group !== gid)
    .sort()
    .join();
}

function copyOf(pid: number, inode: number): Fd | undefined {
  const [fd] = fdsOrUnknown(pid, inode) ?? [];
  try {
    return fd === undefined ? undefined : copyFdFrom(pid, fd);
  } catch (error) {
    if (!isForbidden(error)) throw error;
    throw cannot(notOurs(pid), error);
  }
}

function notOurs(pid: number): string {
  const yama = closedByYama(pid);
  const why =
    yama === undefined
      ? "it is another user's or gained privileges; run holdfast as root"
      : [yama.why, 'run holdfast as root', yama.remedy].filter((part) => part !== undefined).join('; ');
  return `pid ${pid} may not be looked into: ${why}`;
}

function cannot(text: string, cause?: unknown): HoldfastError {
  return new HoldfastError('ERR_HOLDFAST_ADOPT', text, cause);
}
