import { type Asker, EXPLICIT, findConflict, matchesReusePortCache, type Strictness } from './conflict.js';
import type { Host } from './host.js';
import type { RuleId } from './rules.js';
import type { AddressBucket, Draft, Id, PortBucket, World } from './world.js';

/** Whether a program may have the port, by which rule, and who stands in the way. */
export interface PortVerdict {
  readonly rule: RuleId;
  readonly holder?: Id;
}

/** What a bind to that port would meet; without `holder` it succeeds. Changes nothing. @see inet_csk_get_port() */
export function judgePort(world: World, asker: Asker, port: number): PortVerdict {
  const bucket = world.ports.get(port);
  if (bucket === undefined) return { rule: 'port-free' };
  const { rules } = world.kernel;
  if (rules.reuseaddrCache && bucket.allReuse && asker.reuse) return { rule: 'reuseaddr-remembered' };
  const conflict = findConflict(world, asker, bucket, EXPLICIT);
  if (rules.reuseportCache && matchesReusePortCache(asker, bucket)) {
    return { rule: conflict === undefined ? 'port-shared' : 'reuseport-remembered' };
  }
  if (conflict === undefined) return { rule: 'port-shared' };
  return { rule: conflict.rule, holder: conflict.holder.id };
}

/** Makes the socket an owner of the port; what was checked before is the caller's. @see inet_csk_update_fastreuse() */
export function takePort(draft: Draft, id: Id, port: number): void {
  const socket = draft.socket(id);
  const bucket = draft.ports.get(port) ?? emptyBucket(port, false, true);
  const { uid, family, local, v6only } = socket;
  const remembered = matchesReusePortCache(socket, bucket)
    ? bucket.reusePort
    : { uid, family, local, v6only };
  draft.ports.set(port, {
    ...bucket,
    reusePort: socket.reusePort ? remembered : null,
    allReuse: bucket.allReuse && socket.reuse && socket.state !== 'LISTEN',
    connectOnly: false,
    addresses: marked(bucket.addresses, local.key),
  });
  own(draft, id, port, local, false);
  draft.change(id, { boundReuse: socket.reuse, boundReusePort: socket.reusePort });
}

/** Makes the socket an owner of a port that connect() chose. */
export function takePortToConnect(draft: Draft, id: Id, port: number): void {
  if (!draft.ports.has(port)) draft.ports.set(port, emptyBucket(port, true, false));
  own(draft, id, port, draft.socket(id).local, true);
}

/** A connection has the port of the listener that it came to. @see __inet_inherit_port() */
export function inheritPort(draft: Draft, id: Id, port: number): void {
  if (!draft.kernel.rules.acceptedHoldPort) return;
  if (!draft.ports.has(port)) draft.ports.set(port, emptyBucket(port, false, false));
  own(draft, id, port, draft.socket(id).local, false);
}

/** Gives the port up. `shownPort` stays. @see __inet_put_port() */
export function releasePort(draft: Draft, id: Id): void {
  const { port, bucket } = draft.socket(id);
  if (port === 0) return;
  if (bucket !== null) disown(draft, id, port, bucket);
  draft.change(id, { port: 0, bucket: null, portByConnect: false });
}

/** Gives the socket another local address, in its port's buckets too. Nothing is checked. @see __inet_bhash2_update_saddr() */
export function moveTo(draft: Draft, id: Id, local: Host): void {
  const { port, bucket, portByConnect } = draft.socket(id);
  draft.change(id, { local });
  if (port === 0 || bucket === null || bucket === local.key) return;
  if (!draft.kernel.rules.connectMovesWildcard) return;
  const place = draft.ports.get(port);
  if (place === undefined) return;
  const addresses = new Map(place.addresses);
  leave(draft, addresses, bucket, id);
  join(addresses, local.key, id, portByConnect);
  draft.ports.set(port, { ...place, addresses });
  draft.change(id, { bucket: local.key });
}

/** A TIME_WAIT entry becomes an owner beside its socket, which leaves later. */
export function ownAsTimeWait(draft: Draft, id: Id, port: number, key: string): void {
  const bucket = draft.ports.get(port);
  if (bucket === undefined) return;
  const addresses = new Map(bucket.addresses);
  join(addresses, key, id, false);
  draft.ports.set(port, { ...bucket, addresses });
}

/** @see inet_twsk_bind_unhash() */
export function disown(draft: Draft, id: Id, port: number, key: string): void {
  const bucket = draft.ports.get(port);
  if (bucket === undefined) return;
  const addresses = new Map(bucket.addresses);
  leave(draft, addresses, key, id);
  if (addresses.size === 0) {
    draft.ports.delete(port);
    return;
  }
  const isConnectOnly =
    draft.kernel.rules.connectOnlyRestored && [...addresses.values()].every(({ connectOnly }) => connectOnly);
  if (isConnectOnly && !bucket.connectOnly) draft.apply('connect-only-again');
  draft.ports.set(port, {
    ...bucket,
    addresses,
    connectOnly: bucket.connectOnly || isConnectOnly,
    reusePort: isConnectOnly ? null : bucket.reusePort,
  });
}

/** Whether the kernel may choose the port for a bind. @see inet_csk_find_open_port() */
export function isOpenPort(world: World, asker: Asker, port: number, strictness: Strictness): boolean {
  const bucket = world.ports.get(port);
  return bucket === undefined || findConflict(world, asker, bucket, strictness) === undefined;
}

function emptyBucket(port: number, connectOnly: boolean, allReuse: boolean): PortBucket {
  return { port, connectOnly, reusePort: null, allReuse, addresses: new Map() };
}

function own(draft: Draft, id: Id, port: number, local: Host, connectOnly: boolean): void {
  const bucket = draft.ports.get(port);
  if (bucket === undefined) throw new Error(`port ${port} has no bucket`);
  const addresses = new Map(bucket.addresses);
  const former = draft.socket(id).bucket;
  if (former === null || draft.socket(id).port !== port) join(addresses, local.key, id, connectOnly);
  draft.ports.set(port, { ...bucket, addresses });
  draft.change(id, { port, bucket: local.key });
}

function join(addresses: Map<string, AddressBucket>, key: string, id: Id, connectOnly: boolean): void {
  const address = addresses.get(key);
  if (address === undefined) addresses.set(key, { connectOnly, owners: [id] });
  else addresses.set(key, { ...address, owners: [id, ...address.owners] });
}

/** Somebody has bound there: no longer for connect() alone. */
function marked(
  addresses: ReadonlyMap<string, AddressBucket>,
  key: string,
): ReadonlyMap<string, AddressBucket> {
  const address = addresses.get(key);
  return address?.connectOnly === true
    ? new Map(addresses).set(key, { ...address, connectOnly: false })
    : addresses;
}

function leave(draft: Draft, addresses: Map<string, AddressBucket>, key: string, id: Id): void {
  const address = addresses.get(key);
  if (address === undefined) return;
  const owners = address.owners.filter((owner) => owner !== id);
  if (owners.length === 0) {
    addresses.delete(key);
    return;
  }
  const allByConnect = owners.every((owner) => isByConnect(draft, owner));
  const connectOnly = address.connectOnly || (draft.kernel.rules.connectOnlyRestored && allByConnect);
  addresses.set(key, { connectOnly, owners });
}

function isByConnect(world: World, id: Id): boolean {
  return (world.sockets.get(id) ?? world.timeWaits.get(id))?.portByConnect === true;
}
