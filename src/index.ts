import type { Socket } from 'node:net';
import type { FreeResult } from './diagnosis/free.js';
import type { FreeOptions } from './diagnosis/free-plan.js';
import type { WhyReport } from './diagnosis/report.js';
import type { WaitOptions, WaitResult } from './diagnosis/wait-for.js';
import type { WhyOptions } from './diagnosis/why.js';
import type { FanOptions as FanOutOptions, FanResult } from './fan/fan.js';
import type { ReloadAt, ReloadWords, RollingOptions } from './fan/reload-on.js';
import type { WhyAt, WhyWords } from './fan/why-on.js';
import type { Keeper } from './keeper/keeper.js';
import type { KeepOptions } from './keeper/options.js';
import { requireLinux } from './platform.js';
import type { ConnectFromOptions } from './ports/connect-from.js';
import type { Destination } from './ports/ends.js';
import type { PortReservation } from './ports/port-reservation.js';
import type { ReserveOptions } from './ports/reserve.js';
import type { ReservedPort, ReservedPortOptions } from './ports/reserved-port.js';
import type { WatchUpdate } from './watch/view.js';
import type { WatchOptions } from './watch/watch.js';

// Loaded at once: when a server is to be closed these files may have given way to those of a newer version.
export { closeGracefully } from './closing/close-gracefully.js';
export { type Closings, countClosings } from './closing/count-closings.js';
export type { FirstCloser } from './closing/first-closer.js';
export type { CloseOptions } from './closing/options.js';
export { type PeerClosesOptions, peerCloses, type WeCloseOptions, weClose } from './closing/peer-closes.js';
export type { CloseResult, ClosingCounts, ClosingProgress } from './closing/server-closing.js';
export { installSignalHandlers, type SignalOptions } from './closing/signals.js';
export type { ClosableServer, HasServer } from './closing/target.js';
export type { EndedProcess, FreeResult } from './diagnosis/free.js';
export type { FreeOptions } from './diagnosis/free-plan.js';
export type { ParentReport, ProcessReport } from './diagnosis/process.js';
export type {
  BindOption,
  BindReport,
  Cause,
  ElsewhereReport,
  Fix,
  FlagsReport,
  HolderReport,
  LeftoverGroup,
  Limits,
  LocalhostReport,
  OwnerKind,
  ReusePortGroup,
  SocketReport,
  Verdict,
  Warning,
  WhyReport,
} from './diagnosis/report.js';
export type { WaitOptions, WaitResult } from './diagnosis/wait-for.js';
export type { WhyOptions } from './diagnosis/why.js';
export { HoldfastError, type HoldfastErrorCode } from './errors.js';
export type { NoAnswer, Silence } from './fan/answer.js';
export type { FanResult, Output } from './fan/fan.js';
export type { ReloadAt } from './fan/reload-on.js';
export type { Keeper, KeeperEvents } from './keeper/keeper.js';
export type { RestartPolicy, WorkerEnd } from './keeper/lifecycle.js';
export type { Notice, Stranger } from './keeper/notices.js';
export type { KeepOptions } from './keeper/options.js';
export type { Program } from './keeper/program.js';
export type { ReloadOptions, ReloadOutcome } from './keeper/reload.js';
export type { ServerTarget } from './keeper/running-server.js';
export type { DrainState, KeeperState, SocketState, WorkerState } from './keeper/state.js';
export type { Batch } from './model/batch.js';
export type { ConnectFromOptions } from './ports/connect-from.js';
export type { Destination } from './ports/ends.js';
export type { PortReservation } from './ports/port-reservation.js';
export type { PortRange } from './ports/range.js';
export type { ReserveOptions } from './ports/reserve.js';
export type { ReservedPort, ReservedPortOptions } from './ports/reserved-port.js';
export { version } from './version.js';
export { applyDelta } from './watch/apply.js';
export type {
  Closing,
  GoneSocket,
  KeeperMark,
  Ownership,
  StateCounts,
  Transition,
  Unclosed,
  Unseen,
  WatchDelta,
  WatchedKeeper,
  WatchedPort,
  WatchedProcess,
  WatchedSocket,
  WatchedWorker,
  WatchHistory,
  WatchSnapshot,
  WatchState,
  WatchUpdate,
} from './watch/view.js';
export type { WatchOptions } from './watch/watch.js';

