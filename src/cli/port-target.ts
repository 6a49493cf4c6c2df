import { HoldfastError } from '../errors.js';
import { canonicalHost } from '../kernel/sockaddr.js';

/** Ports that a command is asked about. */
export interface Target {
  /** In canonical text; undefined for any. */
  readonly host: string | undefined;
  readonly ports: { readonly from: number; readonly to: number };
}

const FORMS = '8080, 127.0.0.1:8080, [::1]:8080 or 8000-8010';

/** More ports than this at once are a mistake. */
const RANGE_MAX = 4096;

/** @throws {HoldfastError} ERR_HOLDFAST_ADDRESS */
export function parseTargets(words: readonly string[]): readonly Target[] {
  if (words.length === 0) throw new HoldfastError('ERR_HOLDFAST_ADDRESS', `which port? write ${FORMS}`);
  return words.map(parseTarget);
}

/** One port. @throws {HoldfastError} ERR_HOLDFAST_ADDRESS */
export function parsePort(word: string): { readonly host: string | undefined; readonly port: number } {
  const { host, ports } = parseTarget(word);
  if (ports.from !== ports.to) throw wrong(word, 'it takes one port');
  return { host, port: ports.from };
}

function parseTarget(word: string): Target {
  const {
    host,
    from,
    to = from,
  } = /^(?:(?<host>.*):)?(?<from>\d{1,5})(?:-(?<to>\d{1,5}))?$/.exec(word)?.groups ?? {};
  if (from === undefined) throw wrong(word, 'it has no port');
  const ports = { from: Number(from), to: Number(to) };
  if (ports.from < 1 || ports.to > 65_535) throw wrong(word, 'a port is a number from 1 to 65535');
  if (ports.from > ports.to) throw wrong(word, 'the range ends before it begins');
  if (ports.to - ports.from >= RANGE_MAX) throw wrong(word, `a range has at most ${RANGE_MAX} ports`);
  return { host: host === undefined || host === '' || host === '*' ? undefined : hostOf(word, host), ports };
}

function hostOf(word: string, host: string): string {
  if (host === 'localhost')
    throw wrong(word, 'localhost is two addresses; ask for 127.0.0.1 or [::1], or for the port alone');
  const bracketed = /^\[(.*)\]$/.exec(host)?.[1];
  const canonical = canonicalHost(bracketed === undefined ? 'ipv4' : 'ipv6', bracketed ?? host);
  if (canonical === undefined)
    throw wrong(word, `"${host}" is no IP address (an IPv6 one stands in brackets)`);
  return canonical;
}

function wrong(word: string, what: string): HoldfastError {
  return new HoldfastError('ERR_HOLDFAST_ADDRESS', `${word}: ${what}; the forms are ${FORMS}`);
}
