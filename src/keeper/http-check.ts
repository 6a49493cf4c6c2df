import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../errors.js';
import { localAddresses } from '../kernel/interface.js';
import { type PortRange, tcpPort } from '../kernel/sock-diag.js';
import { ephemeralPorts, reservedPorts, sysctlNumber } from '../kernel/sysctl.js';
import { type InetAddress, isWildcard } from '../model/address.js';
import { type GetOutcome, get } from './http-get.js';

export interface HttpCheck {
  /** Where the server listens. */
  readonly address: InetAddress;
  readonly path: string;
  /** Local ports to ask from, see `chooseCheckPorts`. */
  readonly sourcePorts: PortRange;
  readonly timeoutMs: number;
  /** From one request's end to the next request. */
  readonly everyMs: number;
  readonly signal?: AbortSignal | undefined;
}

export type HttpCheckResult = { readonly ok: true } | { readonly ok: false; readonly why: string };

const LAST_PORT = 65_535;

/** The longest that one request may take. */
const REQUEST_MS = 5_000;
/** A request that had less time than this, since all time was over, does not say more than the one before it. */
const TELLING_MS = 1_000;

/**
 * Asks a server until it answers with a status from 200 to 399. Both ends have the same address, so that a group's
 * program tells the request from clients (`steerGroup`). The server must be in the network namespace that we are in.
 *
 * @throws AbortError, or what `signal` was aborted with.
 */
export async function httpCheck(check: HttpCheck): Promise<HttpCheckResult> {
  const { timeoutMs, everyMs, signal } = check;
  const ask = askFromEachPort(check);
  const end = performance.now() + timeoutMs;
  let why: string | undefined;
  for (let leftMs = timeoutMs; why === undefined || leftMs > 0; leftMs = end - performance.now()) {
    const limitMs = Math.min(REQUEST_MS, Math.max(1, leftMs));
    const outcome = await ask(limitMs);
    if (outcome.type === 'answered' && outcome.status >= 200 && outcome.status <= 399) return { ok: true };
    if (outcome.type !== 'late' || limitMs >= TELLING_MS || why === undefined) why = reasonOf(outcome, check);
    await sleep(Math.max(0, Math.min(everyMs, end - performance.now())), undefined, { signal });
  }
  return { ok: false, why };
}

/** Each request comes from the next port in turn, those that are in use left out. */
function askFromEachPort(check: HttpCheck): (limitMs: number) => Promise<GetOutcome> {
  const { path, signal, sourcePorts } = check;
  const to = ownEnd(check.address);
  let port = sourcePorts.from;
  return async (limitMs) => {
    for (let tries = sourcePorts.from; tries <= sourcePorts.to; tries++) {
      const outcome = await get({ from: { ...to, port }, to, path, limitMs, signal });
      port = port === sourcePorts.to ? sourcePorts.from : port + 1;
      if (outcome.type !== 'port-taken') return outcome;
    }
    return { type: 'port-taken' };
  };
}

/** Where to ask: who listens at every address is asked at the loopback one, that of IPv6 if there is any. */
function ownEnd(address: InetAddress): InetAddress {
  if (!isWildcard(address)) return address;
  const six = address.family === 'ipv6' && localAddresses().some(({ host }) => host === '::1');
  const host = six ? '::1' : '127.0.0.1';
  return { family: six ? 'ipv6' : 'ipv4', host, port: address.port };
}

function reasonOf(outcome: GetOutcome, { sourcePorts: { from, to } }: HttpCheck): string {
  if (outcome.type === 'answered') return `status ${outcome.status}`;
  return outcome.type === 'port-taken' ? `each source port from ${from} to ${to} is in use` : outcome.why;
}

/**
 * So many local ports in a row that no TCP socket has now, to ask from. They lie where the kernel chooses none for other
 * clients, if there is room, and beyond the ports that are reserved or privileged.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_ADDRESS_TAKEN: there are none. {SyscallError} the kernel has no inet_diag.
 */
export function chooseCheckPorts(count: number): PortRange {
  const first = Math.max(1_024, sysctlNumber('net/ipv4/ip_unprivileged_port_start') ?? 0);
  const { from: low, to: high } = ephemeralPorts() ?? { from: LAST_PORT + 1, to: LAST_PORT };
  // Servers are mostly below, so what is above comes first.
  const spans = [
    { from: Math.max(first, high + 1), to: LAST_PORT },
    { from: first, to: low - 1 },
    { from: Math.max(first, low), to: high },
  ];
  for (const span of spans) {
    const starts = freeStarts(span, count);
    // At random, so that two keepers at the same time are unlikely to choose the same.
    const from = starts[Math.floor(Math.random() * starts.length)];
    if (from !== undefined) return { from, to: from + count - 1 };
  }
  throw new HoldfastError('ERR_HOLDFAST_ADDRESS_TAKEN', `no ${count} local ports in a row are free`);
}

/** Where so many free ports begin. */
function freeStarts(span: PortRange, count: number): readonly number[] {
  const { sockets, leftovers } = tcpPort(span);
  const used = new Set([...[...sockets, ...leftovers].map(({ local }) => local.port), ...reservedPorts()]);
  const starts: number[] = [];
  let free = 0;
  for (let port = span.from; port <= span.to; port++) {
    free = used.has(port) ? 0 : free + 1;
    if (free >= count) starts.push(port - count + 1);
  }
  return starts;
}
