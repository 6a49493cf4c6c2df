import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { type Endpoint, endpointsOverlap, formatAddress } from '../../src/model/address.js';
import { testNeeding } from '../support/needing.js';
import { inFreshNetns } from '../support/netns.js';
import { start } from '../support/process.js';

const PORT = 7_000;
const LOOPBACK = 1;
const VETH = 2;

const endpoints: readonly Endpoint[] = [
  ...['0.0.0.0', '127.0.0.1', '127.0.0.2'].map((host) => at(host)),
  ...['::', '::1', '::2'].flatMap((host) => [at(host), at(host, { v6only: true })]),
  ...['::ffff:0.0.0.0', '::ffff:127.0.0.1', '::ffff:127.0.0.2'].map((host) => at(host)),
  at('fe80::1', { scopeId: LOOPBACK }),
  at('fe80::1', { scopeId: VETH }),
  // An interface counts for link-local addresses alone. @see ipv6(7)
  at('::1', { scopeId: LOOPBACK }),
];

testNeeding(['netns', 'ip'])(
  'two endpoints overlap exactly when the kernel lets only one of them be bound',
  async () => {
    const pairs = endpoints.flatMap((one) => endpoints.map((other) => [one, other] as const));
    const observed = await observe(pairs);
    const differences = pairs.flatMap(([one, other], index) => {
      const said = endpointsOverlap(one, other) ? 'EADDRINUSE' : 'ok';
      return said === observed[index]
        ? []
        : [`${name(other)} beside ${name(one)}: ${observed[index]}, we say ${said}`];
    });
    expect(differences).toEqual([]);
  },
);

/** What becomes of each pair's second bind while the first one listens, in a network namespace of its own. */
async function observe(pairs: readonly (readonly [Endpoint, Endpoint])[]): Promise<string[]> {
  const kernel = (module: string): string =>
    JSON.stringify(fileURLToPath(new URL(`../../dist/kernel/${module}.js`, import.meta.url)));
  const code = `
    import { close } from ${kernel('fd')};
    import { bind, listen, setV6Only, streamSocket } from ${kernel('socket')};
    const open = ({ address, v6only }) => {
      const fd = streamSocket(address.family);
      if (address.family === 'ipv6') setV6Only(fd, v6only);
      try {
        bind(fd, address);
        return { fd };
      } catch ({ code }) {
        close(fd);
        return { code };
      }
    };
    const outcomes = ${JSON.stringify(pairs)}.map(([one, other]) => {
      const first = open(one);
      if (first.fd === undefined) return 'the first: ' + first.code;
      listen(first.fd, 1);
      const second = open(other);
      close(first.fd);
      if (second.fd !== undefined) close(second.fd);
      return second.code ?? 'ok';
    });
    console.log(JSON.stringify(outcomes));`;
  const links = [
    'ip link add name v0 index 2 type veth peer name v1 index 3',
    'ip link set v0 up',
    'ip link set v1 up',
    'ip addr add fe80::1/64 dev lo nodad',
    'ip addr add fe80::1/64 dev v0 nodad',
    'ip addr add ::2/128 dev lo nodad',
    'exec "$@"',
  ].join(' && ');
  const inside = inFreshNetns(['sh', '-c', links, 'sh', process.execPath, '--input-type=module', '-e', code]);
  const observer = start(inside);
  return JSON.parse((await observer.line(/^\[.*\]$/))[0]) as string[];
}

function at(host: string, { v6only = false, scopeId = 0 } = {}): Endpoint {
  const scope = scopeId === 0 ? {} : { scopeId };
  return { address: { family: host.includes(':') ? 'ipv6' : 'ipv4', host, port: PORT, ...scope }, v6only };
}

function name({ address, v6only }: Endpoint): string {
  return `${formatAddress(address)}${v6only ? ' (IPv6 only)' : ''}`;
}
