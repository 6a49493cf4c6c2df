import { constants } from 'node:os';

export interface Settings {
  /** The signal that asks the program to end. Default SIGTERM. */
  readonly signal: NodeJS.Signals;
  /** How long a connection has to be idle before it is closed, and how long its client may take for that. Default 1 s. */
  readonly quietMs: number;
  /** How long connections may take at most. Default 10 s. */
  readonly timeoutMs: number;
}

/** What the environment says; a warning tells of a variable that says nothing, and the default counts. */
export function settingsOf(env: NodeJS.ProcessEnv): Settings {
  return {
    signal: signalOf('HOLDFAST_GRACEFUL_SIGNAL', env),
    quietMs: milliseconds('HOLDFAST_GRACEFUL_QUIET_MS', env, 1_000),
    timeoutMs: milliseconds('HOLDFAST_GRACEFUL_TIMEOUT_MS', env, 10_000),
  };
}

const UNCAUGHT = ['SIGKILL', 'SIGSTOP'];
/** Node takes a longer one for 1 ms. */
const LONGEST_MS = 2 ** 31 - 1;

function signalOf(name: string, env: NodeJS.ProcessEnv): NodeJS.Signals {
  const text = env[name] ?? 'SIGTERM';
  if (text in constants.signals && !UNCAUGHT.includes(text)) return text as NodeJS.Signals;
  warn(`${name} is the name of a signal that can be handled, not ${text}`);
  return 'SIGTERM';
}

function milliseconds(name: string, env: NodeJS.ProcessEnv, otherwise: number): number {
  const text = env[name] ?? `${otherwise}`;
  if (/^\d+$/.test(text) && Number(text) <= LONGEST_MS) return Number(text);
  warn(`${name} is a whole number of milliseconds, not ${text}`);
  return otherwise;
}

function warn(text: string): void {
  process.emitWarning(text, { code: 'HOLDFAST_GRACEFUL' });
}
