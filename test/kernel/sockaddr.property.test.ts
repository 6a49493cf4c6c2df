import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  canonicalHost,
  decodeSocketAddress,
  encodeSocketAddress,
  formatHost,
} from '../../src/kernel/sockaddr.js';
import type { SocketAddress } from '../../src/model/address.js';

const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });
const port = fc.nat(65_535);

const ipv4: fc.Arbitrary<SocketAddress> = fc.record({
  family: fc.constant('ipv4' as const),
  host: bytes(4).map((address) => formatHost('ipv4', address)),
  port,
});

const ipv6: fc.Arbitrary<SocketAddress> = fc.record(
  {
    family: fc.constant('ipv6' as const),
    host: bytes(16).map((address) => formatHost('ipv6', address)),
    port,
    scopeId: fc.integer({ min: 1, max: 0xffffffff }),
  },
  { requiredKeys: ['family', 'host', 'port'] },
);

const unix: fc.Arbitrary<SocketAddress> = fc.record({
  family: fc.constant('unix' as const),
  path: fc.string({ minLength: 1, maxLength: 107, unit: 'grapheme-ascii' }).filter((path) => path !== '@'),
});

test('an address comes back as it went into a sockaddr', () => {
  fc.assert(
    fc.property(fc.oneof(ipv4, ipv6, unix), (address) => {
      expect(decodeSocketAddress(encodeSocketAddress(address))).toEqual(address);
    }),
    { numRuns: 1_000 },
  );
});

test('any bytes are an address or none, and no error', () => {
  const family = fc.constantFrom([1, 0], [2, 0], [10, 0], [16, 0], []);
  fc.assert(
    fc.property(family, fc.uint8Array({ maxLength: 128 }), (start, rest) => {
      const sockaddr = Uint8Array.from([...start, ...rest]);
      const address = decodeSocketAddress(sockaddr);
      if (start.length === 2 && start[0] === 16) expect(address).toBeUndefined();
    }),
    { numRuns: 2_000 },
  );
});

test('a host’s canonical text is canonical, and reads as the same bytes', () => {
  fc.assert(
    fc.property(fc.ipV6(), (host) => {
      const canonical = canonicalHost('ipv6', host);
      expect(canonical).toBeDefined();
      expect(canonicalHost('ipv6', canonical ?? '')).toBe(canonical);
    }),
    { numRuns: 1_000 },
  );
});

test('what is no host of the family has no canonical text', () => {
  for (const host of ['', 'localhost', '1.2.3', '1.2.3.4.5', '256.1.1.1', '::1', '01.2.3.4x']) {
    expect(canonicalHost('ipv4', host)).toBeUndefined();
  }
  for (const host of ['', '127.0.0.1', ':::', '1::2::3', 'fe80::1%lo', '[::1]', 'g::1']) {
    expect(canonicalHost('ipv6', host)).toBeUndefined();
  }
});

test('a path that no sockaddr can hold is refused', () => {
  expect(() => encodeSocketAddress({ family: 'unix', path: `/${'x'.repeat(107)}` })).toThrow(RangeError);
  expect(() => encodeSocketAddress({ family: 'ipv4', host: 'localhost', port: 1 })).toThrow(RangeError);
});
