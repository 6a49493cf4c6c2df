/** Where a server listens, or has listened. */
export interface LocalAddress {
  readonly host: string;
  readonly port: number;
}

const ANY: readonly string[] = ['0.0.0.0', '::'];

/** How many sockets are in TIME_WAIT at that address; undefined when the system does not tell. */
export async function timeWaitAt({ host, port }: LocalAddress): Promise<number | undefined> {
  if (process.platform !== 'linux') return undefined;
  try {
    const { tcpPort } = await import('../kernel/sock-diag.js');
    return tcpPort(port)
      .leftovers.filter(
        ({ state, local }) => state === 'TIME_WAIT' && (ANY.includes(host) || local.host === host),
      )
      .reduce((sum, { count }) => sum + count, 0);
  } catch {
    return undefined; // no inet_diag, or no native calls for this system
  }
}
