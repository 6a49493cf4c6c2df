import type { TcpTraffic } from '../kernel/tcp-traffic.js';
import type { RuleId } from '../model/rules.js';
import type { TcpState } from '../model/tcp-state.js';
import type { ErrorCode, Protocol } from '../model/world.js';
import type { ProcessReport } from './process.js';

/** What `why` tells of one port: what `--json` prints and the library gives. What is not known is null. */
export interface WhyReport {
  readonly schema: 1;
  readonly port: number;
  readonly protocol: Protocol;
  /** The address that was asked for; null for the port on any address. */
  readonly host: string | null;
  /** When, ISO 8601. */
  readonly at: string;
  /** As uname(2) gives it. */
  readonly kernel: string;
  /** Inode number of the network namespace that was looked at. */
  readonly netns: number | null;
  readonly verdict: Verdict;
  /** One sentence. */
  readonly summary: string;
  readonly sockets: readonly SocketReport[];
  readonly groups: readonly (LeftoverGroup | ReusePortGroup)[];
  /** Everybody who has one of `sockets` open. */
  readonly processes: readonly ProcessReport[];
  /** The same port in other network namespaces, where it stands in nobody's way here. */
  readonly elsewhere: readonly ElsewhereReport[];
  /** What binds would do. */
  readonly bind: readonly BindReport[];
  /** Who gets a connection to `localhost`, when 127.0.0.1 and ::1 do not lead to one and the same listener. */
  readonly localhost: LocalhostReport | null;
  /** Whether another user could take connections from a socket at a wildcard; null when there is none. */
  readonly takeover: TakeoverReport | null;
  readonly warnings: readonly Warning[];
  /** Safest first. */
  readonly fixes: readonly Fix[];
  readonly limits: Limits;
}

/**
 * `free`: a plain bind is expected to succeed. `held`: by a socket that somebody has. `leftovers`: by connections that
 * nobody has any more. `blocked`: nobody has it, a bind fails all the same. `unknown`: what decides cannot be seen.
 */
export type Verdict = 'free' | 'held' | 'leftovers' | 'blocked' | 'unknown';

export interface SocketReport {
  /** `BOUND`: bound and nothing else, CLOSE to the kernel. Of UDP: ESTABLISHED when connected, else BOUND. */
  readonly state: TcpState | 'BOUND';
  readonly family: 'ipv4' | 'ipv6';
  /** With the port. */
  readonly local: string;
  readonly peer: string | null;
  /** Null where nobody has it open. */
  readonly inode: number | null;
  readonly cookie: string;
  readonly uid: number;
  readonly user: string | null;
  /** SO_BINDTODEVICE. */
  readonly device: string | null;
  /** IPV6_V6ONLY; null for IPv4. */
  readonly v6only: boolean | null;
  /** Of a listener: connections that wait for accept, and the most that may. */
  readonly acceptQueue: number | null;
  readonly backlog: number | null;
  readonly timer: string | null;
  readonly expiresMs: number | null;
  /** What went over a connection; null where that was not asked for, or there is none. */
  readonly traffic: TcpTraffic | null;
  readonly ownerKind: OwnerKind;
  readonly flags: FlagsReport;
  readonly mptcp: boolean | null;
  readonly cgroup: string | null;
  readonly holders: readonly HolderReport[];
}

/**
 * `hidden`: somebody has it whom this user may not see. `unseen`: every process could be looked into and none has it.
 * `kernel`: a service of the kernel itself. `queue-of-listener`: waits to be accepted. `none`: nobody has it any more.
 */
export type OwnerKind = 'process' | 'hidden' | 'unseen' | 'kernel' | 'queue-of-listener' | 'none';

export interface FlagsReport {
  readonly reuseaddr: boolean | null;
  readonly reuseport: boolean | null;
  readonly source: 'getsockopt' | 'unknown';
  /** Why they are not known. */
  readonly why: string | null;
}

