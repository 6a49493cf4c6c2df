import { SO_REUSEADDR, SO_REUSEPORT, SOL_SOCKET } from '../kernel/socket.js';
import { bindTo, closeFd, errorName, openSocket, setOption } from '../kernel/socket-calls.js';
import type { InetAddress } from '../model/address.js';
import type { Protocol } from '../model/world.js';
import type { BindOption } from './report.js';

const ON = Buffer.from([1, 0, 0, 0]);

/**
 * What a bind of ours meets there: `ok` or an error's name. The socket never listens and is closed at once; for some
 * microseconds it has the port, so that a bind of somebody else at that moment would fail.
 */
export function probeBind(protocol: Protocol, address: InetAddress, options: readonly BindOption[]): string {
  const fd = openSocket(protocol, address.family);
  if (fd < 0) return errorName(-fd);
  try {
    if (options.includes('SO_REUSEADDR')) setOption(fd, SOL_SOCKET, SO_REUSEADDR, ON);
    if (options.includes('SO_REUSEPORT')) setOption(fd, SOL_SOCKET, SO_REUSEPORT, ON);
    const result = bindTo(fd, address);
    return result < 0 ? errorName(-result) : 'ok';
  } finally {
    closeFd(fd);
  }
}
