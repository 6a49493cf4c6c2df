import { once } from 'node:events';
import { Socket } from 'node:net';
import { errorCode } from '../errors.js';
import type { Fd } from '../kernel/libc.js';
import type { InetAddress } from '../model/address.js';

/**
 * Connects a socket that has been made and bound by us, as a stream of Node, which owns the fd from now on.
 *
 * @throws {Error} Node's, of connect: EADDRNOTAVAIL, ECONNREFUSED, ETIMEDOUT … {DOMException} AbortError.
 */
export async function connectSocket(
  fd: Fd,
  destination: InetAddress,
  signal: AbortSignal | undefined,
): Promise<Socket> {
  // Node begins to read at once from what it is given, which a socket without a connection answers with an error. This
  // option, which its own modules use, has it wait; connect begins the reading.
  const socket = new Socket({ fd, manualStart: true } as { readonly fd: Fd });
  try {
    const connected = once(socket, 'connect', { signal });
    const scope = destination.scopeId === undefined ? '' : `%${destination.scopeId}`;
    socket.connect({ host: `${destination.host}${scope}`, port: destination.port });
    await connected;
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** The same, with words for EADDRNOTAVAIL: the kernel has no local port for that destination. */
export async function connectOr(
  { peer, signal }: { readonly peer: InetAddress; readonly signal: AbortSignal | undefined },
  fd: Fd,
  explain: (cause: unknown) => Error,
): Promise<Socket> {
  try {
    return await connectSocket(fd, peer, signal);
  } catch (error) {
    throw errorCode(error) === 'EADDRNOTAVAIL' ? explain(error) : error;
  }
}
