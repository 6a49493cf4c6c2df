import { formatAddress } from '../model/address.js';
import { addressAt, requestFor } from './binds.js';
import type { Foresight } from './foresight.js';
import type { PortView, ViewedSocket } from './port-view.js';
import type { ProcessReport } from './process.js';
import type { TakeoverReport, Warning, WhyReport } from './report.js';
import { COMMON_LANGUAGES, reuseAddressLine, reuseLines } from './reuse-line.js';

/** What is not in the way now and will be, or is open to others. */
export function warningsFor(
  view: PortView,
  { processes, takeover }: Pick<WhyReport, 'processes' | 'takeover'>,
): readonly Warning[] {
  return [
    restartFails(view, processes),
    moreSpecific(takeover),
    halfGroup(view),
    view.machine.kernel.verified ? undefined : notVerified(view),
  ].filter((warning) => warning !== undefined);
}

/** Its connections go into TIME_WAIT without the flag that the next start would need them to have. */
function restartFails(
  { sockets, protocol }: PortView,
  processes: readonly ProcessReport[],
): Warning | undefined {
  const bare = sockets.filter(
    ({ state, options }) =>
      protocol === 'tcp' && state === 'LISTEN' && options?.ok === true && !options.reuse,
  );
  if (bare.length === 0) return undefined;
  const pids = new Set(bare.flatMap(({ holders }) => holders.map(({ pid }) => pid)));
  const known = processes.filter(({ pid }) => pids.has(pid)).map(reuseAddressLine);
  const languages = new Set(known.map(({ language }) => language));
  const lines =
    known.length === 0 || languages.has(null)
      ? COMMON_LANGUAGES.map((language) => reuseLines[language])
      : known.filter(({ language }, index) => known.findIndex((one) => one.language === language) === index);
  return {
    id: 'listener-without-reuseaddr',
    text: 'the listener has not set SO_REUSEADDR: where it closes connections first, a restart fails while they are in TIME_WAIT; set it before bind',
    lines: lines.map(({ language, line }) => `${language ?? 'any'}: ${line}`),
  };
}

/**
 * Whether another user could take connections from a socket at a wildcard by binding one address of it, whatever flags
 * he sets; null when nothing is at a wildcard.
 */
export function takeoverOf(view: PortView, foresight: Foresight): TakeoverReport | null {
  const wild = view.sockets.find(
    ({ local, state }) => isWildcard(local.host) && (state === 'LISTEN' || state === 'CLOSE'),
  );
  if (wild === undefined || view.protocol === 'udp') return null;
  const host = wild.v6only ? '::1' : '127.0.0.1';
  const address = addressAt(host, wild.local.port);
  const uid = otherThan(view.sockets);
  const request = requestFor(view, address, ['SO_REUSEADDR', 'SO_REUSEPORT'], true);
  // What the port remembers is of binds of that other user, of whom nothing is known.
  const likely = foresight.foresee({ ...request, uid }).filter(({ ifRemembered }) => !ifRemembered);
  const [only] = likely;
  const possible = likely.length === 1 && only !== undefined ? only.verdict.ok : null;
  return {
    address: formatAddress(address),
    possible,
    rule: possible === null ? null : (only?.verdict.rule ?? null),
  };
}

function moreSpecific(takeover: TakeoverReport | null): Warning | undefined {
  if (takeover?.possible !== true) return undefined;
  return {
    id: 'more-specific-bind',
    text: `another user could bind ${takeover.address} with SO_REUSEADDR and so take its connections: the socket at the wildcard has it set and does not listen`,
    lines: [],
  };
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

function otherThan(sockets: readonly ViewedSocket[]): number {
  return Math.max(0, ...sockets.map(({ uid }) => uid)) + 1;
}

/** Listeners of which only some allow others to join. */
function halfGroup({ sockets }: PortView): Warning | undefined {
  const flags = sockets
    .filter(({ state }) => state === 'LISTEN')
    .map(({ options }) => options?.ok && options.reusePort);
  if (!flags.includes(true) || !flags.includes(false)) return undefined;
  return {
    id: 'half-reuseport-group',
    text: 'some listeners here have SO_REUSEPORT and some have not; whether another may join depends on what the kernel remembers of earlier binds',
    lines: [],
  };
}

function notVerified({ machine: { kernel } }: PortView): Warning {
  return {
    id: 'rules-not-verified',
    text: `expected by the rules of ${kernel.name}, which were not compared with this kernel; what was tried counts`,
    lines: [],
  };
}
