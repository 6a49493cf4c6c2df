import type { WorkerEnd } from './lifecycle.js';

/** Somebody outside this app who listens where the app wants to. */
export interface Stranger {
  readonly pid: number;
  readonly command: string;
  /** Name of the keeper that it belongs to, if any. */
  readonly keeper?: string;
}

/** What a keeper tells while it works, one kind per event. Times in ms. */
export type Notice =
  | { readonly type: 'started'; readonly pid: number; readonly attempt: number }
  /** The worker listens; its addresses are held from now on, beside the keeper too where that can be. */
  | { readonly type: 'held'; readonly address: string; readonly pid: number }
  /** A restarted worker has its address again. */
  | { readonly type: 'served-again'; readonly address: string; readonly pid: number; readonly gapMs: number }
  | {
      readonly type: 'released';
      readonly address: string;
      /** `closed`: by the server, on purpose. `failing`: `--hold-for` is over. `moved`: another address overlaps. */
      readonly reason: 'closed' | 'failing' | 'moved';
    }
  | { readonly type: 'not-held'; readonly pid: number; readonly address?: string; readonly why: string }
  | { readonly type: 'taken'; readonly address: string; readonly by: Stranger | undefined }
  /** The server may not bind the port: below ip_unprivileged_port_start and without CAP_NET_BIND_SERVICE. */
  | { readonly type: 'not-allowed'; readonly address: string; readonly pid: number }
  | ({ readonly type: 'exited'; readonly pid: number } & WorkerEnd)
  /** The server failed, and had bound these addresses since it last listened anywhere. */
  | { readonly type: 'never-listened'; readonly pid: number; readonly addresses: readonly string[] }
  | { readonly type: 'daemonized'; readonly pids: readonly number[] }
  | { readonly type: 'restarting'; readonly inMs: number; readonly failures: number }
  /**
   * This keeper goes on with what another one has left. `binds`: the server can bind and listen; not so when it is under
   * a filter whose notifier is gone.
   */
  | {
      readonly type: 'adopted';
      readonly pids: readonly number[];
      readonly addresses: readonly string[];
      readonly binds: boolean;
    }
  /** Another keeper goes on with everything. */
  | { readonly type: 'left' }
  /** A standby serves in the place of a worker that died. */
  | { readonly type: 'promoted'; readonly pid: number }
  /** A standby has waited for `standbyMaxAgeMs`, and is started anew. */
  | { readonly type: 'renewing'; readonly pid: number }
  /** A new generation is being started. */
  | { readonly type: 'reloading'; readonly generation: number }
  /** It has taken over. */
  | { readonly type: 'reloaded'; readonly generation: number; readonly tookMs: number }
  /** It has not. `goesOn`: the former one serves as before. */
  | {
      readonly type: 'reload-failed';
      readonly why: string;
      readonly goesOn: boolean;
      readonly tookMs: number;
    }
  /** The former generation has finished what it had, or, not `complete`, its time is over. `connections`: still open. */
  | {
      readonly type: 'drained';
      readonly generation: number;
      readonly tookMs: number;
      readonly connections: number;
      readonly complete: boolean;
    }
  /** From now on a change of files reloads. `what`: the folder, or the patterns of the files. */
  | { readonly type: 'watching'; readonly what: readonly string[] }
  /** The server is reloaded because of them. */
  | { readonly type: 'changed'; readonly files: readonly string[] }
  /** The former generation has nothing to do any more, and is kept for a way back. */
  | { readonly type: 'parked'; readonly generation: number; readonly forMs: number }
  /** A new generation dies again and again: back to the one before it. */
  | { readonly type: 'rolling-back'; readonly generation: number; readonly deaths: number }
  /** The former generation serves again. */
  | { readonly type: 'rolled-back'; readonly generation: number }
  | { readonly type: 'paused' }
  | { readonly type: 'resumed' }
  /** The former keeper had let go of the port for somebody else: the server is not started before `take`. */
  | { readonly type: 'stays-released' }
  | { readonly type: 'nothing-listens'; readonly afterMs: number }
  | { readonly type: 'stopping'; readonly signal: NodeJS.Signals }
  | { readonly type: 'killed'; readonly pids: readonly number[] }
  | { readonly type: 'warning'; readonly text: string };

/** `pid 123 (node server.js)`, with its keeper's name where it has one. */
export function describeStranger(who: Stranger | undefined): string {
  if (who === undefined) return 'a process that this user may not see (run as root to see it)';
  const keeper = who.keeper === undefined ? '' : `, kept by holdfast as "${who.keeper}"`;
  return `pid ${who.pid} (${who.command}${keeper})`;
}
