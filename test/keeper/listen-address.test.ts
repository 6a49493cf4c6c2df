import { expect, test } from 'vitest';
import { parseListen, withoutIpv6 } from '../../src/keeper/listen-address.js';
import { formatAddress, type SocketAddress } from '../../src/model/address.js';

test.each<[string, SocketAddress]>([
  ['8080', { family: 'ipv6', host: '::', port: 8_080 }],
  [':8080', { family: 'ipv6', host: '::', port: 8_080 }],
  ['*:8080', { family: 'ipv6', host: '::', port: 8_080 }],
  ['[::]:80', { family: 'ipv6', host: '::', port: 80 }],
  ['0.0.0.0:80', { family: 'ipv4', host: '0.0.0.0', port: 80 }],
  ['127.0.0.1:65535', { family: 'ipv4', host: '127.0.0.1', port: 65_535 }],
  ['localhost:1', { family: 'ipv4', host: '127.0.0.1', port: 1 }],
  ['[::1]:80', { family: 'ipv6', host: '::1', port: 80 }],
  ['[0:0:0::0001]:80', { family: 'ipv6', host: '::1', port: 80 }],
  ['[2001:DB8::1]:80', { family: 'ipv6', host: '2001:db8::1', port: 80 }],
  ['unix:/run/a.sock', { family: 'unix', path: '/run/a.sock' }],
  ['unix:relative.sock', { family: 'unix', path: 'relative.sock' }],
  ['unix:@abstract', { family: 'unix', path: '@abstract' }],
])('%s', (text, address) => {
  expect(parseListen(text)).toEqual({ address, name: '', v6only: false, spelling: text });
});

test.each<[string, string]>([
  ['8080', '0.0.0.0:8080'],
  ['*:8080,name=web', '0.0.0.0:8080'],
  ['[::]:8080', '[::]:8080'],
  ['8080,v6only', '[::]:8080'],
  ['127.0.0.1:8080', '127.0.0.1:8080'],
])('without IPv6, %s is %s', (text, address) => {
  expect(formatAddress(withoutIpv6(parseListen(text)).address)).toBe(address);
});

test('options come after the address, in any order, and are no part of its spelling', () => {
  expect(parseListen('[::]:80,v6only,name=web-1,backlog=16')).toEqual({
    address: { family: 'ipv6', host: '::', port: 80 },
    name: 'web-1',
    backlog: 16,
    v6only: true,
    spelling: '[::]:80',
  });
  expect(parseListen('unix:/run/a.sock,name=a').name).toBe('a');
});

test.each([
  ['', 'it has no port'],
  ['127.0.0.1', 'it has no port'],
  ['host:', 'it has no port'],
  ['0', 'from 1 to 65535'],
  ['65536', 'from 1 to 65535'],
  ['127.0.0.1:99999', 'from 1 to 65535'],
  ['::1:80', 'in brackets'],
  ['[127.0.0.1]:80', 'no IP address'],
  ['256.0.0.1:80', 'no IP address'],
  ['example.com:80', 'no IP address'],
  ['unix:', '1 to 107 bytes'],
  [`unix:/${'x'.repeat(107)}`, '1 to 107 bytes'],
  ['80,name=', 'a name has'],
  ['80,name=a:b', 'a name has'],
  ['80,name=a b', 'a name has'],
  ['80,backlog=0', 'backlog is a whole number'],
  ['80,backlog=1.5', 'backlog is a whole number'],
  ['80,backlog', 'backlog is a whole number'],
  ['127.0.0.1:80,v6only', 'goes with an IPv6 address'],
  ['unix:/run/a.sock,v6only', 'goes with an IPv6 address'],
  ['80,reuseport', 'no option "reuseport"'],
  ['80,', 'no option ""'],
])('--listen %s is refused: %s', (text, why) => {
  expect(() => parseListen(text)).toThrow(
    expect.objectContaining({ code: 'ERR_HOLDFAST_ADDRESS', message: expect.stringContaining(why) }),
  );
});

test('a unix path has as many bytes as the kernel takes', () => {
  const path = `/${'x'.repeat(106)}`;
  expect(parseListen(`unix:${path}`).address).toEqual({ family: 'unix', path });
  expect(() => parseListen(`unix:/${'ä'.repeat(54)}`)).toThrow('107 bytes');
});
