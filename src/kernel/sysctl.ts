import { readFileSync } from 'node:fs';
import { errorCode } from '../errors.js';

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
