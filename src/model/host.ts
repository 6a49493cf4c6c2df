import type { InetAddress } from './address.js';

export type Family = InetAddress['family'];

/** A local or remote host as the kernel's bind and look-up rules see it. */
export interface Host {
  readonly family: Family;
  /** Canonical text. */
  readonly text: string;
  /** `mapped`: an IPv4 address in an IPv6 one (RFC 4291, 2.5.5.2), `::ffff:0.0.0.0` included. */
  readonly kind: 'any' | 'mapped' | 'real';
  /** The IPv4 view, host byte order: 0 for a wildcard, 127.0.0.6 for a real IPv6 address. */
  readonly four: number;
  /** Equal for hosts that the kernel cannot tell apart: a.b.c.d and ::ffff:a.b.c.d. `::` is on its own. */
  readonly key: string;
}

/**
 * What the kernel keeps as the IPv4 address of a socket on a real IPv6 one. It takes part in comparisons.
 *
 * @see LOOPBACK4_IPV6 in include/net/ipv6.h
 */
const LOOPBACK4_IPV6 = parseFour('127.0.0.6');

const known = new Map<string, Host>();

/** The host of a canonical address text. The same text gives the same object. */
export function hostOf(family: Family, text: string): Host {
  const found = known.get(text);
  if (found !== undefined && found.family === family) return found;
  const host = family === 'ipv4' ? fourHost(text) : sixHost(text);
  // Texts come from users too: what is kept for speed stays small.
  if (known.size > 4096) known.clear();
  known.set(text, host);
  return host;
}

export const ANY4: Host = hostOf('ipv4', '0.0.0.0');
export const ANY6: Host = hostOf('ipv6', '::');

export function anyHost(family: Family): Host {
  return family === 'ipv4' ? ANY4 : ANY6;
}

/** Whether it stands for every local address: `0.0.0.0`, `::` and `::ffff:0.0.0.0`. */
export function isWildcardHost(host: Host): boolean {
  return host.four === 0;
}

/** The mapped form of an IPv4 host. */
export function mapped(four: Host): Host {
  return hostOf('ipv6', `::ffff:${four.text}`);
}

/** The IPv4 host inside a mapped one; an IPv4 host itself. */
export function unmapped(host: Host): Host {
  return host.family === 'ipv4' ? host : hostOf('ipv4', host.key);
}

/** The IPv4 address that stands for the host where IPv4 is asked for one: 127.0.0.6 for a real IPv6 address. */
export function fourOf(host: Host): Host {
  if (host.family === 'ipv4') return host;
  if (host.kind === 'any') return ANY4;
  return host.kind === 'mapped' ? unmapped(host) : hostOf('ipv4', '127.0.0.6');
}

/** Whether IPv4 carries what goes to or from it: an IPv4 address or a v4-mapped one. */
export function isFourHost({ family, kind }: Host): boolean {
  return family === 'ipv4' || kind === 'mapped';
}

/** 127.0.0.0/8, also mapped, and ::1. */
export function isLoopback(host: Host): boolean {
  return host.kind === 'real' && host.family === 'ipv6' ? host.text === '::1' : host.four >>> 24 === 127;
}

export function isMulticast(host: Host): boolean {
  if (host.family === 'ipv6' && host.kind === 'real') return /^ff/.test(host.text);
  return host.four >>> 28 === 14;
}

/** fe80::/10, ff01:: and ff02::, whose meaning depends on the interface. RFC 4291, 2.5.6 and 2.7 */
export function isLinkScoped(host: Host): boolean {
  return host.family === 'ipv6' && host.kind === 'real' && /^(fe[89ab]|ff.[12])/.test(host.text);
}

function fourHost(text: string): Host {
  const four = parseFour(text);
  return { family: 'ipv4', text, kind: four === 0 ? 'any' : 'real', four, key: text };
}

function sixHost(text: string): Host {
  if (text === '::') return { family: 'ipv6', text, kind: 'any', four: 0, key: text };
  const inner = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(text)?.[1];
  if (inner !== undefined)
    return { family: 'ipv6', text, kind: 'mapped', four: parseFour(inner), key: inner };
  return { family: 'ipv6', text, kind: 'real', four: LOOPBACK4_IPV6, key: text };
}

function parseFour(text: string): number {
  return text.split('.').reduce((value, part) => (value << 8) | Number(part), 0) >>> 0;
}
