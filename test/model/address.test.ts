import { expect, test } from 'vitest';
import { type Endpoint, endpointsOverlap, formatAddress, isWildcard } from '../../src/model/address.js';

test('addresses are written as people write them', () => {
  expect(formatAddress({ family: 'ipv4', host: '127.0.0.1', port: 80 })).toBe('127.0.0.1:80');
  expect(formatAddress({ family: 'ipv6', host: '::1', port: 80 })).toBe('[::1]:80');
  expect(formatAddress({ family: 'ipv6', host: 'fe80::1', port: 80, scopeId: 2 })).toBe('[fe80::1%2]:80');
  expect(formatAddress({ family: 'unix', path: '/run/x.sock' })).toBe('unix:/run/x.sock');
  expect(formatAddress({ family: 'unix', path: '@x' })).toBe('unix:@x');
});

test('the unspecified address of each family is a wildcard, and no other', () => {
  const hosts = ['0.0.0.0', '::', '127.0.0.1', '::1', '::ffff:0.0.0.0'];
  const wildcards = hosts.filter((host) =>
    isWildcard({ family: host.includes(':') ? 'ipv6' : 'ipv4', host, port: 1 }),
  );
  expect(wildcards).toEqual(['0.0.0.0', '::']);
});

test('other ports never overlap', () => {
  const at = (port: number): Endpoint => ({ address: { family: 'ipv6', host: '::', port }, v6only: false });
  expect(endpointsOverlap(at(80), at(81))).toBe(false);
  expect(endpointsOverlap(at(80), at(80))).toBe(true);
});
