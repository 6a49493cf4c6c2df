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
  const [a, b] = [coverage(one), coverage(other)];
  return hostsOverlap(a.four, b.four, '0.0.0.0') || hostsOverlap(a.six, b.six, '::');
}

/** Whether the addresses are of one host and port. The scope counts for link-local hosts alone, as in the kernel. */
export function sameAddress(one: InetAddress, other: InetAddress): boolean {
  return one.family === other.family && one.port === other.port && scopedHost(one) === scopedHost(other);
}

/** The IPv4 and the IPv6 host that an endpoint has; a wildcard stands for all of its family. */
function coverage({ address, v6only }: Endpoint): { readonly four?: string; readonly six?: string } {
  if (address.family === 'ipv4') return { four: address.host };
  const mapped = mappedHost(address.host);
  if (mapped !== undefined) return { four: mapped };
  if (address.host === '::') return v6only ? { six: '::' } : { four: '0.0.0.0', six: '::' };
  return { six: scopedHost(address) };
}

function hostsOverlap(one: string | undefined, other: string | undefined, wildcard: string): boolean {
  if (one === undefined || other === undefined) return false;
  return one === other || one === wildcard || other === wildcard;
}

function scopedHost({ host, scopeId }: InetAddress): string {
  // fe80::/10, RFC 4291, 2.5.6
  return /^fe[89ab]/.test(host) && scopeId !== undefined ? `${host}%${scopeId}` : host;
}

/** The IPv4 address inside a v4-mapped one (RFC 4291, 2.5.5.2), or undefined. */
function mappedHost(host: string): string | undefined {
  return host.startsWith('::ffff:') && host.includes('.') ? host.slice('::ffff:'.length) : undefined;
}
