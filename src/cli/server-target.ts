import { HoldfastError } from '../errors.js';
import type { ServerTarget } from '../keeper/running-server.js';

const PORT_MAX = 65_535;

/** `8080` or `pid:1234`; a number that is too great for a port is a pid. @throws {HoldfastError} ERR_HOLDFAST_ADDRESS */
export function parseServerTarget(text: string): ServerTarget {
  const { kind, number } = /^(?:(?<kind>pid|port):)?(?<number>\d{1,10})$/.exec(text)?.groups ?? {};
  const value = Number(number);
  if (value >= 1 && (kind === 'pid' || (kind === undefined && value > PORT_MAX))) return { pid: value };
  if (value >= 1 && kind !== 'pid' && value <= PORT_MAX) return { port: value };
  throw new HoldfastError('ERR_HOLDFAST_ADDRESS', `${text}: write a port, 8080, or a process, pid:1234`);
}
