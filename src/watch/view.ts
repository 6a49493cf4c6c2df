import type { TcpState } from '../model/tcp-state.js';

/** A state of a TCP socket as Linux spells it. `BOUND`: it has a port, and neither listens nor is connected. */
export type WatchState = Exclude<TcpState, 'CLOSE'> | 'BOUND';

/** In the order of a connection's life. */
export const WATCH_STATES: readonly WatchState[] = [
  ...(['BOUND', 'LISTEN', 'SYN_SENT', 'SYN_RECV', 'ESTABLISHED', 'FIN_WAIT1', 'FIN_WAIT2'] as const),
  ...(['CLOSING', 'TIME_WAIT', 'CLOSE_WAIT', 'LAST_ACK'] as const),
];

/** How many sockets are in each state. */
export type StateCounts = Readonly<Record<WatchState, number>>;

/** Which end closes first. `active`: this one; TIME_WAIT stays with it. `passive`: its peer. */
export type Closing = 'active' | 'passive';

/**
 * Who has a socket. `queue`: it waits in an accept queue. `none`: its process has closed it. `hidden`: a process that this
 * user may not look into. `pending`: it has not been looked for yet.
 */
export type Ownership = 'process' | 'queue' | 'none' | 'hidden' | 'pending';

/** One socket that is no leftover. Entries in TIME_WAIT, and orphans in FIN_WAIT2, are counted and never listed. */
export interface WatchedSocket {
  /** The same for as long as the socket lives: its cookie, in hexadecimal digits. */
  readonly id: string;
  readonly state: WatchState;
  /** `127.0.0.1:8080` */
  readonly local: string;
  /** Null for what is not connected. */
  readonly peer: string | null;
  readonly ownership: Ownership;
  /** Of the process that has it, in `processes`; of several the one that serves. Null when none can be told. */
  readonly pid: number | null;
  /** Name or number of the user whose it is; null for what no process has. */
  readonly user: string | null;
  /** Bytes that the program has not read; of a listener, connections in its accept queue. */
  readonly receiveQueue: number;
  /** Bytes that the peer has not acknowledged; of a listener, the longest accept queue (backlog). */
  readonly sendQueue: number;
  /** What the kernel waits for, and until when, in ms since 1970; null when for nothing. */
  readonly timer: { readonly kind: string; readonly firesAtMs: number } | null;
  /** Since when it has been seen in this state, in ms since 1970. */
  readonly sinceMs: number;
  /** Null as long as neither end closes, and when it was not seen. */
  readonly closing: Closing | null;
}

/** A process that has sockets, without its arguments, which may be secrets. */
export interface WatchedProcess {
  readonly pid: number;
  /** `server.js` of `node server.js` */
  readonly program: string;
}

/** So many sockets went from one state to another between two looks, perhaps through others. */
export interface Transition {
  /** Null: there was no such socket. */
  readonly from: WatchState | null;
  /** Null: there is none any more. */
  readonly to: WatchState | null;
  readonly closing: Closing | null;
  readonly count: number;
}

/** A local port with all that has it. */
export interface WatchedPort {
  readonly port: number;
  /** Sockets that listen there. */
  readonly listening: number;
  /** Sockets that are neither listeners nor leftovers. */
  readonly live: number;
  readonly timeWait: number;
  readonly acceptQueue: number;
  /** Connections that its accept queues take; 0 without a listener. */
  readonly backlog: number;
  /** Of a listener's process, if it can be told. */
  readonly pid: number | null;
}

/** Connections that a process of this machine keeps from ending, because it does not close its end. */
export interface Unclosed {
  /** Who forgets to close; null when that cannot be seen. */
  readonly pid: number | null;
  /** How many of its sockets are in CLOSE_WAIT: their peers have closed. */
  readonly closeWait: number;
  /** How many sockets of this machine wait for it in FIN_WAIT2. With `pid` null their peers are elsewhere. */
  readonly finWait2: number;
}

/** A copy of a keeper's server. */
export interface WatchedWorker {
  /** Null while it is being started. */
  readonly pid: number | null;
  readonly generation: number;
  /** `parked`: a standby. */
  readonly phase: string;
}

