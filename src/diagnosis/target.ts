import { HoldfastError } from '../errors.js';
import { canonicalHost } from '../kernel/sockaddr.js';

/** A port that a program asks about. */
export interface Target {
  readonly port: number;
  readonly host?: string | undefined;
}

/**
 * The same with its host in canonical text, by which addresses are compared.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION: no port from 1 to 65535, or a host that is no IP address.
 */
export function checkTarget<T extends Target>(options: T): T {
  const { port, host } = options;
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new HoldfastError('ERR_HOLDFAST_OPTION', `port: a number from 1 to 65535, not ${port}`);
  }
  if (host === undefined) return options;
  const canonical = canonicalHost(host.includes(':') ? 'ipv6' : 'ipv4', host);
  if (canonical !== undefined) return { ...options, host: canonical };
  throw new HoldfastError('ERR_HOLDFAST_OPTION', `host: "${host}" is no IP address`);
}
