import { type Family, type Host, isFourHost, isWildcardHost } from './host.js';
import type { RuleId } from './rules.js';
import { type Id, type Owner, ownerOf, type PortBucket, type Socket, type World } from './world.js';

/** What is known of a socket that asks for a port. */
export type Asker = Pick<
  Socket,
  'id' | 'protocol' | 'family' | 'uid' | 'reuse' | 'reusePort' | 'v6only' | 'device' | 'local' | 'group'
>;

/** How strictly a port is searched for. @see inet_csk_get_port() */
export interface Strictness {
  /** SO_REUSEADDR on both helps. False for a port that the kernel chooses, unless ip_autobind_reuse is set. */
  readonly relax: boolean;
  /** SO_REUSEPORT on both helps. False for a port that the kernel chooses. */
  readonly shareByReusePort: boolean;
}

export const EXPLICIT: Strictness = { relax: true, shareByReusePort: true };

export interface Conflict {
  readonly holder: Owner;
  readonly rule: RuleId;
}

interface Addressed {
  readonly family: Family;
  readonly local: Host;
  readonly v6only: boolean;
}

/**
 * Whether two sockets share an address. A wildcard stands for all addresses where `oneWild` or `otherWild` says so.
 *
 * @see ipv4_rcv_saddr_equal(), ipv6_rcv_saddr_equal() in net/ipv4/inet_connection_sock.c
 */
export function addressesOverlap(
  one: Addressed,
  other: Addressed,
  oneWild = true,
  otherWild = true,
): boolean {
  const sameFour = (): boolean =>
    !other.v6only &&
    (one.local.four === other.local.four ||
      (oneWild && one.local.four === 0) ||
      (otherWild && other.local.four === 0));
  if (one.family === 'ipv4') return sameFour();
  const otherKind = other.family === 'ipv4' ? 'mapped' : other.local.kind;
  const { kind } = one.local;
  if (kind === 'mapped' && otherKind === 'mapped') return sameFour();
  if (kind === 'any' && otherKind === 'any') return true;
  if (otherKind === 'any' && otherWild && !(other.v6only && kind === 'mapped')) return true;
  if (kind === 'any' && oneWild && !(one.v6only && otherKind === 'mapped')) return true;
  return other.family === 'ipv6' && one.local.text === other.local.text;
}

/** Why the two cannot both have the port, whatever their addresses; undefined when they can. @see inet_bind_conflict() */
export function conflictOfFlags(
  asker: Asker,
  holder: Owner,
  { relax, shareByReusePort }: Strictness,
  world: World,
): RuleId | undefined {
  if (asker.device !== '' && holder.device !== '' && asker.device !== holder.device) return undefined;
  const { rules } = world.kernel;
  const isTimeWait = holder.state === 'TIME_WAIT';
  const flags = flagsOf(holder, rules.flagsReadAtCheck);
  const holderReuse = flags.reuse || (isTimeWait && !rules.timeWaitNeedsReuse);
  const bothReuse = asker.reuse && holderReuse;
  const isListener = holder.state === 'LISTEN' && rules.listenerBlocksReuse;
  if (rules.bindRule === 'manual page') return bothReuse && !isListener ? undefined : 'address-in-use';
  if (rules.bindRule === 'netsem')
    return asker.reuse && holder.state !== 'LISTEN' ? undefined : 'address-in-use';
  const sameUser = 'substate' in holder ? rules.timeWaitIgnoresUid : holder.uid === asker.uid;
  const bothReusePort = asker.reusePort && flags.reusePort;
  if (bothReuse && !isListener) {
    if (!relax) return 'automatic-port-not-shared';
    if (!shareByReusePort && bothReusePort && sameUser) return 'automatic-port-not-shared';
    return undefined;
  }
  if (shareByReusePort && bothReusePort && sameUser) return undefined;
  if (!shareByReusePort) return 'automatic-port-not-shared';
  if (bothReusePort) return 'reuseport-same-user';
  if (isTimeWait) return 'time-wait-had-no-reuseaddr';
  return bothReuse ? 'listener-not-shared' : 'address-in-use';
}

function flagsOf(
  holder: Owner,
  asTheyAre: boolean,
): { readonly reuse: boolean; readonly reusePort: boolean } {
  if (asTheyAre || 'substate' in holder) return holder;
  return { reuse: holder.boundReuse, reusePort: holder.boundReusePort };
}

/**
 * Who stands in the way of the port. Only sockets of the port's own buckets are looked at, so the cost does not grow
 * with all others.
 *
 * @see inet_csk_bind_conflict(), inet_bhash2_conflict(), inet_bhash2_addr_any_conflict()
 */
export function findConflict(
  world: World,
  asker: Asker,
  bucket: PortBucket,
  strictness: Strictness,
): Conflict | undefined {
  if (isWildcardHost(asker.local) || !world.kernel.rules.specificBindLooksAtTwoBuckets) {
    for (const address of bucket.addresses.values()) {
      const found = among(world, asker, address.owners, strictness, true);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  const isFour = isFourHost(asker.local);
  for (const key of isFour ? ['::', '0.0.0.0', asker.local.key] : ['::', asker.local.key]) {
    const found = among(world, asker, bucket.addresses.get(key)?.owners ?? [], strictness, false);
    if (found !== undefined) return found;
  }
  return undefined;
}

function among(
  world: World,
  asker: Asker,
  owners: readonly Id[],
  strictness: Strictness,
  compareAddresses: boolean,
): Conflict | undefined {
  const isFour = isFourHost(asker.local);
  for (const id of owners) {
    if (id === asker.id) continue;
    const holder = ownerOf(world, id);
    if (compareAddresses ? !overlapForBind(world, asker, holder) : isFour && holder.v6only) continue;
    const rule = conflictOfFlags(asker, holder, strictness, world);
    if (rule !== undefined) return { holder, rule };
  }
  return undefined;
}

function overlapForBind(world: World, asker: Asker, holder: Owner): boolean {
  if (!world.kernel.rules.dualStackConnectionBlocksV4Wildcard) {
    // Left out: a real IPv6 address is nothing to an IPv4 socket.
    const isFour = isFourHost(asker.local);
    if (isFour && holder.family === 'ipv6' && holder.local.kind === 'real') return false;
  }
  return addressesOverlap(asker, holder);
}

/** Whether the bucket's memory of SO_REUSEPORT covers the socket, so that nothing else is checked. @see sk_reuseport_match() */
export function matchesReusePortCache(asker: Asker, { reusePort }: PortBucket): boolean {
  return (
    reusePort !== null &&
    asker.reusePort &&
    asker.group === null &&
    reusePort.uid === asker.uid &&
    addressesOverlap(reusePort, asker, true, false)
  );
}
