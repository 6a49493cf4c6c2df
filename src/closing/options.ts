import { HoldfastError } from '../errors.js';
import type { ClosingProgress } from './server-closing.js';

/** How a server is closed. All times are whole milliseconds. */
export interface CloseOptions {
  /** How long a client that has been told may take to close first, before we close. Default 500. */
  readonly peerFirstMs?: number | undefined;
  /** How long an idle connection that is to be kept may still bring a request. Default 200. */
  readonly idleMs?: number | undefined;
  /** How long all of it may take; what is left then is cut off. Default 10,000. */
  readonly timeoutMs?: number | undefined;
  /**
   * Connections whose peers do not close in time are reset in the place of being closed: they leave no TIME_WAIT here, and
   * a peer loses what it has received and not yet read. Never before all has been acknowledged; where the system does not
   * tell that (it is Linux that does), they are closed. Default false.
   */
  readonly reset?: boolean | undefined;
  /** Told whenever a connection has been closed. */
  readonly onProgress?: ((progress: ClosingProgress) => void) | undefined;
  /** Cuts off at once what is left. */
  readonly signal?: AbortSignal | undefined;
}

export interface Settings extends Pick<CloseOptions, 'onProgress' | 'signal'> {
  readonly peerFirstMs: number;
  readonly idleMs: number;
  readonly timeoutMs: number;
  readonly reset: boolean;
}

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION */
export function closeSettings(options: CloseOptions = {}): Settings {
  if (typeof options !== 'object' || options === null) throw wrong('the options are an object', options);
  const { onProgress, signal, reset = false } = options;
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw wrong('onProgress is a function', onProgress);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw wrong('signal is an AbortSignal', signal);
  return {
    peerFirstMs: milliseconds('peerFirstMs', options.peerFirstMs, 500),
    idleMs: milliseconds('idleMs', options.idleMs, 200),
    timeoutMs: milliseconds('timeoutMs', options.timeoutMs, 10_000),
    reset: flag('reset', reset),
    onProgress,
    signal,
  };
}

/** Node takes a longer one for 1 ms. */
const LONGEST_MS = 2 ** 31 - 1;

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION */
export function milliseconds(name: string, value: unknown, otherwise: number): number {
  if (value === undefined) return otherwise;
  if (Number.isInteger(value) && Number(value) >= 0 && Number(value) <= LONGEST_MS) return Number(value);
  throw wrong(`${name} is a whole number of milliseconds from 0 to ${LONGEST_MS}`, value);
}

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION */
export function flag(name: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw wrong(`${name} is true or false`, value);
}

export function wrong(what: string, value: unknown): HoldfastError {
  const told = typeof value === 'object' && value !== null ? value.constructor?.name : String(value);
  return new HoldfastError('ERR_HOLDFAST_OPTION', `${what}, not ${told}`);
}
