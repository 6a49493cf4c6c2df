import { isOpenPort } from './buckets.js';
import type { Asker } from './conflict.js';
import type { Choice, PortRange, World } from './world.js';

/** The ports that the kernel may choose; it starts at random. `mayFail`: it may find none though there is one. */
export type PortChoice = Choice<number>;

/**
 * The ports that bind() to port 0, and listen() without bind, may get: odd offsets from the range's begin, even ones
 * only when none of those is open.
 *
 * @see inet_csk_find_open_port() in net/ipv4/inet_connection_sock.c
 */
export function portsForBind(
  world: World,
  asker: Asker & { readonly reuse: boolean },
  range: PortRange,
): PortChoice {
  const strict = searchForBind(world, asker, range, false);
  if (!world.sysctls.autobindReuse || !strict.mayFail) return strict;
  const relaxed = searchForBind(world, asker, range, true);
  return {
    kind: 'port',
    options: [...new Set([...strict.options, ...relaxed.options])],
    mayFail: relaxed.mayFail,
  };
}

function searchForBind(world: World, asker: Asker, { low, high }: PortRange, relax: boolean): PortChoice {
  const isOpen = (port: number): boolean =>
    !isReserved(world, port) && isOpenPort(world, asker, port, { relax, shareByReusePort: false });
  const size = high + 1 - low;
  if (!asker.reuse || size < 4 || !world.kernel.rules.lowerHalfFirst) {
    return searchFrom(world, low, size, 1, isOpen);
  }
  const half = (size >> 2) << 1;
  const lower = searchFrom(world, low, half, 1, isOpen);
  if (!lower.mayFail) return lower;
  const upper = searchFrom(world, low + half, size - half, 1, isOpen);
  return { kind: 'port', options: [...lower.options, ...upper.options], mayFail: upper.mayFail };
}

/**
 * The ports that connect() may choose for a socket that has none: even offsets first. With IP_LOCAL_PORT_RANGE every
 * port is tried in turn.
 *
 * @see __inet_hash_connect() in net/ipv4/inet_hashtables.c
 */
export function portsForConnect(
  world: World,
  { low, high }: PortRange,
  isOwnRange: boolean,
  isOpen: (port: number) => boolean,
): PortChoice {
  const isFree = (port: number): boolean => !isReserved(world, port) && isOpen(port);
  const size = high + 1 - low;
  if (!isOwnRange) return searchFrom(world, low, size, 0, isFree);
  const options = portsOf(low, size).filter(isFree);
  return { kind: 'port', options, mayFail: options.length === 0 };
}

/** All ports that UDP may choose: every one is tried. @see udp_lib_get_port() */
export function portsForUdp(
  world: World,
  { low, high }: PortRange,
  isOpen: (port: number) => boolean,
): PortChoice {
  const options = portsOf(low, high + 1 - low).filter((port) => !isReserved(world, port) && isOpen(port));
  return { kind: 'port', options, mayFail: options.length === 0 };
}

/** Two passes of steps of two, the first with offsets of this parity, from every offset at which it may begin. */
function searchFrom(
  world: World,
  low: number,
  size: number,
  parity: 0 | 1,
  isOpen: (port: number) => boolean,
): PortChoice {
  if (size === 1) {
    const options = isOpen(low) ? [low] : [];
    return { kind: 'port', options, mayFail: options.length === 0 };
  }
  if (!world.kernel.rules.oddRangesIncomplete) {
    const open = portsOf(low, size).filter(isOpen);
    const first = open.filter((port) => (port - low) % 2 === parity);
    const options = first.length > 0 ? first : open;
    return { kind: 'port', options, mayFail: options.length === 0 };
  }
  const known = new Map<number, boolean>();
  const open = (offset: number): boolean => {
    const before = known.get(offset);
    if (before !== undefined) return before;
    const is = isOpen(low + offset);
    known.set(offset, is);
    return is;
  };
  const span = size & ~1;
  const options = new Set<number>();
  let mayFail = false;
  for (let begin = parity; begin < span; begin += 2) {
    const found = pass(begin, span, size, open) ?? pass(begin ^ 1, span, size, open);
    if (found === undefined) mayFail = true;
    else options.add(low + found);
  }
  return { kind: 'port', options: [...options], mayFail };
}

function pass(
  begin: number,
  span: number,
  size: number,
  open: (offset: number) => boolean,
): number | undefined {
  let offset = begin;
  for (let tried = 0; tried < span; tried += 2, offset += 2) {
    if (offset >= size) offset -= span;
    if (open(offset)) return offset;
  }
  return undefined;
}

function portsOf(low: number, size: number): readonly number[] {
  return Array.from({ length: size }, (_, offset) => low + offset);
}

function isReserved({ sysctls }: World, port: number): boolean {
  return sysctls.reservedPorts.includes(port);
}
