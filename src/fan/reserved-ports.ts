import { once } from 'node:events';
import type { Socket } from 'node:net';
import { errorCode } from '../errors.js';
import type { Connect } from './rsh.js';

/** A port from 512 to 1023 that can connect. */
interface ReservedPort {
  readonly port: number;
  connect(destination: Destination, signal: AbortSignal): Promise<Socket>;
}

interface Destination {
  readonly host: string;
  readonly port: number;
}

/** Reserves the highest such port that is free, but for these. */
export type Reserve = (except: ReadonlySet<number>, destination: Destination) => Promise<ReservedPort>;

/**
 * Connects from reserved ports, of which each destination has all 512 to itself: connections to different ones share a port.
 * A port is used again for its destination when its connection is over and the other side has closed first.
 */
export function fromReservedPorts(reserve: Reserve): Connect {
  const used = new Map<string, Set<number>>();
  return async (host, port, signal) => {
    const key = `${host} ${port}`;
    const ports = used.get(key) ?? new Set();
    used.set(key, ports);
    for (;;) {
      signal.throwIfAborted();
      const reserved = await reserve(ports, { host, port });
      ports.add(reserved.port);
      try {
        const socket = await reserved.connect({ host, port }, signal);
        void once(socket, 'close').then(
          () => free(used, key, reserved.port),
          () => free(used, key, reserved.port),
        );
        return socket;
      } catch (error) {
        // Another program's connection is in the way: that port stays out of use.
        if (errorCode(error) === 'ERR_HOLDFAST_CONNECTION_EXISTS') continue;
        free(used, key, reserved.port);
        throw error;
      }
    }
  };
}

function free(used: Map<string, Set<number>>, key: string, port: number): void {
  const ports = used.get(key);
  ports?.delete(port);
  if (ports?.size === 0) used.delete(key);
}
