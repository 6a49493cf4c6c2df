import { fstatSync } from 'node:fs';
import type { ConnectionSample } from '../model/drain.js';
import { type Connection, carrierOf } from './connection.js';
import { loadKernel } from './kernel.js';

/**
 * What has gone over a connection so far, as Node counts it, and as the kernel tells it where it does. Node counts what
 * TLS carries, and does not know what came last before the first look; the kernel knows that, and cannot tell TLS's own
 * messages from what they carry.
 */
export interface Traffic {
  readonly counted: ConnectionSample;
  readonly told: ConnectionSample | undefined;
}

/** Of connections of one local port. `port` undefined: a unix socket, of which the kernel tells nothing. */
export async function trafficOf(
  connections: readonly Connection[],
  port: number | undefined,
): Promise<ReadonlyMap<Connection, Traffic>> {
  const byInode = await askKernel(port);
  return new Map(
    connections
      .filter(({ destroyed }) => !destroyed)
      .map((connection) => [
        connection,
        { counted: countedBy(carrierOf(connection)), told: byInode?.get(inodeOf(connection)) },
      ]),
  );
}

async function askKernel(
  port: number | undefined,
): Promise<ReadonlyMap<number | undefined, ConnectionSample> | undefined> {
  if (port === undefined) return undefined;
  const kernel = await loadKernel();
  try {
    return kernel && new Map(kernel.tcpConnections([port]).map((told) => [told.inode, told]));
  } catch {
    return undefined; // EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag
  }
}

function inodeOf({ _handle: handle }: Connection): number | undefined {
  try {
    return fstatSync(handle?.fd ?? -1).ino;
  } catch {
    return undefined; // EBADF: it is being closed
  }
}

function countedBy({
  readableLength,
  writableLength,
  bytesRead,
  bytesWritten,
}: Connection): ConnectionSample {
  return {
    state: 'ESTABLISHED',
    receiveQueue: readableLength,
    sendQueue: writableLength,
    bytesReceived: bytesRead,
    bytesWritten,
    // Not known: as if both were long ago.
    lastDataSentMs: LONG_AGO_MS,
    lastDataReceivedMs: LONG_AGO_MS,
    segmentsIn: 0,
    emptySegmentsOut: 0,
  };
}

const LONG_AGO_MS = 2 ** 31;