/** A keeper of this user. */
export interface WatchedKeeper {
  readonly name: string;
  readonly pid: number;
  readonly phase: string;
  readonly generation: number;
  /** Starts of its server so far. */
  readonly starts: number;
  /** How far a reload is; `steady` without one. */
  readonly reload: string;
  readonly paused: boolean;
  readonly addresses: readonly string[];
  readonly workers: readonly WatchedWorker[];
}

/** Something that a keeper has done. `restarted`: after a crash. */
export interface KeeperMark {
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly keeper: string;
  readonly kind:
    | ('restarted' | 'promoted' | 'reloading' | 'reloaded' | 'reload-failed')
    | ('rolled-back' | 'paused' | 'resumed');
  readonly generation: number | null;
  readonly pid: number | null;
}

/** Counts of the last minutes, each list in the order of time and of the same length. */
export interface WatchHistory {
  /** Milliseconds since 1970. */
  readonly atMs: readonly number[];
  readonly counts: Readonly<Record<WatchState, readonly number[]>>;
  readonly acceptQueue: readonly number[];
}

/** What this user may not see. */
export interface Unseen {
  /** Sockets that some process has which cannot be told. */
  readonly sockets: number;
  /** Processes that may not be looked into. */
  readonly processes: number;
}

/** What is told whole in every update. */
export interface WatchTotals {
  /** Counts the updates of one viewer, from 1. */
  readonly sequence: number;
  /** When the sockets were looked at, in ms since 1970. */
  readonly atMs: number;
  readonly counts: StateCounts;
  /** Connections in all accept queues. They are among the counts of their states too. */
  readonly acceptQueue: number;
  /** Of the sockets in FIN_WAIT2 those that no process has: they end when their time is over. */
  readonly orphans: number;
  /** How many entries of TIME_WAIT end in each coming second; together they are all of them. */
  readonly timeWaitEnds: readonly number[];
  /** Those with the most sockets first, 20 at most. */
  readonly ports: readonly WatchedPort[];
  /** Those who keep most first, 10 at most. */
  readonly unclosed: readonly Unclosed[];
  readonly unseen: Unseen;
}

/** All that there is. The first update. */
export interface WatchSnapshot extends WatchTotals {
  readonly type: 'snapshot';
  readonly intervalMs: number;
  readonly sockets: readonly WatchedSocket[];
  /** How many sockets are not among them yet; deltas bring them. */
  readonly left: number;
  readonly processes: readonly WatchedProcess[];
  readonly keepers: readonly WatchedKeeper[];
  readonly history: WatchHistory;
  readonly marks: readonly KeeperMark[];
}

/** A socket that is no longer there. */
export interface GoneSocket {
  readonly id: string;
  /** What is left of it. */
  readonly to: 'TIME_WAIT' | 'FIN_WAIT2' | null;
  readonly closing: Closing | null;
}

/** What has changed since the update before: at most 20 kB as JSON. Totals are whole; lists go on in the next delta. */
export interface WatchDelta extends WatchTotals {
  readonly type: 'delta';
  /** All of them, those of sockets that are in no list too. */
  readonly transitions: readonly Transition[];
  /** Sockets that came and ended between two looks, and that the kernel had no room to tell of, may be missing there. */
  readonly missed: boolean;
  /** Those that are new or have changed, whole. */
  readonly sockets: readonly WatchedSocket[];
  readonly gone: readonly GoneSocket[];
  /** How many changes of sockets, processes and keepers did not fit and come later. */
  readonly left: number;
  readonly processes: readonly WatchedProcess[];
  /** Those that are new or have changed. */
  readonly keepers: readonly WatchedKeeper[];
  /** Names of keepers that have ended. */
  readonly keepersGone: readonly string[];
  readonly marks: readonly KeeperMark[];
}

export type WatchUpdate = WatchSnapshot | WatchDelta;

/** Which sockets; all that is given must hold. */
export interface WatchFilter {
  /** A local port. */
  readonly port?: number | undefined;
  /** A process, with its descendants. */
  readonly pid?: number | undefined;
  /** Name of a keeper of this user. */
  readonly keeper?: string | undefined;
}
