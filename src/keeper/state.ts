import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode, HoldfastError } from '../errors.js';
import type { Fd } from '../kernel/libc.js';
import { tryLock } from '../kernel/lock.js';
import { KEEPER_NAME } from '../model/keeper-name.js';
import type { Phase, WorkerEnd } from './lifecycle.js';
import type { Program } from './program.js';
import { encodeBigint, type Recovery } from './recovery.js';
import { isAtWork } from './tree.js';
import type { Stage } from './turnover.js';

/** What a keeper writes down of itself, for `status` and for other keepers. */
export interface KeeperState {
  readonly version: 1;
  readonly name: string;
  readonly holdfast: string;
  readonly pid: number;
  /** Clock ticks since boot, as in /proc/PID/stat. */
  readonly startTime: number;
  readonly command: readonly string[];
  readonly directory: string;
  /** What the generation that serves runs, and its folder without links: another program after a way back. */
  readonly program: Pick<Program, 'command' | 'directory'>;
  readonly phase: Phase;
  /** Starts of workers so far, of reloads and standbys too. */
  readonly starts: number;
  /** Those in the place of a worker that had ended by itself, since this keeper was started. */
  readonly restarts?: number;
  /** Milliseconds since 1970. */
  readonly since: number;
  /** Which start or reload it is that new connections go to, from 1. */
  readonly generation: number;
  /** How far a reload is. */
  readonly reload: Stage;
  /** While the reload is `draining`: what of the old generation is waited for. */
  readonly drain?: DrainState | null;
  /** Its processes are stopped where they are, and its clients wait. */
  readonly paused: boolean;
  /** The first worker's first process. */
  readonly worker: { readonly pid: number; readonly startTime: number } | null;
  /** Of every generation that has any, the one that new connections go to first. */
  readonly workers: readonly WorkerState[];
  readonly lastEnd: WorkerEnd | null;
  readonly sockets: readonly SocketState[];
  /** The file that has the server's output; null when that goes where the keeper's goes. */
  readonly log?: string | null;
}

export interface DrainState {
  /** The old one. */
  readonly generation: number;
  /** Connections that it has still, those in its accept queues among them; null while nobody has looked. */
  readonly connections: number | null;
  /** Of these, how many are owed something. The kernel does not tell it of unix sockets. */
  readonly owed: number | null;
  /** When it is waited for no more, whatever is left then: it is stopped, or parked. Milliseconds since 1970. */
  readonly until: number;
  /** Addresses whose sockets both generations have: there the old one takes new connections until it stops. */
  readonly shared: readonly string[];
  /** Addresses that the new generation has not taken: the old one serves there until it has, and only then drains. */
  readonly late: readonly string[];
}

export interface WorkerState {
  /** Of its first process; null while it is being started. */
  readonly pid: number | null;
  readonly startTime: number | null;
  readonly generation: number;
  /** `parked`: a standby that waits in its listen. */
  readonly phase: Phase | 'parked';
}

export interface SocketState {
  readonly address: string;
  readonly inode: number;
  /** Whether the server has it open now. */
  readonly served: boolean;
  /** Connections in the accept queue. */
  readonly waiting: number;
}

/** Paths of one keeper's files. */
export interface StateFiles {
  readonly lock: string;
  readonly state: string;
  readonly control: string;
  /** Where the server's output goes when it is to go to a file and none is named. */
  readonly log: string;
}

/**
 * The folder for lock, state and control socket of every keeper of this user: /run/holdfast for root, else
 * $XDG_RUNTIME_DIR/holdfast, else one under the temporary folder. Made with mode 0700 when missing.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_STATE_DIRECTORY: it belongs to another user or others may enter it.
 */
export function stateDirectory(): string {
  const path = stateDirectoryPath();
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new HoldfastError('ERR_HOLDFAST_STATE_DIRECTORY', `cannot make the state folder ${path}`, error);
  }
  const found = lstatSync(path);
  const uid = process.getuid?.();
  if (!found.isDirectory() || found.uid !== uid) {
    const text = `${path} is not a folder of user ${uid}; remove it or name another in ${stateVariable(uid)}`;
    throw new HoldfastError('ERR_HOLDFAST_STATE_DIRECTORY', text);
  }
  if ((found.mode & 0o077) === 0) return path;
  if (process.env.HOLDFAST_STATE_DIR) {
    // Somebody's choice is not ours to change (it may be /tmp). The files in it are the user's alone in any case.
    if ((found.mode & 0o022) === 0) return path;
    const text = `HOLDFAST_STATE_DIR: others may write in ${path}; name a folder of your own`;
    throw new HoldfastError('ERR_HOLDFAST_STATE_DIRECTORY', text);
  }
  // Our own folder got a wider mode by hand; nobody else has business in it.
  chmodSync(path, 0o700);
  return path;
}

/**
 * Folders other than ours where a keeper of that name may have its state, of this user or, for root, of any: it was started by
 * systemd, with a login, or without one.
 */
