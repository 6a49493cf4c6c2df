import { setImmediate } from 'node:timers/promises';
import { HoldfastError } from '../errors.js';
import { type Host, localHost } from './ends.js';
import { Holding } from './holding.js';
import { noPortLeft } from './no-port.js';
import { PortReservation } from './port-reservation.js';
import { checkRange, inAnyOrder, type PortRange } from './range.js';

export interface ReserveOptions {
  /**
   * The address that the port is for. Default: every address of this machine, of IPv4 and IPv6. With `exclusive`, where
   * the reservation itself is going to listen: 127.0.0.1.
   */
  readonly host?: string | undefined;
  /** Default: those that the kernel chooses from (net.ipv4.ip_local_port_range). */
  readonly range?: PortRange | undefined;
  /** How many; all of them or none. Default 1. */
  readonly count?: number | undefined;
  /**
   * Nobody can bind the port, by no option of a socket: it is used by `listener()` alone. Default false: whoever knows the
   * number binds it with SO_REUSEADDR, as nearly all servers do.
   */
  readonly exclusive?: boolean | undefined;
}

/** How often a port that was stolen in the moment of its reservation is given up for another one. */
const STOLEN_MAX = 100;
/** Ports that are tried before the event loop has its turn. */
const TRIES_AT_ONCE = 500;

/**
 * Reserves ports: neither the kernel's own choice nor another reservation of any process and user gives them out, until
 * `release()`, or for as long as this process lives and 60 s more.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION: a wrong option. ERR_HOLDFAST_ADDRESS: the host is none of this machine.
 *   ERR_HOLDFAST_NO_PORT: fewer are free; the text says what holds the others.
 * @throws {SyscallError} EMFILE: a reservation has up to three fds.
 */
export async function reservePorts(options: ReserveOptions = {}): Promise<PortReservation[]> {
  const { count = 1, range, exclusive = false } = options;
  if (range !== undefined) checkRange(range);
  checkCount(count, range);
  const host = hostOf(options);
  const holdings: Holding[] = [];
  try {
    if (range === undefined) await takeAny(holdings, host, count, exclusive);
    else await takeFrom(range, holdings, host, count, exclusive);
  } catch (error) {
    for (const holding of holdings) holding.drop();
    throw error;
  }
  // What is held everywhere listens on loopback, unless everywhere was asked for.
  const listensAt = options.host === undefined ? LOOPBACK : host;
  return holdings.map((holding) => new PortReservation(holding, { exclusive, listensAt }));
}

/** The kernel chooses: it knows at once what is free. */
async function takeAny(holdings: Holding[], host: Host, count: number, exclusive: boolean): Promise<void> {
  for (let stolen = 0; holdings.length < count; ) {
    const holding = Holding.take(host, 0, exclusive);
    if (typeof holding !== 'string') holdings.push(holding);
    else if (++stolen > STOLEN_MAX) throw noPortLeft(undefined, { wanted: count, got: holdings.length });
    if ((holdings.length + stolen) % TRIES_AT_ONCE === 0) await setImmediate();
  }
}

async function takeFrom(
  range: PortRange,
  holdings: Holding[],
  host: Host,
  count: number,
  exclusive: boolean,
): Promise<void> {
  let tries = 0;
  let forbidden = 0;
  for (const port of inAnyOrder(range)) {
    if (holdings.length === count) return;
    const holding = Holding.take(host, port, exclusive);
    if (holding === 'EACCES') forbidden++;
    else if (holding !== 'EADDRINUSE') holdings.push(holding);
    if (++tries % TRIES_AT_ONCE === 0) await setImmediate();
  }
  if (holdings.length < count) throw noPortLeft(range, { wanted: count, got: holdings.length, forbidden });
}

function checkCount(count: number, range: PortRange | undefined): void {
  if (!Number.isInteger(count) || count < 1 || count > 65_535) {
    throw new HoldfastError(
      'ERR_HOLDFAST_OPTION',
      `${count} ports: a count is a whole number from 1 to 65535`,
    );
  }
  if (range === undefined || count <= range.to - range.from + 1) return;
  const text = `the range ${range.from}-${range.to} has no ${count} ports; widen it or ask for fewer`;
  throw new HoldfastError('ERR_HOLDFAST_OPTION', text);
}

const EVERYWHERE: Host = { family: 'ipv6', host: '::' };
const LOOPBACK: Host = { family: 'ipv4', host: '127.0.0.1' };

function hostOf({ host, exclusive }: ReserveOptions): Host {
  if (host !== undefined) return localHost(host);
  return exclusive ? LOOPBACK : EVERYWHERE;
}
