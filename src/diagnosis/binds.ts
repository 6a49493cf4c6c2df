import { CAP_NET_BIND_SERVICE, hasCapability } from '../kernel/procfs.js';
import { formatAddress, type InetAddress } from '../model/address.js';
import { rules } from '../model/rules.js';
import type { Sysctls } from '../model/world.js';
import type { BindRequest, Foreseen, Foresight } from './foresight.js';
import type { Origin, PortView, ViewedSocket } from './port-view.js';
import { probeBind } from './probe.js';
import type { BindOption, BindReport, Cause } from './report.js';

/** The options with which binds are looked at. */
export const OPTION_SETS: readonly (readonly BindOption[])[] = [
  [],
  ['SO_REUSEADDR'],
  ['SO_REUSEPORT'],
  ['SO_REUSEADDR', 'SO_REUSEPORT'],
];

/** More local addresses than this are not tried one by one. */
const ADDRESSES_MAX = 4;

/**
 * What binds to the port would do, at one host or at those that matter: by the model, and, if `probes`, by binds of our
 * own. Where the two differ the kernel remembers something that cannot be seen.
 */
export function bindReports(
  view: PortView,
  foresight: Foresight,
  { port, host, probes }: { readonly port: number; readonly host: string | null; readonly probes: boolean },
): readonly BindReport[] {
  const mayBindLow = hasCapability('self', CAP_NET_BIND_SERVICE);
  const asked = addressesOf(view, port, host).flatMap((address) =>
    OPTION_SETS.map((options) => {
      const foreseen = foresight.foresee(requestFor(view, address, options, mayBindLow));
      return { address, options, foreseen, expected: expectedOf(foreseen) };
    }),
  );
  const met = probes ? probeAll(view, asked) : new Map<Asked, string>();
  const tried = asked.map((one) => ({ ...one, probed: met.get(one) ?? null }));
  return tried.map((one) => reportOf(view, foresight, one, tried));
}

interface Asked {
  readonly address: InetAddress;
  readonly options: readonly BindOption[];
  readonly foreseen: readonly Foreseen[];
  readonly expected: BindReport['expected'];
}

interface Tried extends Asked {
  readonly probed: string | null;
}

/**
 * Those with SO_REUSEPORT come first: a bind without it that succeeds beside sockets that somebody has makes the port
 * forget what it remembers of SO_REUSEPORT.
 */
function probeAll(view: PortView, asked: readonly Asked[]): ReadonlyMap<Asked, string> {
  const shares = ({ options }: Asked): boolean => options.includes('SO_REUSEPORT');
  const order = [...asked.filter(shares), ...asked.filter((one) => !shares(one))];
  return new Map(
    order
      .filter(({ options, foreseen }) => mayProbe(view, options, foreseen))
      .map((one) => [one, probeBind(view.protocol, one.address, one.options)]),
  );
}

export function requestFor(
  view: PortView,
  address: InetAddress,
  options: readonly BindOption[],
  mayBindLow: boolean,
): BindRequest {
  return {
    protocol: view.protocol,
    address,
    uid: process.geteuid?.() ?? 0,
    reuse: options.includes('SO_REUSEADDR'),
    reusePort: options.includes('SO_REUSEPORT'),
    v6only: undefined,
    device: '',
    freebind: false,
    mayBindLow,
  };
}

/** The one way in which it goes for what can be seen; what the port may remember besides is left to the bind that is tried. */
function likeliest(foreseen: readonly Foreseen[]): Foreseen | undefined {
  const likely = foreseen.filter(({ ifRemembered }) => !ifRemembered);
  return likely.length === 1 ? likely[0] : undefined;
}

function expectedOf(foreseen: readonly Foreseen[]): BindReport['expected'] {
  const verdict = likeliest(foreseen)?.verdict;
  if (verdict === undefined) return 'unknown';
  return verdict.ok ? 'ok' : verdict.code;
}

/**
 * A bind with SO_REUSEPORT that succeeds beside sockets that somebody has changes what the kernel remembers of the
 * port, and so later binds with it. One that fails changes nothing, nor does one that succeeds by what is remembered.
 */
function mayProbe(
  { sockets }: PortView,
  options: readonly BindOption[],
  foreseen: readonly Foreseen[],
): boolean {
  if (!options.includes('SO_REUSEPORT') || sockets.length === 0) return true;
  return foreseen.every(({ verdict, ifRemembered }) => !verdict.ok || ifRemembered);
}

/** The wildcards, loopback, and where the port's sockets are. */
function addressesOf(
  { sockets, leftovers, machine }: PortView,
  port: number,
  host: string | null,
): readonly InetAddress[] {
  if (host !== null) return [addressAt(host, port)];
  const hasSix = machine.addresses.ipv6.length > 0;
  const usual = ['0.0.0.0', '127.0.0.1', ...(hasSix ? ['::', '::1'] : [])];
  const taken = [...sockets, ...leftovers]
    .map(({ local }) => local.host)
    .filter((one) => !one.startsWith('::ffff:'));
  const others = [...new Set(taken)].filter((one) => !usual.includes(one)).slice(0, ADDRESSES_MAX);
  return [...usual, ...others].map((one) => addressAt(one, port));
}

