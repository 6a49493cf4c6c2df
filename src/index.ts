import type { FreeResult } from './diagnosis/free.js';
import type { FreeOptions } from './diagnosis/free-plan.js';
import type { WhyReport } from './diagnosis/report.js';
import type { WaitOptions, WaitResult } from './diagnosis/wait-for.js';
import type { WhyOptions } from './diagnosis/why.js';
import type { Keeper } from './keeper/keeper.js';
import type { KeepOptions } from './keeper/options.js';
import { requireLinux } from './platform.js';

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
export type { ReloadOptions, ReloadOutcome } from './keeper/generations.js';
export type { Keeper, KeeperEvents } from './keeper/keeper.js';
export type { RestartPolicy, WorkerEnd } from './keeper/lifecycle.js';
export type { Notice, Stranger } from './keeper/notices.js';
export type { KeepOptions } from './keeper/options.js';
export type { ServerTarget } from './keeper/running-server.js';
export type { KeeperState, SocketState, WorkerState } from './keeper/state.js';
export { version } from './version.js';

/**
 * Keeps a server: starts it, owns its listening sockets from the moment it listens, and starts it again when it
 * dies, while clients wait in the accept queue. Resolves when the server has been started.
 *
 * This process becomes a subreaper (prctl(2)): orphans of the server become its children.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_UNSUPPORTED: not Linux. ERR_HOLDFAST_OPTION, _NAME, _ADDRESS, _USER: a
 *   wrong option. ERR_HOLDFAST_COMMAND: no such program. ERR_HOLDFAST_ADDRESS_TAKEN: a `listen` address is
 *   somebody else's. ERR_HOLDFAST_NAME_TAKEN. ERR_HOLDFAST_TRAP_UNAVAILABLE: no seccomp user notification.
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
