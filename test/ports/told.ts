import { fileURLToPath } from 'node:url';
import { type InsideOptions, inside } from '../kernel/inside.js';

export const LIBRARY: string = fileURLToPath(new URL('../../dist/index.js', import.meta.url));

/** What code gets to work with: the library, plain calls of sockets, and who takes what port. */
const PREFIX = `
  const { connectFrom, reservePort, reserveReservedPort } = await import(${JSON.stringify(LIBRARY)});
  const { createServer, connect } = await import('node:net');
  const { once } = await import('node:events');
  const at = (host, port) => ({ family: host.includes(':') ? 'ipv6' : 'ipv4', host, port });
  /** The port that a socket gets there, or -errno. It stays open. */
  const take = (host, port, { reuse = false, listen = false } = {}) => {
    const fd = kernel.openSocket('tcp', at(host).family);
    if (host.includes(':')) kernel.setV6OnlyNow(fd, host !== '::');
    kernel.setReuse(fd, reuse);
    let result = kernel.bindTo(fd, at(host, port));
    if (result === 0 && listen) result = kernel.listenWith(fd, 8);
    if (result === 0) return kernel.nameOf(fd).port;
    kernel.closeFd(fd);
    return result;
  };
  const statesOf = (port) => {
    const { sockets, leftovers } = kernel.tcpPort(port);
    return [...sockets, ...leftovers].map(({ state, local }) => state + ' ' + local.host).sort();
  };
  const failure = async (promise) => {
    try { return await promise; } catch ({ code, message, cause }) { return { code, message, cause: cause?.code }; }
  };`;

/** As `inside`, with the library. */
export function told(code: string, options: InsideOptions = {}): Promise<unknown> {
  return inside(['socket-calls', 'sock-diag'], `${PREFIX}${code}`, options);
}
