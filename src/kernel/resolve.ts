import koffi from 'koffi';
import { libc } from './libc.js';
import { AF_INET, AF_INET6, formatHost } from './sockaddr.js';

koffi.struct('addrinfo', {
  ai_flags: 'int',
  ai_family: 'int',
  ai_socktype: 'int',
  ai_protocol: 'int',
  ai_addrlen: 'uint32_t',
  ai_addr: 'void *',
  ai_canonname: 'void *',
  ai_next: 'void *',
});

const getaddrinfo = libc.func(
  'int getaddrinfo(const char *node, const char *service, void *hints, _Out_ void **result)',
);
const freeaddrinfo = libc.func('void freeaddrinfo(void *result)');

interface AddrInfo {
  readonly ai_family: number;
  readonly ai_addr: unknown;
  readonly ai_next: unknown;
}

/** More than a name that is asked for here has. */
const ADDRESSES_MAX = 32;

/**
 * The addresses of a name in the order in which programs of this machine try them; empty when it has none. Blocks, so
 * it is for names such as `localhost` that no server is asked for.
 *
 * @see getaddrinfo(3), gai.conf(5)
 */
export function resolveNow(name: string): readonly string[] {
  const result: [unknown] = [null];
  if (getaddrinfo(name, null, null, result) !== 0) return [];
  const hosts: string[] = [];
  try {
    for (let at = result[0]; at && hosts.length < ADDRESSES_MAX; ) {
      const info = koffi.decode(at, 'addrinfo') as AddrInfo;
      const host = hostOf(info);
      // Each comes once for every kind of socket.
      if (host !== undefined && !hosts.includes(host)) hosts.push(host);
      at = info.ai_next;
    }
  } finally {
    freeaddrinfo(result[0]);
  }
  return hosts;
}

/** `ai_addr` is a sockaddr_in or sockaddr_in6: the address begins at byte 4 or 8. */
function hostOf({ ai_family, ai_addr }: AddrInfo): string | undefined {
  if (ai_family !== AF_INET && ai_family !== AF_INET6) return undefined;
  const [begin, end] = ai_family === AF_INET ? [4, 8] : [8, 24];
  const bytes = Buffer.from(koffi.decode(ai_addr, koffi.array('uint8_t', end)) as Uint8Array);
  return formatHost(ai_family === AF_INET ? 'ipv4' : 'ipv6', bytes.subarray(begin, end));
}