export interface HolderReport {
  readonly pid: number;
  readonly fd: number;
  /** What it does with a listener: waits for connections on it, or only has it open; null when it cannot be told. */
  readonly waits: boolean | null;
  /** It has it from a parent and does nothing with it. */
  readonly leaked: boolean;
}

/** Connections that nobody has any more, at one address. */
export interface LeftoverGroup {
  readonly kind: 'time-wait' | 'fin-wait-2';
  readonly local: string;
  readonly count: number;
  readonly minExpiresMs: number;
  readonly maxExpiresMs: number;
}

/** Listeners among which the kernel shares connections out. */
export interface ReusePortGroup {
  readonly kind: 'reuseport';
  readonly local: string;
  readonly cookies: readonly string[];
  readonly uids: readonly number[];
}

export interface ElsewhereReport {
  readonly netns: number;
  /** Name, container or process of the namespace. */
  readonly label: string;
  readonly sockets: readonly {
    readonly state: TcpState | 'BOUND';
    readonly local: string;
    readonly pids: readonly number[];
  }[];
}

export type BindOption = 'SO_REUSEADDR' | 'SO_REUSEPORT';

export interface BindReport {
  /** With the port. */
  readonly address: string;
  readonly options: readonly BindOption[];
  /** By the rules, for what can be seen; `unknown` where that does not decide. */
  readonly expected: 'ok' | ErrorCode | 'unknown';
  /** What a bind of our own, closed at once, met; null when none was tried. */
  readonly probed: string | null;
  /** The kernel's rule by which it goes as expected. */
  readonly rule: RuleId | null;
  readonly says: string | null;
  readonly cause: Cause | null;
  /** Who stands in the way: `cookie:1f`, or `TIME_WAIT 127.0.0.1:8080`. */
  readonly because: readonly string[];
}

/** What stands behind a bind that fails, or behind one that surprises. */
export type Cause =
  | 'listen'
  | 'bound-no-reuse'
  | 'leftover-needs-reuseaddr'
  | 'leftover-holder-without-reuseaddr'
  | 'connection'
  | 'outgoing-connection'
  | 'reuseport-other-uid'
  | 'dualstack-meets-v4'
  | 'v6only-free'
  | 'privileged-port'
  | 'address-not-local'
  | 'bucket-cache'
  | 'unseen';

export interface LocalhostReport {
  /** Addresses in the order in which this machine tries them. */
  readonly order: readonly string[];
  /** Cookies of the listeners that the two lead to; null where nobody listens. */
  readonly ipv4: string | null;
  readonly ipv6: string | null;
}

export interface TakeoverReport {
  /** What he would bind. */
  readonly address: string;
  /** Null when what decides cannot be seen. */
  readonly possible: boolean | null;
  readonly rule: RuleId | null;
}

export interface Warning {
  readonly id:
    | 'listener-without-reuseaddr'
    | 'more-specific-bind'
    | 'half-reuseport-group'
    | 'rules-not-verified';
  readonly text: string;
  /** Lines to add to a program. */
  readonly lines: readonly string[];
}

export interface Fix {
  readonly id: string;
  readonly risk: 'none' | 'resets-connections' | 'ends-process';
  readonly needsRoot: boolean;
  readonly text: string;
  /** To paste; null where there is nothing to run. */
  readonly command: readonly string[] | null;
}

export interface Limits {
  readonly hiddenProcesses: number;
  /** Processes that were not looked into, because the time for it was over. */
  readonly skippedProcesses: number;
  /** Why flags of sockets could not be read; null when they could. */
  readonly flagsBlockedBy: 'permission' | 'yama' | null;
  /** Whether the kernel shows sockets that are bound and do not listen (Linux 6.8); null where none was met. */
  readonly boundInactiveSupported: boolean | null;
  readonly otherNetnsSeen: boolean;
  /** Nothing that decides was out of sight. */
  readonly complete: boolean;
}
