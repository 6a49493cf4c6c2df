import { HoldfastError } from '../errors.js';
import { findGroup, findUser, type User } from '../kernel/users.js';
import type { WatchOptions } from './drain-watch.js';
import type { Policy, RestartPolicy } from './lifecycle.js';
import type { Notice } from './notices.js';
import { parseReadiness } from './readiness.js';
import type { ReloadPolicy } from './reload.js';
import type { ServerTarget } from './running-server.js';

/** More processes than that are a slip of the pen. */
const COUNT_MAX = 999;
const LOG_BYTES = 10 * 1024 ** 2;
const LOG_BYTES_MIN = 4_096;

/** What to keep, and how. Times in milliseconds. */
export interface KeepOptions {
  /** The server: program and arguments, no shell. `{fd}` and `{fd:NAME}` become the number of a `listen` fd. */
  readonly command: readonly string[];
  /** Unique among this user's keepers. Default: the name of the folder. */
  readonly name?: string;
  /**
   * Take over from the keeper that runs with this name, if one does: its server serves on, and is reloaded when the
   * command or the folder is another. Default false: the name is taken.
   */
  readonly replace?: boolean;
  /**
   * Take over this server, which runs and was started without holdfast. Then an empty `command` is its own, and `cwd`,
   * `env`, user, groups, limits and cgroup of what is started in its place are its own by default.
   */
  readonly adopt?: ServerTarget;
  /** Folder that the server starts in. Default: the current one. */
  readonly cwd?: string;
  /** Its environment. Default: ours. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Addresses that the keeper binds before the server starts: `8080`, `127.0.0.1:80`, `unix:/path,name=web`. */
  readonly listen?: readonly string[];
  /** Learn addresses by answering the server's bind and listen. Default true. */
  readonly trap?: boolean;
  /** Run the server as this user or number, with its groups. Needs root. */
  readonly user?: string;
  /** Group or number in place of the user's own. Needs root. */
  readonly group?: string;
  /** When the server is started again. Default `on-failure`: it exited with another code than 0, or by a signal. */
  readonly restart?: RestartPolicy;
  /** The longest wait before a start; after a crash it grows from 0, 100 ms, 200 ms. Default 10,000. */
  readonly maxBackoffMs?: number;
  /** Default SIGTERM. */
  readonly stopSignal?: NodeJS.Signals;
  /** From the stop signal to SIGKILL. Default 10,000. */
  readonly stopTimeoutMs?: number;
  /** How long clients may wait while no server comes up; then they are refused until one does. Default 30,000. */
  readonly holdForMs?: number;
  /** How many copies of the server share its sockets. Default 1. */
  readonly workers?: number;
  /** How many more copies wait, started, until one dies. Default 0. */
  readonly standbys?: number;
  /** How long one may wait before it is started anew. Default 600,000. */
  readonly standbyMaxAgeMs?: number;
  /** Whether a reload starts the new generation while the old one still serves. Default true. */
  readonly overlap?: boolean;
  /**
   * What makes a new generation ready, beside listening on every address of the old one: `listen` (nothing; default),
   * `notify` (READY=1 by sd_notify), `ipc` (process.send('ready')), `http:/path`, `delay:3s`.
   */
  readonly ready?: string;
  /** At a reload, from the start of the new generation until it is ready. Default 60,000. */
  readonly readyTimeoutMs?: number;
  /**
   * What the old generation is given time for before it is stopped: `idle`: until its connections are idle (default).
   * `open`: until they are closed. `queue`: for those that nobody has accepted yet alone; it drains by itself.
   */
  readonly drainWait?: WatchOptions['wait'];
  /** How long a connection must be still to be idle. Default 1,000. */
  readonly drainQuietMs?: number;
  /** How long all that is waited for at most. Default 30,000. */
  readonly drainTimeoutMs?: number;
  /** How long the old generation is kept, without connections, for an instant way back. Default 0. */
  readonly parkMs?: number;
  /**
   * The file that the server's stdout and stderr are appended to; `true`: NAME.log in the folder of the keeper's state.
   * Default: they go where ours go.
   */
  readonly logFile?: string | true;
  /** When that is longer, what it has becomes FILE.1, in place of what that had. Default 10 MiB, at least 4 KiB. */
  readonly logMaxBytes?: number;
  /** Serve /metrics for Prometheus and /ready at this address: `127.0.0.1:9469`, `[::1]:9469`. Default: nowhere. */
  readonly metrics?: string;
  /** Told everything from the first start on; later listeners on the Keeper miss what came before them. */
  readonly onNotice?: (notice: Notice) => void;
  /** Ends the server gracefully when aborted. */
  readonly signal?: AbortSignal;
}

