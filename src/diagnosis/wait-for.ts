import { setTimeout as sleep } from 'node:timers/promises';
import { close } from '../kernel/fd.js';
import type { Fd } from '../kernel/libc.js';
import { Poller } from '../kernel/poller.js';
import { CAP_NET_BIND_SERVICE, hasCapability } from '../kernel/procfs.js';
import { tcpListeners } from '../kernel/sock-diag.js';
import { readDestroyed, subscribeToDestroyed } from '../kernel/sock-events.js';
import type { InetAddress } from '../model/address.js';
import { addressAt, requestFor } from './binds.js';
import { foresightFor } from './foresight.js';
import { lookAtPorts, type PortView } from './port-view.js';
import type { WhyOptions } from './why.js';

export interface WaitOptions extends Pick<WhyOptions, 'port' | 'host' | 'protocol'> {
  /** `free`: a plain bind is expected to succeed. `listening`: somebody listens, of UDP: somebody has the port. */
  readonly until: 'free' | 'listening';
  /** Default: for ever. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface WaitResult {
  /** False when the time was over before. */
  readonly reached: boolean;
  readonly ms: number;
}

/** Of listeners alone: 0.02 ms a look. The kernel tells nobody that a socket begins to listen. */
const LISTENER_LOOK_MS = 20;
/** Also when no socket's end was told: ends of TIME_WAIT are not, nor are those of UDP. */
const LOOK_MS = 1_000;
/** The kernel's timers fire up to some percent late. */
const LATE = 1.02;

/**
 * Waits until a port is free, or until somebody listens on it. Sleeps until the kernel tells that a socket has ended,
 * or the timer of the last connection that is left over is due.
 *
 * @throws {DOMException} AbortError. {SyscallError} the kernel has no inet_diag.
 */
export async function waitFor(options: WaitOptions): Promise<WaitResult> {
  const begin = performance.now();
  const { timeoutMs = Number.POSITIVE_INFINITY, signal } = options;
  const left = (): number => timeoutMs - (performance.now() - begin);
  const events = options.until === 'free' && options.protocol !== 'udp' ? new Ends(options.port) : undefined;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const next = options.until === 'free' ? lookForFree(options) : lookForListener(options);
      if (next === undefined) return { reached: true, ms: performance.now() - begin };
      if (left() <= 0) return { reached: false, ms: performance.now() - begin };
      const ms = Math.max(1, Math.min(next, left()));
      if (events === undefined) await sleep(ms, undefined, { signal });
      else await events.next(ms, signal);
    }
  } finally {
    events?.close();
  }
}

/** When to look again; undefined when it is free. */
function lookForFree({ port, host, protocol = 'tcp' }: WaitOptions): number | undefined {
  const view = lookAtPorts(protocol, port, { holders: false });
  if (isFree(view, port, host)) return undefined;
  const due = Math.max(0, ...view.leftovers.map(({ maxExpiresMs }) => maxExpiresMs)) * LATE;
  // With sockets that somebody has there is no saying when.
  return view.sockets.length === 0 && due > LOOK_MS ? due : Math.min(LOOK_MS, due || LOOK_MS);
}

/** Whether plain binds are expected to succeed where a server would make them. */
export function isFree(view: PortView, port: number, host: string | undefined): boolean {
  const { foresee } = foresightFor(view);
  const mayBindLow = hasCapability('self', CAP_NET_BIND_SERVICE);
  return addresses(view, port, host).every((address) =>
    foresee(requestFor(view, address, [], mayBindLow)).every(
      ({ verdict }) => verdict.ok || verdict.code !== 'EADDRINUSE',
    ),
  );
}

function addresses({ machine }: PortView, port: number, host: string | undefined): readonly InetAddress[] {
  if (host !== undefined) return [addressAt(host, port)];
  return machine.addresses.ipv6.length > 0
    ? [addressAt('0.0.0.0', port), addressAt('::', port)]
    : [addressAt('0.0.0.0', port)];
}

function lookForListener({ port, host, protocol }: WaitOptions): number | undefined {
  const view = protocol === 'udp' ? lookAtPorts('udp', port, { holders: false }).sockets : tcpListeners(port);
  const isIt = (local: InetAddress): boolean =>
    host === undefined || local.host === host || local.host === '::' || local.host === '0.0.0.0';
  return view.some(({ local }) => isIt(local)) ? undefined : LISTENER_LOOK_MS;
}

/** Tells when a TCP socket of the port has ended. */
class Ends {
  readonly #port: number;
  readonly #fd: Fd = subscribeToDestroyed();
  readonly #poller = new Poller();
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(port: number) {
    this.#port = port;
    this.#poller.add(this.#fd, () => this.#read());
  }

  /** Resolves after the time, or before when one has ended since the last call. */
  async next(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const waker = new AbortController();
    this.#wake = () => waker.abort();
    if (!this.#ended) {
      const signals = signal === undefined ? [waker.signal] : [waker.signal, signal];
      // Woken up, or given up: the caller looks at its own signal.
      await sleep(ms, undefined, { signal: AbortSignal.any(signals) }).catch(() => undefined);
    }
    this.#wake = undefined;
    this.#ended = false;
  }

  close(): void {
    this.#poller.remove(this.#fd);
    this.#poller.close();
    close(this.#fd);
  }

  #read(): void {
    const { sockets, overrun } = readDestroyed(this.#fd);
    if (!overrun && !sockets.some(({ local }) => local.port === this.#port)) return;
    this.#ended = true;
    this.#wake?.();
  }
}
