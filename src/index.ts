import type { Keeper } from './keeper/keeper.js';
import type { KeepOptions } from './keeper/options.js';
import { requireLinux } from './platform.js';

export { HoldfastError, type HoldfastErrorCode } from './errors.js';
export type { Keeper, KeeperEvents } from './keeper/keeper.js';
export type { RestartPolicy, WorkerEnd } from './keeper/lifecycle.js';
export type { Notice, Stranger } from './keeper/notices.js';
export type { KeepOptions } from './keeper/options.js';
export type { KeeperState, SocketState } from './keeper/state.js';
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
