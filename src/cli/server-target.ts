import { HoldfastError } from '../errors.js';
import type { ServerTarget } from '../keeper/running-server.js';

/** `8080` or `pid:1234`. @throws {HoldfastError} ERR_HOLDFAST_ADDRESS */
export function parseServerTarget(text: string): ServerTarget {
  const { kind = 'port', number } = /^(?:(?<kind>pid|port):)?(?<number>\d{1,10})$/.exec(text)?.groups ?? {};
  const value = Number(number);
  if (kind === 'pid' && value >= 1) return { pid: value };
  if (kind === 'port' && value >= 1 && value <= 65_535) return { port: value };
  throw new HoldfastError('ERR_HOLDFAST_ADDRESS', `${text}: write a port, 8080, or a process, pid:1234`);
}