/**
 * Keeps a server: starts it, owns its listening sockets from the moment it listens, and starts it again when it
 * dies, while clients wait in the accept queue. Resolves when the server has been started.
 *
 * This process becomes a subreaper (prctl(2)): orphans of the server become its children.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_UNSUPPORTED: not Linux. ERR_HOLDFAST_OPTION, _NAME, _ADDRESS, _USER: a
 *   wrong option. ERR_HOLDFAST_COMMAND: no such program. ERR_HOLDFAST_ADDRESS_TAKEN: a `listen` address is
 *   somebody else's. ERR_HOLDFAST_NAME_TAKEN. ERR_HOLDFAST_TRAP_UNAVAILABLE: no seccomp user notification.
 *   ERR_HOLDFAST_ADOPT: the server of `adopt` cannot be taken over. ERR_HOLDFAST_TAKE_OVER: that of the former keeper
 *   cannot be, and goes on. ERR_HOLDFAST_LOG_FILE, _CONTROL, _STATE_DIRECTORY: a file or folder of the keeper cannot be
 *   made.
 */
export async function keep(options: KeepOptions): Promise<Keeper> {
  requireLinux('keep()');
  const { Keeper } = await import('./keeper/keeper.js');
  return Keeper.start(options, { reapsAll: false, ignoresHangup: false, serviceEnv: undefined });
}

/**
 * Who and what has a port, what binds to it would do and by which rule of the kernel, and what frees it: the object that
 * `holdfast why --json` prints. Works for every user; what that user may not see is told in `limits`.
 *
 * It blocks for some milliseconds, and for up to 300 where a container's or systemd's tool has to be asked.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_UNSUPPORTED: not Linux. ERR_HOLDFAST_OPTION: no port, or no IP address.
 * @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 */
export async function why(options: WhyOptions): Promise<WhyReport> {
  requireLinux('why()');
  const [{ why }, { checkTarget }] = await Promise.all([
    import('./diagnosis/why.js'),
    import('./diagnosis/target.js'),
  ]);
  return why(checkTarget(options));
}

/**
 * Frees a port without asking, as `holdfast free --yes` does: ends the processes that have it, by their own tools where
 * something would start them again, and removes what is left of connections when nobody has the port. Never ends this
 * process, one that started it, a client or pid 1. Resolves when that is done; `freed` tells how far it came.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_UNSUPPORTED: not Linux. ERR_HOLDFAST_OPTION: no port, or no IP address.
 *   ERR_HOLDFAST_NOT_FREED: a tool failed, or a process may not be signalled or does not end.
 * @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 */
export async function free(options: FreeOptions): Promise<FreeResult> {
  requireLinux('free()');
  const [{ free }, { checkTarget }] = await Promise.all([
    import('./diagnosis/free.js'),
    import('./diagnosis/target.js'),
  ]);
  return free(checkTarget(options));
}

/**
 * Waits until a port is free, or until somebody listens on it, without blocking. `reached` is false when the time was
 * over before.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_UNSUPPORTED: not Linux. ERR_HOLDFAST_OPTION: no port, or no IP address.
 * @throws {DOMException} AbortError: by `signal`. {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 */
export async function waitFor(options: WaitOptions): Promise<WaitResult> {
  requireLinux('waitFor()');
  const [{ waitFor }, { checkTarget }] = await Promise.all([
    import('./diagnosis/wait-for.js'),
    import('./diagnosis/target.js'),
  ]);
  return waitFor(checkTarget(options));
}

/**
 * What stands behind an EADDRINUSE, EADDRNOTAVAIL or EACCES of listen, bind or connect, in the words of `holdfast why`.
 * The error may be one level within another one (`cause`, `errors`). Null for errors of other kinds.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_UNSUPPORTED: not Linux.
 * @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 */
