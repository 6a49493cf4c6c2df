import { constants } from 'node:os';

/** How many handlers of the signal the program has beside `ours`. With one, the program itself decides when it ends. */
export function ownHandlers(signal: NodeJS.Signals, ours: () => void): number {
  const others = process.listeners(signal).filter((listener) => listener !== ours).length;
  return Math.max(0, others - signalExitHandlers(signal));
}

/** Ends the program as the signal does where nobody handles it. */
export function end(signal: NodeJS.Signals, ours: () => void): void {
  process.off(signal, ours);
  process.kill(process.pid, signal);
  // Where somebody handles it still, it comes with the event loop, which must not run dry before.
  setTimeout(() => undefined, A_WHILE_MS);
  // The first process of a container: the kernel keeps from it what it does not handle. @see pid_namespaces(7)
  if (process.pid === 1 && process.listenerCount(signal) === 0) {
    process.exit(128 + constants.signals[signal]);
  }
}

const A_WHILE_MS = 1_000;

/**
 * How many of the handlers are of signal-exit, which many packages bring along: it ends the program by the signal, after
 * some cleaning up, and only when nobody else handles it.
 *
 * @see npm's signal-exit, version 4 and, with the second name, 3
 */
function signalExitHandlers(signal: NodeJS.Signals): number {
  if (!EVERY_SIGNAL_EXIT.includes(signal)) return 0;
  const emitters = [
    (globalThis as Record<symbol, unknown>)[Symbol.for('signal-exit emitter')],
    (process as { __signal_exit_emitter__?: unknown }).__signal_exit_emitter__,
  ];
  return emitters
    .map((emitter) => (emitter as { readonly count?: unknown } | undefined)?.count)
    .reduce<number>((sum, count) => sum + (typeof count === 'number' ? count : 0), 0);
}

/** Of the signals that it handles, those that are stop signals. */
const EVERY_SIGNAL_EXIT: readonly string[] = ['SIGTERM', 'SIGINT', 'SIGHUP'];
