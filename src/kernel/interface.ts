import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { declare } from './libc.js';

const nativeIndexToName = declare('void *if_indextoname(unsigned int index, void *name)');

/** The name of the interface with that index; '' for 0 and for one that is gone. @see if_indextoname(3) */
export function interfaceName(index: number): string {
  if (index === 0) return '';
  const name = Buffer.alloc(16);
  if (nativeIndexToName(index, name) === null) return '';
  return name.toString('latin1', 0, name.indexOf(0));
}

/** One address of an interface. */
export interface LocalAddress {
  readonly family: 'ipv4' | 'ipv6';
  readonly host: string;
  /** Of IPv4. */
  readonly netmask: string;
}

/** The names of all interfaces of this network namespace, those without an address too. @see proc(5) /proc/net/dev */
export function interfaceNames(): readonly string[] {
  const names = readFileSync('/proc/net/dev', 'utf8').matchAll(/^\s*([^\s:]+):/gm);
  return [...names].map(([, name]) => name ?? '');
}

/** The addresses of this machine's interfaces that are up. */
export function localAddresses(): readonly LocalAddress[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .map(({ family, address, netmask }) => ({
      family: family === 'IPv4' ? ('ipv4' as const) : ('ipv6' as const),
      host: address,
      netmask,
    }));
}
