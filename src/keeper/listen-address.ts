import { HoldfastError } from '../errors.js';
import { parseInetAddress } from '../kernel/sockaddr.js';
import type { SocketAddress } from '../model/address.js';

/** One `--listen`: what the keeper binds itself, before the server runs. */
export interface ListenRequest {
  readonly address: SocketAddress;
  /** Name for LISTEN_FDNAMES; empty for none. */
  readonly name: string;
  /** Longest accept queue; the kernel cuts it to net.core.somaxconn. */
  readonly backlog?: number;
  readonly v6only: boolean;
  /** The address as the user spelled it, for SERVER_STARTER_PORT. */
  readonly spelling: string;
}

const FORMS = '8080, 127.0.0.1:8080, [::1]:8080, unix:/path; then ,name=NAME ,backlog=N ,v6only';

/**
 * Reads `--listen`: a port (every address, IPv4 and IPv6), host:port or unix:/path, then options after commas.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_ADDRESS
 */
export function parseListen(text: string): ListenRequest {
  const [spelling = '', ...options] = text.split(',');
  let request: ListenRequest = { address: parseAddress(spelling, text), name: '', v6only: false, spelling };
  for (const option of options) request = withOption(request, option, text);
  return request;
}

/** What the request means where there is no IPv6: a port alone is every IPv4 address then. */
export function withoutIpv6(request: ListenRequest): ListenRequest {
  const { address, spelling, v6only } = request;
  if (address.family !== 'ipv6' || v6only || !/^(\*?:)?\d+$/.test(spelling)) return request;
  return { ...request, address: { family: 'ipv4', host: '0.0.0.0', port: address.port } };
}

function withOption(request: ListenRequest, option: string, text: string): ListenRequest {
  const [key, value = ''] = option.split('=', 2);
  switch (key) {
    case 'name':
      if (!/^[\x21-\x39\x3b-\x7e]{1,255}$/.test(value)) {
        throw wrong(text, `a name has 1 to 255 printable ASCII characters and no colon, not "${value}"`);
      }
      return { ...request, name: value };
    case 'backlog':
      if (!/^\d{1,9}$/.test(value) || Number(value) < 1) {
        throw wrong(text, `backlog is a whole number from 1, not "${value}"`);
      }
      return { ...request, backlog: Number(value) };
    case 'v6only':
      if (request.address.family !== 'ipv6')
        throw wrong(text, 'v6only goes with an IPv6 address, e.g. [::]:8080');
      return { ...request, v6only: true };
    default:
      throw wrong(text, `there is no option "${option}"`);
  }
}

function parseAddress(spelling: string, text: string): SocketAddress {
  if (spelling.startsWith('unix:')) {
    const path = spelling.slice('unix:'.length);
    if (path === '' || Buffer.byteLength(path) > 107) throw wrong(text, 'a unix path has 1 to 107 bytes');
    return { family: 'unix', path };
  }
  const address = parseInetAddress(spelling);
  if (typeof address === 'string') throw wrong(text, address);
  if (address.port < 1) throw wrong(text, 'a port is a number from 1 to 65535');
  return address;
}

function wrong(text: string, why: string): HoldfastError {
  return new HoldfastError('ERR_HOLDFAST_ADDRESS', `--listen ${text}: ${why}; the forms are ${FORMS}`);
}
