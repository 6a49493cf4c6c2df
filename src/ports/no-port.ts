import { HoldfastError } from '../errors.js';
import { tcpPort } from '../kernel/sock-diag.js';
import { ephemeralPorts, sysctlNumber } from '../kernel/sysctl.js';
import { holdersOf } from './holders.js';
import type { PortRange } from './range.js';

export interface Outcome {
  readonly wanted: number;
  readonly got: number;
  /** Ports that only root may bind. */
  readonly forbidden?: number;
}

/** The error for ports that are not there: how many were found, and what holds the others of the range. */
export function noPortLeft(
  range: PortRange | undefined,
  { wanted, got, forbidden = 0 }: Outcome,
): HoldfastError {
  const { from, to } = range ?? everyPort();
  const found = wanted === 1 ? 'no port is free' : `of ${wanted} ports ${got} are free`;
  const { sockets, leftovers } = tcpPort({ from, to });
  const held = holdersOf(sockets, {
    count: leftovers.reduce((sum, { count }) => sum + count, 0),
    firstMs: Math.min(...leftovers.map(({ minExpiresMs }) => minExpiresMs)),
  });
  if (forbidden > 0) held.push(`${forbidden} are below ${lowestPort()} and need root`);
  const text = `${found} in ${from}-${to}: ${held.join(', ') || 'others were faster'}; widen the range or wait`;
  return new HoldfastError('ERR_HOLDFAST_NO_PORT', text);
}

/** What the kernel chooses from. */
export function everyPort(): PortRange {
  return ephemeralPorts() ?? { from: 32_768, to: 60_999 };
}

/** The lowest port that an ordinary user may bind. @see ip(7) ip_unprivileged_port_start */
export function lowestPort(): number {
  return sysctlNumber('net/ipv4/ip_unprivileged_port_start') ?? 1024;
}
