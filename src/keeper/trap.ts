import { errorCode } from '../errors.js';
import { close, duplicate, isNonBlocking, O_CLOEXEC, setNonBlocking } from '../kernel/fd.js';
import { type Fd, SyscallError } from '../kernel/libc.js';
import { pidfdGetfd, pidfdOpen } from '../kernel/pidfd.js';
import {
  fdFlags,
  fdsOfSocket,
  isWatchedByEpoll,
  networkNamespace,
  readMemory,
  threadGroup,
} from '../kernel/procfs.js';
import { type Answer, addFd, answer, type Notification, receive, stillWaits } from '../kernel/seccomp.js';
import { decodeSocketAddress } from '../kernel/sockaddr.js';
import {
  BACKLOG_MAX,
  boundDevice,
  IPPROTO_MPTCP,
  IPPROTO_TCP,
  isV6Only,
  listen,
  localAddress,
  netnsCookie,
  reusesPort,
  setReuseAddress,
  setReusePort,
  socketCookie,
  socketInode,
  socketKind,
  steerGroupTo,
} from '../kernel/socket.js';
import { formatAddress, type InetAddress, isWildcard } from '../model/address.js';
import { describeHeld, type HeldSocket, type HeldSockets, type Place } from './held.js';
import type { Notice } from './notices.js';
import { carryOptions } from './socket-options.js';
import { strangersAt } from './strangers.js';
import type { WorkerTree } from './tree.js';

const RUN: Answer = { run: true };
const EADDRINUSE = 98;
/** Sockets that were bound and have not listened yet; programs that bind only to connect never do. */
const PENDING_MAX = 4096;

export interface TrapOptions {
  readonly notifier: Fd;
  readonly held: HeldSockets;
  /** The tree of the worker that runs now. */
  readonly tree: () => WorkerTree | undefined;
  readonly say: (notice: Notice) => void;
  /** A process of the worker listens on the held socket from now on. */
  readonly listened: (held: HeldSocket, pid: number, again: boolean) => void;
  readonly released: (held: HeldSocket) => void;
}

/** What a bind has told of a socket that has not listened yet. */
interface Bound {
  readonly place: Place;
  readonly programReusesPort: boolean;
  /** The held socket that this one is to replace, because it could not be put in its place. */
  readonly replaces?: HeldSocket;
}

/** Answers the worker's calls of bind and listen: learns addresses, and gives held sockets back. */
export class Trap {
  readonly #options: TrapOptions;
  readonly #bound = new Map<bigint, Bound>();

  constructor(options: TrapOptions) {
    this.#options = options;
  }

  /** Answers one call. To be called whenever the notifier is readable. */
  handle(): void {
    const { notifier, say } = this.#options;
    const notification = receive(notifier);
    if (notification === undefined) return;
    let outcome = RUN;
    try {
      outcome = notification.call === 'bind' ? this.#bind(notification) : this.#listen(notification);
    } catch (error) {
      // Whatever we could not do, the server's own call still can.
      const pid = threadGroup(notification.tid) ?? notification.tid;
      if (!isGone(error)) say({ type: 'not-held', pid, why: `${notification.call}: ${String(error)}` });
    }
    answer(notifier, notification.id, outcome);
  }

  #bind(call: Notification): Answer {
    const pid = threadGroup(call.tid);
    if (pid === undefined) return RUN;
    const address = this.#readAddress(call, pid);
    if (address === undefined || address.port === 0) return RUN;
    const fd = Number(BigInt.asIntN(32, call.args[0] ?? 0n));
    return withCopy(pid, fd, (copy) => this.#bindTo(call, { pid, fd, copy, address }));
  }

