import { lstatSync, readFileSync } from 'node:fs';
import { errorCode, HoldfastError } from '../errors.js';
import { readOrGone } from '../kernel/procfs.js';
import type { Notification } from '../kernel/seccomp.js';
import type { SavedGroup } from './groups.js';
import type { HeldSocket } from './held.js';
import type { Phase, WorkerEnd } from './lifecycle.js';
import type { Identity } from './options.js';
import type { SavedProbation } from './probation.js';
import type { Program } from './program.js';
import type { ProcessSetting } from './running-server.js';
import type { ProcessId } from './tree.js';
import type { Stage } from './turnover.js';

/** Of another layout than this nothing is taken over. */
const VERSION = 1;

/** What a keeper writes down so that another one can go on with its work: names of things that live on without it. */
export interface Recovery {
  readonly version: number;
  /** Identity of this run of the system: pids and inodes of another one say nothing. */
  readonly boot: string;
  /** Its name, pid and secret, with which the marks of its own workers begin. */
  readonly keeper: string;
  readonly command: readonly string[];
  readonly directory: string;
  /** What the server was given by whoever started it first, if that was not a keeper. */
  readonly origin?: { readonly identity: Identity | null; readonly setting: ProcessSetting };
  readonly paused?: boolean;
  /** The keeper has made room for another one, and nothing is missing here. */
  readonly left?: boolean;
  /** Starts of workers so far; each has its number. */
  readonly starts: number;
  readonly stage: Stage;
  /** Whether the generation that is not active has served, and may be gone back to. */
  readonly wayBack?: boolean;
  /** That of the active generation. */
  readonly probation?: SavedProbation;
  /** The active generation is what was gone back to. */
  readonly goneBack?: boolean;
  /** What a rollback goes back to. */
  readonly formerProgram?: Program;
  /** How many workers the options asked for, and how many it is by `scale`. */
  readonly workers: { readonly asked: number; readonly now: number };
  /** Who has the fds meanwhile, as far as that was known when this was written. */
  readonly holder: ProcessId | null;
  /** In the order in which the holder has them. */
  readonly notifiers: readonly SavedNotifier[];
  readonly generations: readonly SavedGeneration[];
  readonly groups: readonly SavedGroup[];
}

export interface SavedNotifier {
  readonly lastId: bigint;
  /** Calls that wait for their answer. */
  readonly pending: readonly Notification[];
}

export interface SavedGeneration {
  readonly number: number;
  /** Whether new connections go to it. */
  readonly active: boolean;
  /** Its environment is in it, so that what is started again runs as it ran: the file is this user's alone. */
  readonly program?: Program;
  readonly workers: readonly SavedWorker[];
  readonly sockets: readonly SavedSocket[];
}

export interface SavedWorker {
  readonly id: number;
  readonly attempt: number;
  /** What its processes have as WORKER_VARIABLE; '' when they were started by somebody else. */
  readonly mark: string;
  readonly root: ProcessId | null;
  readonly phase: Phase;
  readonly everListened: boolean;
  readonly failures: number;
  readonly lastEnd: WorkerEnd | null;
  readonly isStandby: boolean;
}

export interface SavedSocket
  extends Pick<
    HeldSocket,
    'inode' | 'place' | 'address' | 'programReusesPort' | 'backlog' | 'confirmed' | 'refusing'
  > {
  readonly claims: readonly number[];
}

/** Identity of this run of the system. @see /proc/sys/kernel/random/boot_id in proc_sys_kernel(5) */
function bootId(): string {
  return readOrGone('/proc/sys/kernel/random/boot_id')?.trim() ?? '';
}

export function newRecovery(parts: Omit<Recovery, 'version' | 'boot'>): Recovery {
  return { version: VERSION, boot: bootId(), ...parts };
}

/** For JSON.stringify: numbers of notifications are longer than JSON's. */
export function encodeBigint(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? { bigint: `${value}` } : value;
}

/** For JSON.parse: what `encodeBigint` has made. */
export function decodeBigint(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('bigint' in value)) return value;
  return typeof value.bigint === 'string' ? BigInt(value.bigint) : value;
}

/**
 * What the state file says of a keeper that is no more. Undefined when there is none, or it is of another run of the
 * system or another layout.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_STATE_DIRECTORY: others may have written the file.
 */
export function readRecovery(path: string): Recovery | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return undefined;
  if (!found.isFile() || found.uid !== process.getuid?.() || (found.mode & 0o022) !== 0) {
    const text = `${path} is not a file that only user ${process.getuid?.()} may write; remove it`;
    throw new HoldfastError('ERR_HOLDFAST_STATE_DIRECTORY', text);
  }
  const recovery = recoveryIn(path);
  return recovery?.version === VERSION && recovery.boot === bootId() ? recovery : undefined;
}

function recoveryIn(path: string): Recovery | undefined {
  try {
    const state = JSON.parse(readFileSync(path, 'utf8'), decodeBigint) as { readonly recovery?: Recovery };
    return state.recovery;
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
