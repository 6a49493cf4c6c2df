import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import { HoldfastError } from '../errors.js';
import { closeGracefully } from './close-gracefully.js';
import { end } from './end.js';
import { type CloseOptions, closeSettings, wrong } from './options.js';
import { seeServer } from './see-server.js';
import type { CloseResult } from './server-closing.js';
import { type ClosableServer, serverOf } from './target.js';

export interface SignalOptions extends CloseOptions {
  /** Default: SIGTERM and SIGINT. */
  readonly signals?: readonly NodeJS.Signals[] | undefined;
  /** The process exits with it once the servers are closed. Default: it ends by the signal. */
  readonly exitCode?: number | undefined;
  /** Told when all servers are closed, with a result for each. The process ends when it has returned, or resolved. */
  readonly onClosed?: ((results: readonly CloseResult[], signal: NodeJS.Signals) => unknown) | undefined;
}

const UNCAUGHT: readonly unknown[] = ['SIGKILL', 'SIGSTOP'];

/**
 * From now on a signal closes the servers as `closeGracefully` does, and then the process ends by it. A second one ends
 * the process at once. Gives what takes the handlers away again.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION: no server, a wrong option, or not the main thread: signals come to that
 *   alone.
 */
export function installSignalHandlers(
  targets: ClosableServer | readonly ClosableServer[],
  options: SignalOptions = {},
): () => void {
  const servers = (Array.isArray(targets) ? targets : [targets]).map((target) => serverOf(target));
  closeSettings(options);
  const { signals = ['SIGTERM', 'SIGINT'], exitCode, onClosed, ...closing } = checked(options);
  let isClosing = false;

  const handler = (signal: NodeJS.Signals): void => {
    if (isClosing) endBy(signal);
    else {
      isClosing = true;
      void closeAll().then(
        (results) => finish(results, signal),
        (error: unknown) => fail(error, signal),
      );
    }
  };
  const uninstall = (): void => {
    for (const signal of signals) process.off(signal, handler);
  };
  const closeAll = (): Promise<CloseResult[]> =>
    Promise.all(servers.map((server) => closeGracefully(server, closing)));
  const finish = async (results: readonly CloseResult[], signal: NodeJS.Signals): Promise<void> => {
    try {
      await onClosed?.(results, signal);
    } catch (error) {
      fail(error, signal);
      return;
    }
    if (exitCode === undefined) endBy(signal);
    else process.exit(exitCode);
  };
  const fail = (error: unknown, signal: NodeJS.Signals): void => {
    process.emitWarning(error instanceof Error ? error : String(error));
    endBy(signal);
  };
  const endBy = (signal: NodeJS.Signals): void => {
    uninstall();
    // Somebody else's handler would keep the process.
    if (process.listenerCount(signal) > 0) process.exit(128 + constants.signals[signal]);
    end(signal, () => undefined);
  };

  for (const server of servers) seeServer(server);
  for (const signal of signals) process.on(signal, handler);
  return uninstall;
}

function checked(options: SignalOptions): SignalOptions {
  const { signals = [], exitCode, onClosed } = options;
  if (!isMainThread) {
    throw new HoldfastError('ERR_HOLDFAST_OPTION', 'signals are handled in the main thread, not in a worker');
  }
  if (!Array.isArray(signals)) throw wrong('signals is an array of names of signals', signals);
  for (const signal of signals) {
    if (!(String(signal) in constants.signals) || UNCAUGHT.includes(signal)) {
      throw wrong('signals has names of signals that can be handled', signal);
    }
  }
  const isCode = Number.isInteger(exitCode) && Number(exitCode) >= 0 && Number(exitCode) <= 255;
  if (exitCode !== undefined && !isCode) throw wrong('exitCode is a whole number from 0 to 255', exitCode);
  if (onClosed !== undefined && typeof onClosed !== 'function')
    throw wrong('onClosed is a function', onClosed);
  return options;
}