  #bindTo(call: Notification, bind: { pid: number; fd: number; copy: Fd; address: InetAddress }): Answer {
    const { pid, copy, address } = bind;
    if (!isTcp(copy)) return RUN;
    // Bound already: the kernel says EINVAL.
    if (this.#options.held.byInode(socketInode(copy))) return RUN;
    const place = placeOf(copy, pid, address);
    const programReusesPort = reusesPort(copy);
    const equal = this.#options.held.at(place);
    const free = equal.find((held) => !this.#isServed(held));
    if (free) return this.#giveHeld(call, { ...bind, place, programReusesPort }, free);
    // Ours has SO_REUSEPORT only because we set it: as bare, a second server must not join.
    if (equal.length > 0 && !equal.every((held) => held.programReusesPort)) return { error: EADDRINUSE };
    if (equal.length === 0) this.#releaseOverlapping(place);
    if (this.#isTaken(place, programReusesPort)) return { error: EADDRINUSE };
    setReuseAddress(copy, true);
    this.#remember(copy, { place, programReusesPort });
    return RUN;
  }

  #listen(call: Notification): Answer {
    const pid = threadGroup(call.tid);
    if (pid === undefined) return RUN;
    const fd = Number(BigInt.asIntN(32, call.args[0] ?? 0n));
    return withCopy(pid, fd, (copy) => {
      const held = this.#options.held.byInode(socketInode(copy));
      if (held) {
        // Never the program's own listen: a smaller backlog would cut the queue that clients wait in.
        listen(held.fd, BACKLOG_MAX);
        this.#options.listened(held, pid, true);
        return { value: 0 };
      }
      const bound = this.#bound.get(socketCookie(copy));
      if (bound === undefined) return RUN;
      return this.#learn(copy, pid, bound);
    });
  }

  /** Makes the socket listen and holds it. */
  #learn(copy: Fd, pid: number, { place, programReusesPort, replaces }: Bound): Answer {
    const others = this.#options.held.at(place).filter((held) => held !== replaces);
    if (others.some((held) => !held.programReusesPort && this.#isServed(held))) return { error: EADDRINUSE };
    // Alone on its address, it opens a group that only we steer: a stranger who joins gets no connection.
    const steered = !programReusesPort && strangersAt(place, this.#inodes()).length === 0;
    if (steered) setReusePort(copy, true);
    try {
      listen(copy, BACKLOG_MAX, place.address);
    } catch (error) {
      if (error instanceof SyscallError) return { error: -error.errno };
      throw error;
    }
    if (steered) steer(copy, replaces === undefined ? 0 : 1);
    this.#bound.delete(socketCookie(copy));
    const held = this.#options.held.add({
      fd: duplicate(copy),
      place,
      address: localInetAddress(copy) ?? place.address,
      listened: false,
      programReusesPort,
    });
    if (replaces) {
      this.#options.held.release(replaces);
      if (steered) steer(held.fd, 0);
    }
    this.#options.listened(held, pid, replaces !== undefined);
    return { value: 0 };
  }

  /** Puts the held socket where the program has its fresh one. */
  #giveHeld(
    call: Notification,
    fresh: { pid: number; copy: Fd; place: Place; programReusesPort: boolean },
    held: HeldSocket,
  ): Answer {
    const { pid, copy, place, programReusesPort } = fresh;
    const inode = socketInode(copy);
    const why = this.#whyNotExchanged(pid, inode);
    if (why !== undefined) {
      this.#options.say({
        type: 'warning',
        text: `${describeHeld(held)}: ${why}; clients that wait now are reset`,
      });
      setReuseAddress(copy, true);
      setReusePort(copy, true);
      this.#remember(copy, { place, programReusesPort, replaces: held });
      return RUN;
    }
    const notSet = carryOptions(copy, held.fd);
    if (notSet.length > 0) {
      const text = `${describeHeld(held)} keeps its former ${notSet.join(', ')}`;
      this.#options.say({ type: 'warning', text });
    }
    // The mode belongs to the socket, and nobody alive has this one: it becomes what the program expects.
    const nonBlocking = isNonBlocking(copy);
    if (isNonBlocking(held.fd) !== nonBlocking) setNonBlocking(held.fd, nonBlocking);
    for (const at of fdsOfSocket(pid, inode)) {
      const closeOnExec = (fdFlags(pid, at) ?? 0) & O_CLOEXEC;
      addFd(this.#options.notifier, call.id, held.fd, { at, closeOnExec });
    }
    held.claimed = true;
    return { value: 0 };
  }

  /** Why another socket cannot stand in for this one without the program noticing; undefined when it can. */
  #whyNotExchanged(pid: number, inode: number): string | undefined {
    if (isWatchedByEpoll(pid, inode))
      return `process ${pid} watched its socket with epoll before it was bound`;
    const others =
      this.#options
        .tree()
        ?.holdersOf(inode)
        .filter((other) => other.pid !== pid) ?? [];
    if (others.length > 0) return `process ${others[0]?.pid} shares the socket that ${pid} binds`;
    return undefined;
  }

  /** Whether a process of the worker has the held socket open and means to serve it. */
  #isServed(held: HeldSocket): boolean {
    if (!held.claimed) return false;
    return (this.#options.tree()?.holdersOf(held.inode) ?? []).length > 0;
  }

  /** A server that changed its address would meet its former self: those sockets go. */
  #releaseOverlapping(place: Place): void {
    for (const held of this.#options.held.overlapping(place)) {
      if (held.listened || this.#isServed(held)) continue;
      if (held.confirmed)
        this.#options.say({ type: 'released', address: describeHeld(held), reason: 'moved' });
      this.#options.held.release(held);
      this.#options.released(held);
    }
  }

  /** Whether somebody else listens there so that the bind is to fail; says who. */
  #isTaken(place: Place, programReusesPort: boolean): boolean {
    const [stranger] = strangersAt(place, this.#inodes());
    if (stranger === undefined) return false;
    const by = stranger.who;
    const joins = programReusesPort && by?.keeper === undefined;
    if (!joins) this.#options.say({ type: 'taken', address: formatAddress(place.address), by });
    // The kernel refuses by itself, but for another keeper's socket, whose group gives a new member nothing.
    return programReusesPort && !joins;
  }

  #inodes(): ReadonlySet<number> {
    return new Set(this.#options.held.all().map((held) => held.inode));
  }

  #remember(copy: Fd, bound: Bound): void {
    for (const oldest of this.#bound.keys()) {
      if (this.#bound.size < PENDING_MAX) break;
      this.#bound.delete(oldest);
    }
    this.#bound.set(socketCookie(copy), bound);
  }

  #readAddress(call: Notification, pid: number): InetAddress | undefined {
    const bytes = readMemory(pid, call.args[1] ?? 0n, Number(call.args[2] ?? 0n));
    if (!stillWaits(this.#options.notifier, call.id)) return undefined;
    const address = decodeSocketAddress(bytes);
    return address?.family === 'unix' ? undefined : address;
  }
}

