import type { Connection } from './connection.js';

/** What of the kernel layer closing asks, where it is: on Linux, and only for what cannot be done without. */
export type Kernel = typeof import('../kernel/send-queue.js') &
  typeof import('../kernel/syn-filter.js') &
  Pick<typeof import('../kernel/tcp-connections.js'), 'tcpConnections'> &
  Pick<typeof import('../kernel/socket.js'), 'tcpState'> &
  Pick<typeof import('../kernel/fd-walk.js'), 'walkSockets'>;

let loading: Promise<Kernel | undefined> | undefined;
let kernel: Kernel | undefined;

/** Loads it once. Undefined on other systems, and where the native calls cannot be loaded: then nothing is asked. */
export function loadKernel(): Promise<Kernel | undefined> {
  loading ??= load().then((found) => {
    kernel = found;
    return found;
  });
  return loading;
}

async function load(): Promise<Kernel | undefined> {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) return undefined;
  try {
    const [sendQueue, synFilter, { tcpConnections }, { walkSockets }, { tcpState }] = await Promise.all([
      import('../kernel/send-queue.js'),
      import('../kernel/syn-filter.js'),
      import('../kernel/tcp-connections.js'),
      import('../kernel/fd-walk.js'),
      import('../kernel/socket.js'),
    ]);
    return { ...sendQueue, ...synFilter, tcpConnections, walkSockets, tcpState };
  } catch {
    // koffi has no binary for this C library, or the package was installed without it.
    return undefined;
  }
}

/** Bytes that the peer has not acknowledged; undefined when that cannot be told. To be called after `loadKernel`. */
export function unacknowledged(connection: Connection): number | undefined {
  if (connection.writableLength > 0) return connection.writableLength;
  const fd = connection._handle?.fd ?? -1;
  if (kernel === undefined || fd < 0) return undefined;
  try {
    return kernel.unacknowledgedBytes(fd);
  } catch {
    return undefined; // a stream that is no socket
  }
}
