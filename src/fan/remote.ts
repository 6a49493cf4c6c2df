import type { Readable } from 'node:stream';
import type { Work } from './remote-command.js';

/** Where a command of one host has come to when it fails. */
export type Phase = 'resolve' | 'port' | 'connect' | 'auth' | 'run' | 'lost';

/** How one command at one host has ended. */
export interface RemoteEnd {
  /** Its exit status, 128 + n after signal n; null when it did not run or nothing is known of its end. */
  readonly status: number | null;
  readonly error: Failure | null;
  /** Whether this side has closed the connection first, because the other had not or because it was stopped. */
  readonly closedFirst: boolean;
}

export interface Failure {
  readonly phase: Phase;
  readonly text: string;
}

/** Where output goes; a promise is waited for before more is read. */
export type Take = (stream: 'stdout' | 'stderr', bytes: Buffer) => void | Promise<void>;

/** A command at one host. */
export interface RemoteJob {
  /** The host as it was named, with its user. */
  readonly name: string;
  readonly host: string;
  readonly work: Work;
  /** The remote user. Default: as the program decides. */
  readonly user: string | undefined;
  readonly port: number | undefined;
  readonly connectTimeoutMs: number;
  /** How long the other side may take to end the connection when the command is over: what it has left behind may have it. */
  readonly closeTimeoutMs: number;
  readonly input: Readable | undefined;
  readonly take: Take;
}

/** One that runs. */
export interface RunningRemote {
  readonly ended: Promise<RemoteEnd>;
  /** Ends the command with what it has started, and the connection. */
  stop(): void;
}

/** `me@host` is the user at that host. */
export function userAndHost(name: string): { readonly user: string | undefined; readonly host: string } {
  const at = name.lastIndexOf('@');
  return at === -1 ? { user: undefined, host: name } : { user: name.slice(0, at), host: name.slice(at + 1) };
}