/** Lends a copy of the process's fd for the time of `use`: kept longer, it would keep connections from closing. */
function withCopy(pid: number, fd: number, use: (copy: Fd) => Answer): Answer {
  const pidfd = pidfdOpen(pid);
  try {
    const copy = pidfdGetfd(pidfd, fd);
    try {
      return use(copy);
    } finally {
      close(copy);
    }
  } finally {
    close(pidfd);
  }
}

function isTcp(fd: Fd): boolean {
  try {
    const { stream, protocol } = socketKind(fd);
    return stream && (protocol === IPPROTO_TCP || protocol === IPPROTO_MPTCP);
  } catch (error) {
    if (errorCode(error) === 'ENOTSOCK') return false;
    throw error;
  }
}

function placeOf(fd: Fd, pid: number, address: InetAddress): Place {
  return {
    address,
    // A bind to one address sets or ignores the flag by itself, so it tells two sockets apart on [::] alone.
    v6only: address.family === 'ipv6' && isWildcard(address) && isV6Only(fd),
    device: boundDevice(fd),
    netns: namespaceOf(fd, pid),
  };
}

/** The socket's own namespace, which may be another than its process's by now. */
function namespaceOf(fd: Fd, pid: number): string {
  try {
    return String(netnsCookie(fd));
  } catch (error) {
    if (errorCode(error) !== 'ENOPROTOOPT') throw error;
    return networkNamespace(pid) ?? '';
  }
}

function localInetAddress(fd: Fd): InetAddress | undefined {
  const address = localAddress(fd);
  return address?.family === 'unix' ? undefined : address;
}

function steer(fd: Fd, index: number): void {
  try {
    steerGroupTo(fd, index);
  } catch (error) {
    // MPTCP listeners take no program (EOPNOTSUPP); they are held all the same.
    if (errorCode(error) !== 'EOPNOTSUPP') throw error;
  }
}

/** The caller died or closed its fd while we looked: there is nobody to hold anything for. */
function isGone(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'ESRCH' || code === 'EBADF' || code === 'ENOENT';
}
