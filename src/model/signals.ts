import { constants } from 'node:os';

/** Signals that can ask a server to end. */
export const STOP_SIGNALS: readonly string[] = [
  ...['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'],
  ...['SIGWINCH', 'SIGABRT', 'SIGALRM', 'SIGCONT', 'SIGKILL'],
];

/** The number of a signal on this system, e.g. 9 for SIGKILL. */
export function signalNumber(name: NodeJS.Signals): number {
  return constants.signals[name];
}

/** The name of a signal number, e.g. `SIGKILL` for 9; undefined for real-time signals. */
export function signalName(number: number): NodeJS.Signals | undefined {
  return (Object.keys(constants.signals) as NodeJS.Signals[]).find(
    (name) => constants.signals[name] === number,
  );
}