export async function explain(error: unknown): Promise<string | null> {
  requireLinux('explain()');
  const { explain } = await import('./diagnosis/explain.js');
  return explain(error);
}

/**
 * Reserves a port, or with `count` several: neither the kernel's own choice nor another reservation, of whatever process and
 * user, gives it out, until `release()`, or for as long as this process lives and 60 s more. Whoever knows the number binds
 * it with SO_REUSEADDR, as nearly all servers do; `listener()` listens on it without a moment at which it is nobody's.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_UNSUPPORTED: not Linux. ERR_HOLDFAST_OPTION: a wrong option. ERR_HOLDFAST_ADDRESS: the
 *   host is none of this machine. ERR_HOLDFAST_NO_PORT: fewer are free; the text says what holds the others.
 */
export async function reservePort(
  options: ReserveOptions & { readonly count: number },
): Promise<PortReservation[]>;
export async function reservePort(options?: ReserveOptions): Promise<PortReservation>;
export async function reservePort(
  options: ReserveOptions = {},
): Promise<PortReservation | PortReservation[]> {
  requireLinux('reservePort()');
  const { reservePorts } = await import('./ports/reserve.js');
  const reservations = await reservePorts(options);
  return options.count === undefined ? (reservations[0] as PortReservation) : reservations;
}

/**
 * Reserves the highest free port from 1023 down to 512, from which servers of rsh and rlogin take connections, for a
 * connection to a destination that has none from it already.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_UNSUPPORTED: not Linux. ERR_HOLDFAST_NO_PORT: none is free; the text says what holds
 *   them. ERR_HOLDFAST_ADDRESS: not root, or a host that is none.
 */
export async function reserveReservedPort(options: ReservedPortOptions = {}): Promise<ReservedPort> {
  requireLinux('reserveReservedPort()');
  const ports = await import('./ports/reserved-port.js');
  return ports.reserveReservedPort(options);
}

/**
 * Connects from a chosen local address and port.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_UNSUPPORTED: not Linux. ERR_HOLDFAST_CONNECTION_EXISTS: there is one between these
 *   two ends; the text says whose, or when its TIME_WAIT ends. ERR_HOLDFAST_NO_PORT: no local port is left for this
 *   destination. ERR_HOLDFAST_ADDRESS_TAKEN, ERR_HOLDFAST_ADDRESS, ERR_HOLDFAST_OPTION: what cannot be.
 * @throws {Error} Node's, of connect and of looking up a name. {DOMException} AbortError.
 */
export async function connectFrom(options: ConnectFromOptions, destination: Destination): Promise<Socket> {
  requireLinux('connectFrom()');
  const ports = await import('./ports/connect-from.js');
  return ports.connectFrom(options, destination);
}

export interface FanOptions extends FanOutOptions {
  /** Default ssh: OpenSSH's client. rsh is clear text between hosts that trust each other, from reserved ports, as root. */
  readonly via?: 'ssh' | 'rsh' | undefined;
  /** Further arguments for ssh. */
  readonly sshArguments?: readonly string[] | undefined;
  /**
   * By rsh, stderr by a connection of its own; otherwise it comes with stdout. Each takes a reserved port of the server, which stays in
   * TIME_WAIT there for a minute: one server can run about 500 commands a minute so. Default false.
   */
  readonly rshStderr?: boolean | undefined;
}

/**
 * Runs a command at many hosts, a bounded number at a time, and gives each one's result as soon as it is there. Who leaves
 * the loop early ends the commands that run. An output is there until the loop is over.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION: a wrong option. ERR_HOLDFAST_UNSUPPORTED: rsh, and not Linux. What goes wrong
 *   at a host is its result.
 */
