import { Socket, type TcpSocketConnectOpts } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode, errorText } from '../errors.js';
import { interfaceName } from '../kernel/interface.js';
import { formatAddress, type InetAddress } from '../model/address.js';
import { formatDuration } from '../model/duration.js';

/** One GET on a connection of its own. */
export interface GetRequest {
  readonly from: InetAddress;
  readonly to: InetAddress;
  readonly path: string;
  readonly limitMs: number;
  readonly signal?: AbortSignal | undefined;
}

export type GetOutcome =
  | { readonly type: 'answered'; readonly status: number }
  | { readonly type: 'failed'; readonly why: string }
  /** The time was over before. */
  | { readonly type: 'late'; readonly why: string }
  /** The source port is in use, or a connection from it is left over. */
  | { readonly type: 'port-taken' };

/** How long a server may take to end its answer and to close the connection. */
const CLOSE_MS = 1_000;

/**
 * Asks a server and leaves nothing behind: when it is over, the connection is gone at both ends, without TIME_WAIT, and
 * its source port can be used again. node:http would close first, and so keep the TIME_WAIT.
 *
 * @throws what `signal` was aborted with.
 */
export async function get({ from, to, path, limitMs, signal }: GetRequest): Promise<GetOutcome> {
  signal?.throwIfAborted();
  // Half open, so that a reset answers the server's FIN. Once a FIN of ours is on its way, no reset can follow it.
  const socket = new Socket({ allowHalfOpen: true });
  const ended = new Promise<void>((resolve) => socket.once('end', resolve).once('close', () => resolve()));
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  let timer: NodeJS.Timeout | undefined;
  let abort = (): void => undefined;
  try {
    const outcome = await new Promise<GetOutcome>((resolve, reject) => {
      ask(socket, requestOf(to, path), resolve);
      socket.connect(endsOf(from, to));
      timer = setTimeout(() => resolve({ type: 'late', why: lateness(socket, limitMs) }), limitMs);
      abort = () => reject(signal?.reason);
      signal?.addEventListener('abort', abort, { once: true });
    });
    if (outcome.type === 'answered') await Promise.race([ended, sleep(CLOSE_MS, undefined, { ref: false })]);
    return outcome;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    reset(socket);
    await closed;
  }
}

function endsOf(from: InetAddress, to: InetAddress): TcpSocketConnectOpts {
  return { host: zoned(to), port: to.port, localAddress: zoned(from), localPort: from.port };
}

/** Link-local IPv6 addresses need the name of their interface. */
function zoned({ host, scopeId }: InetAddress): string {
  return scopeId === undefined ? host : `${host}%${interfaceName(scopeId)}`;
}

function requestOf({ scopeId: _, ...to }: InetAddress, path: string): string {
  const headers = [`Host: ${formatAddress(to)}`, 'User-Agent: holdfast', 'Accept: */*', 'Connection: close'];
  return [`GET ${path} HTTP/1.1`, ...headers, '', ''].join('\r\n');
}

function ask(socket: Socket, request: string, done: (outcome: GetOutcome) => void): void {
  let head = '';
  const read = (text: string): void => {
    head += text;
    const status = statusIn(head);
    if (status === undefined) return;
    socket.off('data', read).resume();
    if (Number.isNaN(status)) done({ type: 'failed', why: 'its answer is not HTTP/1' });
    else done({ type: 'answered', status });
  };
  socket
    .setEncoding('latin1')
    .on('data', read)
    .once('connect', () => socket.write(request))
    .once('end', () => done({ type: 'failed', why: 'connection closed without an answer' }))
    .on('error', (error) => done(failureOf(error)));
}

/** The final status: undefined as long as it is not there, NaN when what is there is not HTTP/1. */
function statusIn(head: string): number | undefined {
  const { status } = /^HTTP\/1\.\d (?<status>\d{3})/.exec(head)?.groups ?? {};
  if (status === undefined) return head.length < 'HTTP/1.1 200'.length ? undefined : Number.NaN;
  if (Number(status) >= 200) return Number(status);
  // 100 Continue, 103 Early Hints: another one follows their headers.
  const end = head.indexOf('\r\n\r\n');
  return end === -1 ? undefined : statusIn(head.slice(end + 4));
}

function failureOf(error: Error): GetOutcome {
  const { syscall } = error as { readonly syscall?: unknown };
  switch (errorCode(error)) {
    case 'EADDRINUSE':
      return { type: 'port-taken' };
    case 'EADDRNOTAVAIL':
      // From connect it is about both ends together; from bind, no interface has the address.
      if (syscall === 'connect') return { type: 'port-taken' };
      break;
    case 'ECONNREFUSED':
      return { type: 'failed', why: 'connection refused' };
    case 'ECONNRESET':
    case 'EPIPE':
      return { type: 'failed', why: 'connection reset' };
  }
  return { type: 'failed', why: errorText(error) };
}

function lateness({ connecting }: Socket, limitMs: number): string {
  return `no ${connecting ? 'connection' : 'answer'} within ${formatDuration(limitMs)}`;
}

function reset(socket: Socket): void {
  if (socket.destroyed) return;
  // Node would wait for the connection, to reset it then.
  if (socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}
