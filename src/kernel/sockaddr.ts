import type { InetAddress, SocketAddress } from '../model/address.js';
import { declare } from './libc.js';

const inetPton = declare('int inet_pton(int family, const char *text, void *address)');
const inetNtop = declare('void *inet_ntop(int family, const void *address, void *text, uint32_t size)');

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;

/** Length of the largest sockaddr there is (sockaddr_storage), bytes. */
export const SOCKADDR_MAX = 128;

/**
 * The sockaddr_in, sockaddr_in6 or sockaddr_un of an address. The port is big-endian in it.
 *
 * @see ip(7), ipv6(7), unix(7)
 */
export function encodeSocketAddress(address: SocketAddress): Buffer {
  if (address.family === 'unix') {
    const abstract = address.path.startsWith('@');
    const path = Buffer.from(abstract ? `\0${address.path.slice(1)}` : `${address.path}\0`);
    if (path.length > 108) throw new RangeError(`a unix socket path has at most 107 bytes: ${address.path}`);
    const sockaddr = Buffer.alloc(2 + path.length);
    sockaddr.writeUInt16LE(AF_UNIX, 0);
    path.copy(sockaddr, 2);
    return sockaddr;
  }
  const four = address.family === 'ipv4';
  const sockaddr = Buffer.alloc(four ? 16 : 28);
  sockaddr.writeUInt16LE(four ? AF_INET : AF_INET6, 0);
  sockaddr.writeUInt16BE(address.port, 2);
  encodeHost(address).copy(sockaddr, four ? 4 : 8);
  if (!four) sockaddr.writeUInt32LE(address.scopeId ?? 0, 24);
  return sockaddr;
}

/** The address in a sockaddr, or undefined for families other than IPv4, IPv6 and unix. */
export function decodeSocketAddress(sockaddr: Uint8Array): SocketAddress | undefined {
  const bytes = Buffer.from(sockaddr.buffer, sockaddr.byteOffset, sockaddr.byteLength);
  if (bytes.length < 2) return undefined;
  switch (bytes.readUInt16LE(0)) {
    case AF_INET:
      if (bytes.length < 8) return undefined;
      return { family: 'ipv4', host: formatHost('ipv4', bytes.subarray(4, 8)), port: bytes.readUInt16BE(2) };
    case AF_INET6: {
      if (bytes.length < 24) return undefined;
      const scopeId = bytes.length >= 28 ? bytes.readUInt32LE(24) : 0;
      const host = formatHost('ipv6', bytes.subarray(8, 24));
      return { family: 'ipv6', host, port: bytes.readUInt16BE(2), ...(scopeId === 0 ? {} : { scopeId }) };
    }
    case AF_UNIX: {
      const name = bytes.subarray(2);
      if (name.length > 0 && name[0] === 0)
        return { family: 'unix', path: `@${name.subarray(1).toString()}` };
      const end = name.indexOf(0);
      return { family: 'unix', path: name.subarray(0, end === -1 ? name.length : end).toString() };
    }
    default:
      return undefined;
  }
}

/** What inet_ntop writes into; one for all. */
const hostText = Buffer.alloc(64);

/** Canonical text of 4 or 16 address bytes. @see inet_ntop(3) */
export function formatHost(family: InetAddress['family'], address: Uint8Array): string {
  // What inet_ntop prints too; dumps of many sockets are mostly addresses.
  if (family === 'ipv4') return `${address[0]}.${address[1]}.${address[2]}.${address[3]}`;
  inetNtop(AF_INET6, address, hostText, hostText.length);
  return hostText.toString('latin1', 0, hostText.indexOf(0));
}

/** The host in canonical text, or undefined when it is no address of that family. @see inet_pton(3) */
export function canonicalHost(family: InetAddress['family'], host: string): string | undefined {
  const bytes = Buffer.alloc(16);
  if (inetPton(family === 'ipv4' ? AF_INET : AF_INET6, host, bytes) !== 1) return undefined;
  return formatHost(family, bytes);
}

export function encodeHost(address: InetAddress): Buffer {
  const bytes = Buffer.alloc(address.family === 'ipv4' ? 4 : 16);
  if (inetPton(address.family === 'ipv4' ? AF_INET : AF_INET6, address.host, bytes) !== 1) {
    throw new RangeError(`not an ${address.family} address: ${address.host}`);
  }
  return bytes;
}

/**
 * Reads `8080`, `*:8080`, `127.0.0.1:8080`, `localhost:8080` or `[::1]:8080`; a port alone is `[::]`. Gives a sentence
 * that says what is wrong instead of an address.
 */
export function parseInetAddress(text: string): InetAddress | string {
  const { host, port } = /^(?:(?<host>.*):)?(?<port>\d{1,5})$/.exec(text)?.groups ?? {};
  if (port === undefined) return 'it has no port';
  if (Number(port) > 65_535) return 'a port is a number from 1 to 65535';
  if (host === undefined || host === '' || host === '*') {
    return { family: 'ipv6', host: '::', port: Number(port) };
  }
  const bracketed = /^\[(.*)\]$/.exec(host)?.[1];
  const family = bracketed === undefined ? 'ipv4' : 'ipv6';
  const literal = host === 'localhost' ? '127.0.0.1' : (bracketed ?? host);
  const canonical = canonicalHost(family, literal);
  if (canonical === undefined) return `"${host}" is no IP address (an IPv6 one stands in brackets)`;
  return { family, host: canonical, port: Number(port) };
}