export function otherStateDirectories(name: string): readonly string[] {
  const uid = process.getuid?.() ?? 0;
  const folders = [
    ...[`/run/holdfast-${name}`, '/run/holdfast', `/run/user/${uid}/holdfast`],
    join(tmpdir(), `holdfast-${uid}`),
  ];
  return folders.filter((folder) => folder !== stateDirectoryPath() && isOpenTo(uid, folder));
}

function isOpenTo(uid: number, folder: string): boolean {
  const found = lstatSync(folder, { throwIfNoEntry: false });
  return found?.isDirectory() === true && (uid === 0 || found.uid === uid);
}

/** The variable that says where the folder is. */
function stateVariable(uid: number | undefined): string {
  return process.env.HOLDFAST_STATE_DIR || uid === 0 ? 'HOLDFAST_STATE_DIR' : 'XDG_RUNTIME_DIR';
}

function stateDirectoryPath(): string {
  const uid = process.getuid?.() ?? 0;
  if (process.env.HOLDFAST_STATE_DIR) return process.env.HOLDFAST_STATE_DIR;
  if (uid === 0) return '/run/holdfast';
  if (process.env.XDG_RUNTIME_DIR) return join(process.env.XDG_RUNTIME_DIR, 'holdfast');
  return join(tmpdir(), `holdfast-${uid}`);
}

/** @throws {HoldfastError} ERR_HOLDFAST_NAME */
export function checkName(name: string): string {
  if (KEEPER_NAME.test(name)) return name;
  const text = `"${name}" cannot be a keeper's name: 1 to 64 letters, digits, dots, dashes or underscores`;
  throw new HoldfastError('ERR_HOLDFAST_NAME', text);
}

export function stateFiles(name: string): StateFiles {
  const base = join(stateDirectory(), name);
  // sun_path in unix(7); the ending is the longest of the three.
  if (Buffer.byteLength(`${base}.sock`) > 107) {
    const text = `the path of the control socket would be longer than 107 bytes: ${base}.sock; choose a shorter --name`;
    throw new HoldfastError('ERR_HOLDFAST_STATE_DIRECTORY', text);
  }
  return { lock: `${base}.lock`, state: `${base}.json`, control: `${base}.sock`, log: `${base}.log` };
}

/** How long we wait for what a killed keeper was starting: forked, it has the lock until it begins its program. */
const LEFT_LOCK_MS = 5_000;
const UNKNOWN_LOCK_MS = 1_000;
const LEFT_LOCK_LOOK_MS = 2;

/**
 * Makes the name ours for as long as this process lives.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_NAME_TAKEN
 */
export async function lockName(name: string, files: StateFiles): Promise<Fd> {
  const since = performance.now();
  for (;;) {
    const lock = tryLock(files.lock);
    if (lock !== undefined) return lock;
    const other = readState(files.state);
    const isLeft = other !== undefined && !isAtWork(other);
    // One that has written nothing yet may be about to, or have been killed before that.
    const patienceMs = other === undefined ? UNKNOWN_LOCK_MS : isLeft ? LEFT_LOCK_MS : 0;
    if (performance.now() - since >= patienceMs) throw nameTaken(name, other, isLeft);
    await sleep(LEFT_LOCK_LOOK_MS);
  }
}

function nameTaken(name: string, other: KeeperState | undefined, isLeft: boolean): HoldfastError {
  if (isLeft) {
    const text = `the keeper named "${name}" (pid ${other?.pid}) was killed while it started a process, which has its lock until it begins its program; try again then`;
    return new HoldfastError('ERR_HOLDFAST_NAME_TAKEN', text);
  }
  const who = other === undefined ? '' : ` (pid ${other.pid}: ${other.command.join(' ')})`;
  const text = `a keeper named "${name}" runs already${who}; stop it with "holdfast stop ${name}" or choose another --name`;
  return new HoldfastError('ERR_HOLDFAST_NAME_TAKEN', text);
}

/** Writes the state in one step, so that a reader never sees half of it. */
export function writeState(files: StateFiles, state: KeeperState, recovery: Recovery): void {
  // One keeper of a name writes at a time; what one that was killed has begun goes with the next one's first writing.
  writeInOneStep(files.state, JSON.stringify({ ...state, recovery }, encodeBigint), `${files.state}.new`);
}

/** Writes a line as a file for this user alone. */
export function writeInOneStep(path: string, line: string, temporary = `${path}.${process.pid}`): void {
  writeFileSync(temporary, `${line}\n`, { mode: 0o600 });
  renameSync(temporary, path);
}

/** Removes what a keeper leaves, its lock file last. */
export function removeFiles(files: StateFiles): void {
  for (const path of [files.state, files.control, files.lock]) rmSync(path, { force: true });
}

/** What the keepers of this user have written down, those that were killed included. */
export function knownKeepers(): readonly KeeperState[] {
  const directory = stateDirectory();
  return readdirSync(directory)
    .filter((file) => file.endsWith('.json'))
    .map((file) => readState(join(directory, file)))
    .filter((state) => state !== undefined);
}

/** A keeper's state file; undefined when there is none or it is not one of this version. */
export function readState(path: string): KeeperState | undefined {
  try {
    const state: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return isState(state) ? state : undefined;
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isState(state: unknown): state is KeeperState {
  return typeof state === 'object' && state !== null && 'version' in state && state.version === 1;
}