export async function* fan(options: FanOptions): AsyncGenerator<FanResult> {
  const { via = 'ssh', sshArguments: args = [], rshStderr: hasStderr = false, ...rest } = options;
  const { fanOut } = await import('./fan/fan.js');
  if (via === 'ssh') {
    const { startSsh } = await import('./fan/ssh.js');
    const { SharedConnections } = await import('./fan/shared-connections.js');
    const connections = new SharedConnections(rest);
    try {
      yield* fanOut(rest, (job) => startSsh(job, { args, share: connections.share }));
    } finally {
      await connections.end();
    }
    return;
  }
  requireLinux('fan() by rsh');
  const { startRsh } = await import('./fan/rsh.js');
  const { fromReservedPorts } = await import('./fan/reserved-ports.js');
  const ports = await import('./ports/reserved-port.js');
  const connect = fromReservedPorts((except, destination) =>
    ports.reserveReservedPort({ except, destination }),
  );
  yield* fanOut(rest, (job) => startRsh(job, { connect, hasStderr }));
}

/** Hosts, and how they are reached. */
export type ReachOptions = Omit<
  FanOptions,
  'command' | 'script' | 'input' | 'onOutput' | 'keepsOutput' | 'noMore'
>;

export interface WhyOnOptions extends ReachOptions, WhyWords {}

/** What a host says of the ports, or why it says nothing. */
export type WhyAtHost = WhyAt<WhyReport>;

/**
 * Asks the holdfast of many hosts who has some ports there, and gives each one's answer as soon as it is there.
 *
 * @throws {HoldfastError} as `fan`. That a host does not answer is its result.
 */
export async function* whyOn(options: WhyOnOptions): AsyncGenerator<WhyAtHost> {
  const { whyAt, whyWords } = await import('./fan/why-on.js');
  // The form has been looked at; a report of that form is one of ours.
  for await (const result of fan({ ...options, command: whyWords(options) }))
    yield whyAt(result) as WhyAtHost;
}

export interface ReloadOnOptions extends ReachOptions, ReloadWords, RollingOptions {
  /** Aborted: no host is begun any more, and reloads that run are waited for. */
  readonly noMore?: AbortSignal | undefined;
}

/**
 * Reloads the server of that name at many hosts, a batch after the other, and gives what became of each one as soon as it is
 * known; those that were not begun come last. A reload that is no longer waited for, by `signal` or `timeoutMs`, goes on at
 * its host.
 *
 * @throws {HoldfastError} as `fan`. What goes wrong at a host is its result.
 */
export async function* reloadOn(options: ReloadOnOptions): AsyncGenerator<ReloadAt> {
  const { reloadWords, rollOver } = await import('./fan/reload-on.js');
  const command = reloadWords(options);
  yield* rollOver(options.hosts, options, options.noMore, (hosts, noMore) =>
    fan({ ...options, hosts, noMore, command }),
  );
}

/**
 * The TCP sockets of this network namespace as they change: first a snapshot, then at each interval what has changed since,
 * the objects that `holdfast watch --json` prints. `applyDelta(snapshot, delta)` gives the next snapshot. Facts are those of
 * sock_diag(7) and /proc; times are in ms, points in time since 1970, queues in bytes or connections. Works for every user;
 * what that user may not see is counted in `unseen`. A loop that takes its time gets one delta for all that it has missed.
 * Who leaves the loop ends it all.
 *
 * Each look blocks for some milliseconds, with 50,000 sockets for some tens of them.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_UNSUPPORTED: not Linux. ERR_HOLDFAST_OPTION: a wrong option, or no such process.
 *   ERR_HOLDFAST_NOT_RUNNING: no keeper of that name. ERR_HOLDFAST_STATE_DIRECTORY: the folder of keepers' states is not ours.
 * @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 * @throws {DOMException} AbortError: by `signal`.
 */
export async function* watch(options: WatchOptions = {}): AsyncGenerator<WatchUpdate, void, undefined> {
  requireLinux('watch()');
  const [{ watchSockets }, { RunningKeepers }] = await Promise.all([
    import('./watch/watch.js'),
    import('./keeper/running-keepers.js'),
  ]);
  yield* watchSockets(options, new RunningKeepers());
}
