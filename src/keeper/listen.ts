import { lstatSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { errorCode, HoldfastError } from '../errors.js';
import { close, duplicate, isOpen, setCloseOnExec } from '../kernel/fd.js';
import type { Fd } from '../kernel/libc.js';
import {
  BACKLOG_MAX,
  bind,
  isListening,
  isV6Only,
  listen,
  localAddress,
  setReuseAddress,
  setReusePort,
  setV6Only,
  socketInode,
  streamSocket,
} from '../kernel/socket.js';
import { formatAddress, type SocketAddress } from '../model/address.js';
import { ownNamespace, placeOf } from './child-socket.js';
import type { ReusePortGroups } from './groups.js';
import { FIRST_FD, type HandedSocket } from './hand-over.js';
import { acceptClients, type HeldSocket, type HeldSockets, type Place } from './held.js';
import { type ListenRequest, parseListen, withoutIpv6 } from './listen-address.js';
import { describeStranger } from './notices.js';
import { STORED_NAME } from './service-manager.js';
import { strangersAt } from './strangers.js';

/**
 * Binds and listens at one `--listen` address, with the keeper's own privilege.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_ADDRESS_TAKEN names who has it; ERR_HOLDFAST_ADDRESS for all else.
 */
export async function bindListened(
  text: string,
  held: HeldSockets,
  groups: ReusePortGroups,
): Promise<HandedSocket> {
  const request = requestOf(text);
  const kept = keptFromBefore(request, held);
  if (kept !== undefined) {
    kept.listened = true;
    return { request, held: kept, inherited: false };
  }
  if (request.address.family === 'unix') await removeStaleSocket(request.address.path);
  const fd = openAt(request);
  const address = localAddress(fd) ?? request.address;
  const { backlog } = request;
  const place = ownPlace(fd);
  const socket = held.add({ fd, address, place, backlog, listened: true, programReusesPort: false });
  if (place !== undefined) groups.opened(socket);
  return { request, held: socket, inherited: false };
}

function requestOf(text: string): ListenRequest {
  return hasIpv6() ? parseListen(text) : withoutIpv6(parseListen(text));
}

/** All of them in order, or none: what was bound before one failed is closed with the others by the keeper. */
export async function bindAll(
  texts: readonly string[],
  held: HeldSockets,
  groups: ReusePortGroups,
): Promise<readonly HandedSocket[]> {
  const handed: HandedSocket[] = [];
  try {
    for (const text of texts) handed.push(await bindListened(text, held, groups));
    return handed;
  } catch (error) {
    for (const one of handed) removeSocketFile(one);
    throw error;
  }
}

/**
 * Looks whether the addresses can be bound, and keeps none of them. `held`: those that a former keeper will leave to us.
 *
 * @throws {HoldfastError} as `bindAll`.
 */
export function tryAll(texts: readonly string[], held: readonly string[]): void {
  for (const text of texts) {
    const request = requestOf(text);
    if (request.address.family === 'unix' || held.includes(formatAddress(request.address))) continue;
    close(openAt(request));
  }
}

/**
 * Sockets of the same addresses for a new generation: where that can be, its own in the group of the former's, else the
 * very same ones (unix, a service manager's, another user's), from which both generations take connections.
 */
export async function handedAgain(
  former: readonly HandedSocket[],
  held: HeldSockets,
  groups: ReusePortGroups,
): Promise<readonly HandedSocket[]> {
  return former.map((one) => ({ ...one, held: joinOrShare(one, held, groups) }));
}

function joinOrShare(
  { request, held: former, inherited }: HandedSocket,
  held: HeldSockets,
  groups: ReusePortGroups,
): HeldSocket {
  const { place, address, backlog, programReusesPort } = former;
  const socket = { place, address, backlog, programReusesPort, listened: true, inherited };
  const canJoin = place !== undefined && !inherited && isListening(former.fd);
  if (!canJoin) return held.add({ ...socket, fd: duplicate(former.fd) });
  groups.open([former]);
  const fd = streamSocket(address.family);
  try {
    const joined = held.add({ ...socket, fd: listenAt(fd, { ...request, address }, { joins: true }) });
    groups.joined(joined);
    return joined;
  } catch (error) {
    close(fd);
    throw explain(request, error);
  }
}

/** Removes the file of a unix socket that the keeper made. */
export function removeSocketFile({ request, inherited }: HandedSocket): void {
  const { address } = request;
  if (!inherited && address.family === 'unix' && !address.path.startsWith('@'))
    rmSync(address.path, { force: true });
}

/** The socket of a former life of this keeper, which the service manager has kept meanwhile. */
function keptFromBefore({ address, v6only }: ListenRequest, held: HeldSockets): HeldSocket | undefined {
  if (address.family === 'unix') return held.atPath(address.path);
  return held.at({ address, v6only, device: '', netns: ownNamespace() })[0];
}

/**
 * The sockets that a service manager started us with (LISTEN_FDS), taken over and no longer announced. Those from its
 * fd store were held by a former life of this keeper: they are held again, and handed to nobody who does not bind.
 */
export function inheritedSockets(env: NodeJS.ProcessEnv, held: HeldSockets): readonly HandedSocket[] {
  if (env.LISTEN_PID !== String(process.pid)) return [];
  const names = env.LISTEN_FDNAMES?.split(':') ?? [];
  const fds = announcedFds(env);
  for (const name of ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID']) delete env[name];
  return fds
    .map((fd) => inheritedSocket(fd, names[fd - FIRST_FD] ?? '', held))
    .filter(({ request }) => !request.name.startsWith(STORED_NAME));
}

/** Inodes of the sockets that `inheritedSockets` is going to give. */
export function inheritedInodes(env: NodeJS.ProcessEnv): ReadonlySet<number> {
  return new Set(announcedFds(env).map(socketInode));
}

/** The fds that are meant for this process, and open. @see sd_listen_fds(3) */
function announcedFds(env: NodeJS.ProcessEnv): readonly Fd[] {
  if (env.LISTEN_PID !== String(process.pid)) return [];
  const fds = Array.from({ length: Number(env.LISTEN_FDS ?? 0) }, (_, index) => FIRST_FD + index);
  return fds.filter(isOpen);
}

function inheritedSocket(fd: Fd, name: string, held: HeldSockets): HandedSocket {
  setCloseOnExec(fd, true);
  const address = localAddress(fd);
  if (address === undefined) {
    throw new HoldfastError('ERR_HOLDFAST_ADDRESS', `fd ${fd} of LISTEN_FDS is no IPv4, IPv6 or unix socket`);
  }
  const request = { address, name, v6only: isV6Only(fd), spelling: spellingOf(address) };
  const listened = !name.startsWith(STORED_NAME);
  const known = held.byInode(socketInode(fd));
  if (known !== undefined) {
    close(fd);
    known.listened ||= listened;
    known.inherited ||= listened;
    return { request, held: known, inherited: true };
  }
  const place = ownPlace(fd);
  const socket = held.add({ fd, address, place, listened, inherited: listened, programReusesPort: false });
  // A former life of ours may have left it refusing.
  if (!isListening(fd)) acceptClients(socket);
  if (!listened) {
    socket.confirmed = true;
    socket.unservedSince = performance.now();
    socket.failingSince = socket.unservedSince;
  }
  return { request, held: socket, inherited: true };
}

function spellingOf(address: SocketAddress): string {
  return address.family === 'unix' ? address.path : formatAddress(address);
}

function hasIpv6(): boolean {
  try {
    close(streamSocket('ipv6'));
    return true;
  } catch (error) {
    if (errorCode(error) === 'EAFNOSUPPORT') return false;
    throw error;
  }
}

function openAt(request: ListenRequest): Fd {
  let fd: Fd | undefined;
  try {
    fd = streamSocket(request.address.family);
    return listenAt(fd, request);
  } catch (error) {
    if (fd !== undefined) close(fd);
    throw explain(request, error);
  }
}

function listenAt(
  fd: Fd,
  { address, v6only, backlog }: ListenRequest,
  { joins = false }: { readonly joins?: boolean } = {},
): Fd {
  if (address.family === 'ipv6') setV6Only(fd, v6only);
  if (address.family !== 'unix') setReuseAddress(fd, true);
  if (joins) setReusePort(fd, true);
  bind(fd, address);
  // Only after bind: set before it, a second keeper would join instead of being refused.
  if (address.family !== 'unix') setReusePort(fd, true);
  listen(fd, backlog ?? BACKLOG_MAX, address);
  return fd;
}

function explain(request: ListenRequest, error: unknown): unknown {
  const where = formatAddress(request.address);
  switch (errorCode(error)) {
    case 'EADDRINUSE': {
      const who = strangerAt(request);
      const text = `--listen ${request.spelling}: ${where} is taken${who === undefined ? '' : ` by ${who}`}`;
      return new HoldfastError('ERR_HOLDFAST_ADDRESS_TAKEN', text, error);
    }
    case 'EACCES': {
      const text = `--listen ${request.spelling}: not allowed to bind ${where}; run the keeper as root, with --user for the server`;
      return new HoldfastError('ERR_HOLDFAST_ADDRESS', text, error);
    }
    case 'EAFNOSUPPORT':
    case 'EADDRNOTAVAIL': {
      const text = `--listen ${request.spelling}: this machine has no address ${where}`;
      return new HoldfastError('ERR_HOLDFAST_ADDRESS', text, error);
    }
    default:
      return error instanceof HoldfastError
        ? error
        : new HoldfastError('ERR_HOLDFAST_ADDRESS', `--listen ${request.spelling}: ${String(error)}`, error);
  }
}

function strangerAt({ address, v6only }: ListenRequest): string | undefined {
  if (address.family === 'unix') return undefined;
  const place: Place = { address, v6only, device: '', netns: ownNamespace() };
  const [stranger] = strangersAt(place, () => false);
  return stranger === undefined ? undefined : describeStranger(stranger.who);
}

function ownPlace(fd: Fd): Place | undefined {
  const address = localAddress(fd);
  return address === undefined || address.family === 'unix' ? undefined : placeOf(fd, address);
}

/** Removes a unix socket file that nobody listens on any more; one that answers is somebody's. */
async function removeStaleSocket(path: string): Promise<void> {
  if (path.startsWith('@') || lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const code = await new Promise<string | undefined>((resolve) => {
    const client = connect(path)
      .once('connect', () => {
        client.destroy();
        resolve(undefined);
      })
      .once('error', (error) => resolve(errorCode(error) ?? 'UNKNOWN'));
  });
  if (code === 'ECONNREFUSED') rmSync(path, { force: true });
}
