/** An IPv4 or IPv6 address with its port. `host` is in canonical text form, as inet_ntop(3) prints it. */
export interface InetAddress {
  readonly family: 'ipv4' | 'ipv6';
  readonly host: string;
  /** Host byte order, 0 to 65535. */
  readonly port: number;
  /** The interface index of a link-local IPv6 address; absent means none. */
  readonly scopeId?: number;
}

/** A unix socket: a path, or an abstract name that starts with `@`. */
export interface UnixAddress {
  readonly family: 'unix';
  readonly path: string;
}

export type SocketAddress = InetAddress | UnixAddress;

/** What one listening socket covers. `v6only` matters for IPv6 alone and is false for IPv4. */
export interface Endpoint {
  readonly address: InetAddress;
  readonly v6only: boolean;
}

/** `127.0.0.1:8080`, `[::1]:8080`, `[fe80::1%2]:8080` or `unix:/path`. */
export function formatAddress(address: SocketAddress): string {
  if (address.family === 'unix') return `unix:${address.path}`;
  if (address.family === 'ipv4') return `${address.host}:${address.port}`;
  const scope = address.scopeId ? `%${address.scopeId}` : '';
  return `[${address.host}${scope}]:${address.port}`;
}

/** Whether the host is the unspecified address, so that it stands for every local address of its family. */
export function isWildcard(address: InetAddress): boolean {
  return address.host === '0.0.0.0' || address.host === '::';
}

/**
 * Whether two listening sockets would share at least one local address and port, so that the kernel lets only
 * one of them listen unless both set SO_REUSEPORT.
 *
 * @see inet_rcv_saddr_equal() in net/ipv4/inet_connection_sock.c
 */
export function endpointsOverlap(one: Endpoint, other: Endpoint): boolean {
  if (one.address.port !== other.address.port) return false;
  if (one.address.family === other.address.family) {
    if (isWildcard(one.address) || isWildcard(other.address)) return true;
    return one.address.host === other.address.host && one.address.scopeId === other.address.scopeId;
  }
  const [four, six] = one.address.family === 'ipv4' ? [one, other] : [other, one];
  if (six.v6only) return false;
  const mapped = mappedHost(six.address.host);
  if (mapped !== undefined) {
    return mapped === '0.0.0.0' || isWildcard(four.address) || mapped === four.address.host;
  }
  return isWildcard(six.address);
}

/** The IPv4 address inside a v4-mapped one (RFC 4291, 2.5.5.2), or undefined. */
function mappedHost(host: string): string | undefined {
  return host.startsWith('::ffff:') && host.includes('.') ? host.slice('::ffff:'.length) : undefined;
}
