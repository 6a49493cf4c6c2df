import { HoldfastError } from './errors.js';

/**
 * Holds on Linux alone.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_UNSUPPORTED
 */
export function requireLinux(what: string): void {
  if (process.platform === 'linux' && (process.arch === 'x64' || process.arch === 'arm64')) return;
  const here = `${process.platform} on ${process.arch}`;
  const text = `${what} needs Linux on x64 or arm64 and this is ${here}; "holdfast doctor" tells what works here`;
  throw new HoldfastError('ERR_HOLDFAST_UNSUPPORTED', text);
}