/** The identity that `user` and `group` name together. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly user: User | undefined;
}

export function policyOf(options: KeepOptions): Policy {
  return {
    restart: oneOf('restart', options.restart ?? 'on-failure', ['always', 'on-failure', 'never']),
    stopSignal: options.stopSignal ?? 'SIGTERM',
    stopTimeoutMs: notNegative('stopTimeoutMs', options.stopTimeoutMs ?? 10_000),
    maxBackoffMs: notNegative('maxBackoffMs', options.maxBackoffMs ?? 10_000),
  };
}

export function holdForMs(options: KeepOptions): number {
  return notNegative('holdForMs', options.holdForMs ?? 30_000);
}

export function reloadPolicyOf(options: KeepOptions): ReloadPolicy {
  if (options.trap === false && (options.standbys ?? 0) > 0) {
    throw new HoldfastError('ERR_HOLDFAST_OPTION', 'a standby waits in its listen, which needs the trap');
  }
  return {
    workers: count('workers', options.workers ?? 1, 1),
    standbys: count('standbys', options.standbys ?? 0, 0),
    standbyMaxAgeMs: notNegative('standbyMaxAgeMs', options.standbyMaxAgeMs ?? 600_000),
    overlap: oneOf('overlap', options.overlap ?? true, [true, false]),
    readiness: parseReadiness(options.ready ?? 'listen'),
    readyTimeoutMs: notNegative('readyTimeoutMs', options.readyTimeoutMs ?? 60_000),
    drainWait: oneOf('drainWait', options.drainWait ?? 'idle', ['idle', 'open', 'queue']),
    drainQuietMs: notNegative('drainQuietMs', options.drainQuietMs ?? 1_000),
    drainTimeoutMs: notNegative('drainTimeoutMs', options.drainTimeoutMs ?? 30_000),
    parkMs: notNegative('parkMs', options.parkMs ?? 0),
  };
}

/** Whom this process runs as. */
export function ownIdentity(): Identity {
  return {
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    groups: process.getgroups?.() ?? [],
    user: undefined,
  };
}

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION */
export function logMaxBytesOf({ logMaxBytes = LOG_BYTES }: KeepOptions): number {
  if (Number.isInteger(logMaxBytes) && logMaxBytes >= LOG_BYTES_MIN) return logMaxBytes;
  throw new HoldfastError(
    'ERR_HOLDFAST_OPTION',
    `logMaxBytes is a whole number from ${LOG_BYTES_MIN}, not ${logMaxBytes}`,
  );
}

/** @throws {HoldfastError} ERR_HOLDFAST_USER: no such user or group, or we are not root. */
export function identityOf({ user, group }: KeepOptions): Identity | undefined {
  if (user === undefined && group === undefined) return undefined;
  if (process.getuid?.() !== 0) {
    throw new HoldfastError('ERR_HOLDFAST_USER', 'only root can run the server as another user or group');
  }
  const found = findUser(user ?? '0');
  if (user !== undefined && found === undefined) {
    throw new HoldfastError('ERR_HOLDFAST_USER', `there is no user "${user}" on this system`);
  }
  const gid = group === undefined ? found?.gid : findGroup(group);
  if (gid === undefined)
    throw new HoldfastError('ERR_HOLDFAST_USER', `there is no group "${group}" on this system`);
  return {
    uid: found?.uid ?? 0,
    gid,
    groups: found?.groups ?? [gid],
    user: user === undefined ? undefined : found,
  };
}

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION */
export function count(name: string, value: number, from: number): number {
  if (Number.isInteger(value) && value >= from && value <= COUNT_MAX) return value;
  throw new HoldfastError(
    'ERR_HOLDFAST_OPTION',
    `${name} is a whole number from ${from} to ${COUNT_MAX}, not ${value}`,
  );
}

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION: there is none, or it is not made of texts. */
export function checkCommand(command: readonly string[]): void {
  if (!Array.isArray(command) || command.some((word) => typeof word !== 'string'))
    throw new HoldfastError('ERR_HOLDFAST_OPTION', "command is a list of texts: ['node', 'server.js']");
  if (command.length === 0)
    throw new HoldfastError('ERR_HOLDFAST_OPTION', 'there is no command to run; it stands after --');
}

/** What a program in plain JavaScript gives may be anything. */
function oneOf<T>(name: string, value: T, known: readonly T[]): T {
  if (known.includes(value)) return value;
  throw new HoldfastError('ERR_HOLDFAST_OPTION', `${name} is ${known.join(' or ')}, not ${String(value)}`);
}

function notNegative(name: string, value: number): number {
  if (Number.isFinite(value) && value >= 0) return value;
  throw new HoldfastError('ERR_HOLDFAST_OPTION', `${name} is a number of milliseconds from 0, not ${value}`);
}
