import { lookup } from 'node:dns/promises';
import { HoldfastError } from '../errors.js';
import { canonicalHost } from '../kernel/sockaddr.js';
import type { InetAddress } from '../model/address.js';

/** An address without its port. */
export type Host = Pick<InetAddress, 'family' | 'host'>;

export interface Destination {
  /** A name, or an IP address. */
  readonly host: string;
  readonly port: number;
}

/** An IP address in canonical text. @throws {HoldfastError} ERR_HOLDFAST_ADDRESS */
export function localHost(text: string): Host {
  const family = text.includes(':') ? 'ipv6' : 'ipv4';
  const host = canonicalHost(family, text);
  if (host !== undefined) return { family, host };
  const what = `"${text}" is no IP address; a local address is one of this machine`;
  const hint = text === 'localhost' ? `${what}: 127.0.0.1 or ::1` : `${what}, which "ip address" lists`;
  throw new HoldfastError('ERR_HOLDFAST_ADDRESS', hint);
}

/**
 * The destination as an address, of the local address's family where there is one.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_ADDRESS {Error} of looking up the name: ENOTFOUND, EAI_AGAIN
 */
export async function addressOf(
  { host, port }: Destination,
  local: string | undefined,
): Promise<InetAddress> {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    const text = `the destination's port ${port}: a port is a whole number from 1 to 65535`;
    throw new HoldfastError('ERR_HOLDFAST_ADDRESS', text);
  }
  for (const family of ['ipv4', 'ipv6'] as const) {
    const literal = canonicalHost(family, host);
    if (literal !== undefined) return { family, host: literal, port };
  }
  const wanted = local === undefined ? 0 : local.includes(':') ? 6 : 4;
  const found = await lookup(host, { family: wanted });
  return { family: found.family === 6 ? 'ipv6' : 'ipv4', host: found.address, port };
}

/** The error for an address that bind(2) finds at no interface. */
export function noSuchHost(host: string, cause: unknown): HoldfastError {
  const text = `no interface of this machine has ${host}; "ip address" lists what there is`;
  return new HoldfastError('ERR_HOLDFAST_ADDRESS', text, cause);
}

/** The error for a reservation that has been used or released. */
export function reservationOver(port: number): HoldfastError {
  const text = `the reservation of port ${port} is over; reserve another one`;
  return new HoldfastError('ERR_HOLDFAST_RESERVATION', text);
}