export function addressAt(host: string, port: number): InetAddress {
  return { family: host.includes(':') ? 'ipv6' : 'ipv4', host, port };
}

function reportOf(view: PortView, foresight: Foresight, tried: Tried, all: readonly Tried[]): BindReport {
  const { address, options, foreseen, expected, probed } = tried;
  const known = likeliest(foreseen);
  const failed = foreseen.find(({ verdict }) => !verdict.ok);
  const blamed = (expected === 'unknown' && probed === 'ok' ? undefined : failed)?.holder;
  return {
    address: formatAddress(address),
    options,
    expected,
    probed,
    rule: known?.verdict.rule ?? null,
    says: known === undefined ? null : rules[known.verdict.rule].says,
    cause: causeOf(view, foresight, tried, all),
    because: blamed === undefined ? [] : namesOf(blamed),
  };
}

/** What the outcome is taken to be: what a bind met, else what is expected. */
export function outcomeOf({ expected, probed }: Pick<BindReport, 'expected' | 'probed'>): string {
  return probed ?? expected;
}

function causeOf(view: PortView, foresight: Foresight, tried: Tried, all: readonly Tried[]): Cause | null {
  const { expected, probed, foreseen, address, options } = tried;
  const outcome = outcomeOf(tried);
  if (probed !== null && expected !== 'unknown' && probed !== expected) return surprise(view, probed);
  if (outcome === 'ok') return isFreeByV6only(view, address) ? 'v6only-free' : null;
  if (outcome === 'EACCES') return 'privileged-port';
  if (outcome === 'EADDRNOTAVAIL') return 'address-not-local';
  const holder = foreseen.find(({ verdict }) => !verdict.ok)?.holder;
  if (holder === undefined) return 'unseen';
  if (holder.leftovers.length > 0) return leftoverCause(all, tried);
  const [socket] = holder.sockets;
  if (socket === undefined) return 'unseen';
  if (options.includes('SO_REUSEPORT') && isOtherUsersGroup(foresight.origins, address))
    return 'reuseport-other-uid';
  if (meetsDualStack(address, holder)) return 'dualstack-meets-v4';
  if (socket.state === 'LISTEN') return 'listen';
  if (socket.state === 'CLOSE') return 'bound-no-reuse';
  if (socket.inode === 0) return leftoverCause(all, tried);
  return isOutgoing(view, socket) ? 'outgoing-connection' : 'connection';
}

/** What the rules do not explain by what is seen. */
function surprise({ sockets, leftovers }: PortView, probed: string): Cause {
  return probed === 'ok' || sockets.length + leftovers.length > 0 ? 'bucket-cache' : 'unseen';
}

/** Whether it would be in the way but for its IPV6_V6ONLY. */
function isFreeByV6only({ sockets }: PortView, { family }: InetAddress): boolean {
  return family === 'ipv4' && sockets.some(({ local, v6only }) => local.host === '::' && v6only);
}

/** One of the two is at `::` and has IPv4 too, the other is at an IPv4 address. */
function meetsDualStack({ family, host }: InetAddress, { seen }: Origin): boolean {
  if (family === 'ipv4') return seen.local.family === 'ipv6' && !seen.v6only;
  return host === '::' && seen.local.family === 'ipv4';
}

function isOtherUsersGroup(origins: readonly Origin[], { port }: InetAddress): boolean {
  const uid = process.geteuid?.() ?? 0;
  const members = origins.filter(
    ({ seen }) => seen.local.port === port && seen.reusePort === true && !seen.isOrphan,
  );
  return members.length > 0 && members.every(({ seen }) => seen.uid !== uid);
}

function leftoverCause(all: readonly Tried[], { address }: Tried): Cause {
  const withReuse = all.find((one) => one.address === address && one.options.join() === 'SO_REUSEADDR');
  return withReuse !== undefined && outcomeOf(withReuse) === 'ok'
    ? 'leftover-needs-reuseaddr'
    : 'leftover-holder-without-reuseaddr';
}

/**
 * Whether a connection was made from this port, not accepted at it: nobody listens or is bound here, and its other end
 * is a listener of this machine or the port is one of those that the kernel gives to clients.
 */
export function isOutgoing({ sockets, machine }: PortView, socket: ViewedSocket): boolean {
  const isServed = sockets.some(({ state }) => state === 'LISTEN' || state === 'CLOSE');
  if (isServed || socket.options?.ok !== true || socket.options.reuse) return false;
  return isEphemeral(machine.sysctls, socket.local.port);
}

export function isEphemeral({ portRange, reservedPorts }: Sysctls, port: number): boolean {
  return port >= portRange.low && port <= portRange.high && !reservedPorts.includes(port);
}

function namesOf({ sockets, leftovers }: Origin): readonly string[] {
  return [
    ...sockets.map(({ cookie }) => `cookie:${cookie.toString(16)}`),
    ...leftovers.map(({ state, local }) => `${state} ${formatAddress(local)}`),
  ];
}
