import { readFileSync } from 'node:fs';
import { errorCode } from '../errors.js';
import type { PortRange } from './inet-diag.js';

/** A number under /proc/sys, e.g. `net/ipv4/ip_unprivileged_port_start`; undefined when this kernel has it not. */
export function sysctlNumber(path: string): number | undefined {
  const text = sysctlText(path);
  return text === undefined ? undefined : Number(text);
}

/** The same as text, without the line's end. */
export function sysctlText(path: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${path}`, 'utf8').trim();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** The ports that the kernel chooses from for sockets that ask for none. @see ip(7) ip_local_port_range */
export function ephemeralPorts(): PortRange | undefined {
  const [from, to] = (sysctlText('net/ipv4/ip_local_port_range') ?? '').split(/\s+/).map(Number);
  return from && to ? { from, to } : undefined;
}

/** The ports that the kernel does not choose. @see ip(7) ip_local_reserved_ports */
export function reservedPorts(): readonly number[] {
  // `8080,9000-9005`
  return (sysctlText('net/ipv4/ip_local_reserved_ports') ?? '')
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [first = 0, last = first] = part.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}
