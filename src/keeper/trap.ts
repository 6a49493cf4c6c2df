import { errorCode, isForbidden } from '../errors.js';
import { close, duplicate, isNonBlocking, O_CLOEXEC, ownerOf, setNonBlocking } from '../kernel/fd.js';
import { type Fd, SyscallError } from '../kernel/libc.js';
import { oneAtATime } from '../kernel/lock.js';
import { isProcess } from '../kernel/pidfd.js';
import {
  CAP_NET_BIND_SERVICE,
  type EpollRegistration,
  epollRegistrations,
  fdFlags,
  fdsOfSocket,
  hasCapability,
  type OpenFile,
  openFiles,
  readMemory,
  socketAt,
  threadGroup,
  userNamespace,
} from '../kernel/procfs.js';
import type { Answer, Notification, Notifier, TrappedCall } from '../kernel/seccomp.js';
import { decodeSocketAddress } from '../kernel/sockaddr.js';
import {
  BACKLOG_MAX,
  bind,
  changeOwner,
  IPPROTO_IPV6,
  IPPROTO_MPTCP,
  IPV6_V6ONLY,
  listen,
  localAddress,
  SO_BINDTODEVICE,
  SO_REUSEPORT,
  SOL_SOCKET,
  setReuseAddress,
  setReusePort,
  setSocketOption,
  setV6Only,
  socketInode,
  streamSocket,
  tcpState,
} from '../kernel/socket.js';
import { sysctlNumber } from '../kernel/sysctl.js';
import { formatAddress, type InetAddress } from '../model/address.js';
import { TCP_STATES } from '../model/tcp-state.js';
import {
  type ChildSocket,
  lookAtSocket,
  mayBeChosen,
  ownNamespace,
  type SocketSettings,
  withCopy,
} from './child-socket.js';
import { closedByYama } from './closed-process.js';
import type { ReusePortGroups } from './groups.js';
import { acceptClients, describeHeld, type HeldSocket, type HeldSockets, type Place } from './held.js';
import type { Notice } from './notices.js';
import { rewatch } from './rewatch.js';
import { carryOptions } from './socket-options.js';
import { type StrangerSocket, strangersAt } from './strangers.js';
import { currentHolders, fdsOrUnknown, type WorkerTree } from './tree.js';

const RUN: Answer = { run: true };
const EACCES = 13;
const EADDRINUSE = 98;
/** Sockets that were bound and have not listened yet; programs that bind only to connect never do. */
const BOUND_MAX = 4096;
const MADE_LOOK_MS = 100;
/** Of more binds without a listen than this only the last are known. */
const UNLISTENED_MAX = 16;

/** Who has called: a worker, as the trap needs to know it. */
export interface Caller {
  /** Number of the worker, unique in this keeper. */
  readonly id: number;
  /** Undefined as long as only its first process can have called. */
  readonly tree: WorkerTree | undefined;
  /** The held sockets of its generation. */
  readonly held: HeldSockets;
  /** Those of the generation that it is to take over from, or has not taken every address from yet. */
  readonly predecessor: HeldSockets | undefined;
  /** Addresses that it has tried to bind since it last listened anywhere. Whether a bind succeeded is not known. */
  readonly unlistened: Map<string, InetAddress>;
  /**
   * A standby waits in its listen until it is needed, or, false, is to end: settles then. Undefined for a worker that is
   * to serve at once.
   */
  parked(): Promise<boolean> | undefined;
}

export interface TrapOptions {
  /** A process of the worker listens on a socket that is not to be held: port 0, unix. */
  readonly letListen: (caller: Caller, pid: number, fd: number) => void;
  /** A process of the worker serves an address that cannot be held. */
  readonly servesUnheld: (caller: Caller) => void;
  readonly notifier: Notifier;
  /** Another keeper has answered its calls before: sockets may have been bound of which this one knows nothing. */
  readonly isTakenOver?: boolean;
  /** Whether fds may be copied out of the worker; otherwise the keeper makes the sockets. */
  readonly mayCopy: boolean;
  /** Whose process that is; undefined when nobody's who runs now. */
  readonly whose: (pid: number) => Caller | undefined;
  /** Whether any generation has a held socket with this inode. */
  readonly isHeld: (inode: number) => boolean;
  /** Whether a process of any worker has the socket open. */
  readonly isOpen: (inode: number) => boolean;
  readonly groups: ReusePortGroups;
  /** By whose lock keepers of one network namespace learn addresses in turn. Default: the namespace itself. */
  readonly turns?: string;
  readonly say: (notice: Notice) => void;
  /** A process of the worker listens on the held socket from now on. */
  readonly listened: (caller: Caller, held: HeldSocket, pid: number, again: boolean) => void;
}

/** What a bind has told of a socket that has not listened yet. */
interface Bound {
  readonly place: Place;
  readonly programReusesPort: boolean;
  /** The held socket that this one is to replace, because it could not be put in its place. */
  readonly replaces?: HeldSocket;
  /** It joins the group of its predecessor's sockets, and gets connections when that generation hands over. */
  readonly joins?: readonly HeldSocket[];
  /** The socket itself where the keeper made it. */
  readonly made?: Fd;
}

/** The calls that have to be trapped. Where fds cannot be copied, V6ONLY must be known when it is set. */
export function trappedCalls(mayCopy: boolean): readonly TrappedCall[] {
  return mayCopy ? ['bind', 'listen'] : ['bind', 'listen', 'setsockopt'];
}

/** Answers the worker's calls of bind and listen: learns addresses, and gives held sockets back. */
export class Trap {
  readonly #options: TrapOptions;
  /** Calls that wait for something before they are answered. */
  readonly #pending = new Map<bigint, Notification>();
  /** By inode. */
  readonly #bound = new Map<number, Bound>();
  /** What programs have set before bind, by inode; only where sockets cannot be copied. */
  readonly #settings = new Map<number, SocketSettings>();
  #saidLost = false;
  #madeLook: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: TrapOptions) {
    this.#options = options;
  }

  /** Answers one call, and gives it. To be called whenever the notifier is readable. */
  handle(): Notification | undefined {
    const call = this.#options.notifier.receive();
    if (call !== undefined) this.#handle(call);
    return call;
  }

  /** Calls that are not answered yet. */
  get pending(): readonly Notification[] {
    return [...this.#pending.values()];
  }

  /** Goes on with calls that another keeper has received and not answered. */
  resume(calls: readonly Notification[]): void {
    for (const call of calls) if (this.#options.notifier.stillWaits(call.id)) this.#handle(call);
  }

  /** Has calls run of which nobody knows any more what they are. */
  letRun(ids: readonly bigint[]): void {
    for (const id of ids) this.#options.notifier.answer(id, RUN);
  }

  #handle(call: Notification): void {
    try {
      const outcome = this.#decide(call);
      if (outcome instanceof Promise) {
        this.#pending.set(call.id, call);
        outcome.then(
          (late) => this.#answer(call, late),
          (error: unknown) => this.#runAsItIs(call, error),
        );
      } else {
        this.#answer(call, outcome);
      }
    } catch (error) {
      this.#runAsItIs(call, error);
    }
  }

  /** Whatever we could not do, the server's own call still can. */
  #runAsItIs(call: Notification, error: unknown): void {
    this.#answer(call, RUN);
    if (!isGone(error)) this.#sayNotHeld(call, error);
  }

  #answer(call: Notification, outcome: Answer): void {
    this.#pending.delete(call.id);
    if (!this.#stopped) this.#options.notifier.answer(call.id, outcome);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#madeLook);
    for (const { made } of this.#bound.values()) if (made !== undefined) close(made);
    this.#bound.clear();
  }

  #decide(call: Notification): Answer | Promise<Answer> {
    // What /proc tells of a thread is long; most callers are their process's first one.
    const pid = isProcess(call.tid) ? call.tid : threadGroup(call.tid);
    if (pid === undefined) return RUN;
    const caller = this.#options.whose(pid);
    if (caller === undefined) return RUN;
    const fd = Number(BigInt.asIntN(32, call.args[0] ?? 0n));
    switch (call.call) {
      case 'bind': {
        const address = this.#readAddress(call, pid);
        if (address === undefined || address.port === 0) return RUN;
        return this.#withSocket(pid, fd, (socket) => this.#bind(call, caller, socket, address));
      }
      case 'listen': {
        const outcome = this.#listenOn(pid, fd, (socket) => this.#listen(call, caller, socket));
        // A program that looks for a free port has found one.
        if (outcome instanceof Promise || !('error' in outcome)) caller.unlistened.clear();
        if (outcome === RUN) queueMicrotask(() => this.#options.letListen(caller, pid, fd));
        return outcome;
      }
      case 'setsockopt':
        return this.#noteSetting(call, pid, fd);
    }
  }

  #withSocket(
    pid: number,
    fd: number,
    use: (socket: ChildSocket) => Answer | Promise<Answer>,
  ): Answer | Promise<Answer> {
    if (this.#options.mayCopy) return withCopy(pid, fd, use) ?? RUN;
    const socket = this.#lookAt(pid, fd);
    return socket === undefined ? RUN : use(socket);
  }

  /** Of a socket that is held already no copy is needed: Yama allows none out of what an earlier keeper has started. */
  #listenOn(
    pid: number,
    fd: number,
    use: (socket: ChildSocket) => Answer | Promise<Answer>,
  ): Answer | Promise<Answer> {
    try {
      return this.#withSocket(pid, fd, use);
    } catch (error) {
      const inode = isForbidden(error) ? socketAt(pid, fd) : undefined;
      const socket = inode !== undefined && this.#options.isHeld(inode) ? this.#lookAt(pid, fd) : undefined;
      if (socket === undefined) throw error;
      return use(socket);
    }
  }

  #lookAt(pid: number, fd: number): ChildSocket | undefined {
    return lookAtSocket(pid, fd, (inode) => this.#settings.get(inode) ?? {});
  }

  #bind(
    call: Notification,
    caller: Caller,
    socket: ChildSocket,
    address: InetAddress,
  ): Answer | Promise<Answer> {
    const { held, predecessor, unlistened } = caller;
    // Bound already: the kernel says EINVAL.
    if (held.byInode(socket.inode) || this.#bound.get(socket.inode)?.made !== undefined) return RUN;
    const place = socket.placeAt(address);
    forgetOldest(unlistened, UNLISTENED_MAX);
    unlistened.set(formatAddress(address), address);
    const equal = held.at(place);
    const free = equal.find((one) => !this.#isServed(caller, one, socket.pid));
    if (free) return this.#giveHeld(call, caller, socket, place, free);
    // Ours has SO_REUSEPORT only because we set it: as bare, a second server must not join.
    if (socket.programReusesPort) tellProgramReuses(equal);
    if (equal.some((one) => !one.programReusesPort)) return { error: EADDRINUSE };
    if (this.#isTaken(place, socket.programReusesPort)) return { error: EADDRINUSE };
    if (!mayBind(socket.pid, place)) {
      this.#options.say({ type: 'not-allowed', address: formatAddress(place.address), pid: socket.pid });
      return socket.copy === undefined ? { error: EACCES } : RUN;
    }
    const former = predecessor?.at(place) ?? [];
    if (former.length > 0) return this.#join(call, socket, place, former);
    // A server that has changed its address, or a probe for a free port: it must not meet its former self, whose
    // clients wait on. Which of the two it is shows a moment after listen.
    const beside = equal.length === 0 && this.#meetsItself(caller, place, socket.pid);
    this.#sayOverlap(held, place);
    // MPTCP listeners take no program, so that no later generation could get what comes to them.
    if (socket.copy === undefined || socket.protocol === IPPROTO_MPTCP) {
      return this.#make(call, socket, { place, reusePort: beside });
    }
    setReuseAddress(socket.copy, true);
    if (beside) setReusePort(socket.copy, true);
    this.#remember(socket.inode, { place, programReusesPort: socket.programReusesPort });
    return RUN;
  }

  /** A candidate's socket beside those of its predecessor: in their group, where it gets nothing yet. */
  #join(call: Notification, socket: ChildSocket, place: Place, joins: readonly HeldSocket[]): Answer {
    const { copy, programReusesPort } = socket;
    this.#options.groups.open(joins);
    if (copy === undefined || socket.protocol === IPPROTO_MPTCP) {
      return this.#make(call, socket, { place, reusePort: true, joins });
    }
    // A group is of one user: of whoever made its first socket. Only root may change that, and only root needs to.
    const [{ fd }] = joins as readonly [HeldSocket];
    if (process.getuid?.() === 0) changeOwner(copy, ownerOf(fd));
    setReuseAddress(copy, true);
    setReusePort(copy, true);
    this.#remember(socket.inode, { place, programReusesPort, joins });
    return RUN;
  }

  #listen(call: Notification, caller: Caller, socket: ChildSocket): Answer | Promise<Answer> {
    const held = caller.held.byInode(socket.inode);
    const parked = held && caller.parked();
    if (held && parked !== undefined) {
      return parked.then((needed) => {
        if (!needed || !caller.held.has(held)) return this.#leave(call, socket);
        return this.#listenAgain(caller, held, socket.pid);
      });
    }
    if (held) return this.#listenAgain(caller, held, socket.pid);
    const bound = this.#bound.get(socket.inode) ?? this.#boundBefore(caller, socket);
    if (bound === undefined) return RUN;
    const fd = bound.made ?? (socket.copy === undefined ? undefined : duplicate(socket.copy));
    if (fd === undefined) return RUN;
    // Two keepers must not both find the address free and open one group: they look and listen in turn.
    const { turns = '/proc/self/ns/net' } = this.#options;
    return oneAtATime(turns, () => this.#learn(fd, caller, socket, bound));
  }

  /** What was bound when another keeper answered. */
  #boundBefore(caller: Caller, { copy, programReusesPort, placeAt }: ChildSocket): Bound | undefined {
    const address = this.#options.isTakenOver && copy !== undefined ? localInetAddress(copy) : undefined;
    if (address === undefined || mayBeChosen(address)) return undefined;
    const place = placeAt(address);
    const joins = caller.predecessor?.at(place) ?? [];
    // In a group that is there it has SO_REUSEPORT from the keeper.
    return joins.length > 0 ? { place, programReusesPort: false, joins } : { place, programReusesPort };
  }

  #listenAgain(caller: Caller, held: HeldSocket, pid: number): Answer {
    // Never the program's own listen: a smaller backlog would cut the queue that clients wait in.
    // A server is back: its clients may wait as long again.
    if (held.refusing) held.failingSince = null;
    acceptClients(held);
    this.#tellListened(caller, held, pid, true);
    return { value: 0 };
  }

  /**
   * A standby that ends without having been needed: its handler of the stop signal runs when listen returns. It gets a
   * socket that nobody connects to, so that in its last moment it takes no client of the others.
   */
  #leave(call: Notification, socket: ChildSocket): Answer {
    const decoy = streamSocket('ipv4');
    try {
      bind(decoy, { family: 'ipv4', host: '127.0.0.1', port: 0 });
      listen(decoy, 1);
      this.#inject(call, socket, decoy);
    } finally {
      close(decoy);
    }
    return { value: 0 };
  }

  /** Makes the socket listen and holds it by this fd. */
  #learn(fd: Fd, caller: Caller, { pid, inode }: ChildSocket, bound: Bound): Answer {
    const { place, programReusesPort, replaces, joins } = bound;
    const { groups } = this.#options;
    const others = caller.held.at(place).filter((held) => held !== replaces);
    if (programReusesPort) tellProgramReuses(others);
    const isRefused = others.some((held) => !held.programReusesPort && this.#isServed(caller, held, pid));
    // Alone on its address, it opens a group that only we steer: a stranger who joins gets no connection.
    const opens = joins === undefined && !programReusesPort && this.#strangersAt(place).length === 0;
    const refused = isRefused ? EADDRINUSE : listenAs(fd, place, opens);
    if (refused !== undefined) {
      if (!this.#bound.get(inode)?.made) close(fd);
      return { error: refused };
    }
    this.#bound.delete(inode);
    const address = localInetAddress(fd) ?? place.address;
    const held = caller.held.add({ fd, place, address, listened: false, programReusesPort });
    held.claims.add(caller.id);
    if (replaces !== undefined) {
      groups.joined(held);
      groups.serve([held]);
      caller.held.release(replaces);
      groups.refresh();
    } else if (joins !== undefined) groups.joined(held);
    else if (opens) groups.opened(held);
    this.#tellListened(caller, held, pid, replaces !== undefined);
    return { value: 0 };
  }

  /** After the answer: the server must not wait for what the keeper does then. */
  #tellListened(caller: Caller, held: HeldSocket, pid: number, again: boolean): void {
    queueMicrotask(() => this.#options.listened(caller, held, pid, again));
  }

  /** Puts the held socket where the program has its fresh one. */
  #giveHeld(
    call: Notification,
    caller: Caller,
    socket: ChildSocket,
    place: Place,
    held: HeldSocket,
  ): Answer | Promise<Answer> {
    const { pid, inode, copy } = socket;
    const { tree } = caller;
    const others = tree?.members().filter((member) => member.pid !== pid);
    const [sharer] = tree?.holdersOf(inode, others) ?? [];
    if (sharer !== undefined) {
      return this.#replaceHeld(
        socket,
        place,
        held,
        `process ${sharer.pid} shares the socket that ${pid} binds`,
      );
    }
    const notSet = copy === undefined ? [] : carryOptions(copy, held.fd);
    if (notSet.length > 0) {
      this.#options.say({
        type: 'warning',
        text: `${describeHeld(held)} keeps its former ${notSet.join(', ')}`,
      });
    }
    const files = openFiles(pid);
    const registrations = epollRegistrations(pid, inode, files);
    if (registrations.length > 0) return this.#giveWatched(call, caller, socket, place, held, registrations);
    this.#inject(call, socket, held.fd, files);
    held.claims.add(caller.id);
    return { value: 0 };
  }

  /** Some frameworks (Boost.Asio) have their epoll instance watch the socket before it is bound. */
  async #giveWatched(
    call: Notification,
    caller: Caller,
    socket: ChildSocket,
    place: Place,
    held: HeldSocket,
    registrations: readonly EpollRegistration[],
  ): Promise<Answer> {
    const why = `process ${socket.pid} watched its socket with epoll before it was bound`;
    held.isBeingGiven = true;
    const moved = this.#options.mayCopy && (await rewatch(socket.pid, held.fd, registrations));
    held.isBeingGiven = false;
    // Released meanwhile: its fd may be another's by now.
    if (this.#stopped || !caller.held.has(held)) return RUN;
    if (moved) {
      this.#inject(call, socket, held.fd);
      held.claims.add(caller.id);
      return { value: 0 };
    }
    return this.#withSocket(socket.pid, socket.fd, (fresh) => this.#replaceHeld(fresh, place, held, why));
  }

  /** Where one socket cannot stand in for the other: the program keeps its own, which joins ours and follows it. */
  #replaceHeld(socket: ChildSocket, place: Place, held: HeldSocket, why: string): Answer {
    const { copy, inode, programReusesPort } = socket;
    this.#options.say({ type: 'warning', text: `${describeHeld(held)}: ${why}; ${whatWaitersMeet()}` });
    if (copy === undefined) return RUN;
    setReuseAddress(copy, true);
    setReusePort(copy, true);
    this.#remember(inode, { place, programReusesPort, replaces: held });
    return RUN;
  }

  /** The other way to hold a socket: ours, bound by us, in the place of the program's. */
  #make(
    call: Notification,
    socket: ChildSocket,
    { place, reusePort, joins }: Pick<Bound, 'place' | 'joins'> & { readonly reusePort: boolean },
  ): Answer {
    // A socket of ours would be in our namespace.
    if (place.netns !== ownNamespace()) return RUN;
    if (epollRegistrations(socket.pid, socket.inode).length > 0) {
      const why = 'it is watched with epoll before it is bound, and this container allows no copy of it';
      this.#options.say({ type: 'not-held', pid: socket.pid, address: formatAddress(place.address), why });
      this.#servesUnheld(socket.pid);
      return RUN;
    }
    const made = streamSocket(place.address.family);
    try {
      if (place.address.family === 'ipv6') setV6Only(made, place.v6only);
      setReuseAddress(made, true);
      if (reusePort || socket.programReusesPort) setReusePort(made, true);
      if (place.device !== '')
        setSocketOption(made, SOL_SOCKET, SO_BINDTODEVICE, Buffer.from(`${place.device}\0`));
      if (socket.copy !== undefined) carryOptions(socket.copy, made);
      bind(made, place.address);
      this.#inject(call, socket, made);
    } catch (error) {
      close(made);
      if (error instanceof SyscallError && error.syscall === 'bind') return { error: -error.errno };
      throw error;
    }
    this.#remember(socketInode(made), {
      place,
      programReusesPort: socket.programReusesPort,
      made,
      ...(joins && { joins }),
    });
    if (!this.#options.mayCopy) this.#sayLost();
    this.#madeLook ??= setTimeout(() => this.#lookAtMade(), MADE_LOOK_MS);
    return { value: 0 };
  }

  #sayLost(): void {
    if (this.#saidLost) return;
    this.#saidLost = true;
    const text =
      'no copies of sockets are allowed here: options that the server sets before bind are lost, but for';
    this.#options.say({
      type: 'warning',
      text: `${text} IPV6_V6ONLY, SO_REUSEPORT and SO_BINDTODEVICE (holdfast doctor tells more)`,
    });
  }

  /** Copies our fd over every number by which the caller has its own socket. */
  #inject(
    call: Notification,
    { pid, inode, nonBlocking }: ChildSocket,
    fd: Fd,
    files: readonly OpenFile[] = openFiles(pid),
  ): void {
    // The mode belongs to the socket, and nobody alive has this one: it becomes what the program expects.
    if (isNonBlocking(fd) !== nonBlocking) setNonBlocking(fd, nonBlocking);
    for (const at of fdsOfSocket(pid, inode, files)) {
      const closeOnExec = (fdFlags(pid, at) ?? 0) & O_CLOEXEC;
      this.#options.notifier.addFd(call.id, fd, { at, closeOnExec });
    }
  }

  /** A socket that we made and that never listens must not be kept: its connection could not be closed. */
  #lookAtMade(): void {
    this.#madeLook = undefined;
    for (const [inode, { made }] of this.#bound) {
      if (made === undefined) continue;
      const unused = !this.#options.isOpen(inode);
      if (unused || tcpState(made) !== TCP_STATES.CLOSE) {
        close(made);
        this.#bound.delete(inode);
      } else {
        this.#madeLook ??= setTimeout(() => this.#lookAtMade(), MADE_LOOK_MS);
      }
    }
  }

  #noteSetting(call: Notification, pid: number, fd: number): Answer {
    const inode = socketAt(pid, fd);
    const length = Math.min(16, Number(BigInt.asUintN(32, call.args[4] ?? 0n)));
    const value = readMemory(pid, call.args[3] ?? 0n, length);
    if (inode === undefined || !this.#options.notifier.stillWaits(call.id)) return RUN;
    const setting = settingOf(
      Number(BigInt.asUintN(32, call.args[1] ?? 0n)),
      Number(BigInt.asUintN(32, call.args[2] ?? 0n)),
      value,
    );
    forgetOldest(this.#settings);
    this.#settings.set(inode, { ...this.#settings.get(inode), ...setting });
    return RUN;
  }

  /** Whether a process of that very worker, of which `pid` is one, has the held socket open and means to serve it. */
  #isServed({ id, tree }: Caller, held: HeldSocket, pid: number): boolean {
    if (held.isBeingGiven) return true;
    if (!held.claims.has(id)) return false;
    // A fast program binds twice before its start has been told of.
    if (tree === undefined) return fdsOrUnknown(pid, held.inode)?.length !== 0;
    const former = held.holders.filter((holder) => held.claims.size === 1 || tree.knows(holder));
    return currentHolders([tree], held.inode, former).length > 0;
  }

  /** Whether all that we hold and that overlaps the place is left over from before: nobody serves it. */
  #meetsItself(caller: Caller, place: Place, pid: number): boolean {
    const overlapping = caller.held.overlapping(place);
    return (
      overlapping.length > 0 &&
      overlapping.every((held) => !held.listened && !this.#isServed(caller, held, pid))
    );
  }

  /** The kernel refuses an address that overlaps one of --listen; the user wanted one of the two. */
  #sayOverlap(ours: HeldSockets, place: Place): void {
    const listened = ours.overlapping(place).find((held) => held.listened);
    if (listened === undefined) return;
    const [wanted, own] = [formatAddress(place.address), describeHeld(listened)];
    const text = `the server binds ${wanted}, which overlaps --listen ${own}: name ${wanted} there instead`;
    this.#options.say({ type: 'warning', text });
  }

  /** Whether somebody else listens there so that the bind is to fail; says who. */
  #isTaken(place: Place, programReusesPort: boolean): boolean {
    const [stranger] = this.#strangersAt(place);
    if (stranger === undefined) return false;
    const by = stranger.who;
    const joins = programReusesPort && by?.keeper === undefined;
    if (!joins) this.#options.say({ type: 'taken', address: formatAddress(place.address), by });
    // The kernel refuses by itself, but for another keeper's socket, whose group gives a new member nothing.
    return programReusesPort && !joins;
  }

  #strangersAt(place: Place): readonly StrangerSocket[] {
    return strangersAt(place, this.#options.isHeld);
  }

  #servesUnheld(pid: number): void {
    const caller = this.#options.whose(pid);
    if (caller !== undefined) this.#options.servesUnheld(caller);
  }

  #remember(inode: number, bound: Bound): void {
    const forgotten = forgetOldest(this.#bound);
    if (forgotten?.made !== undefined) close(forgotten.made);
    this.#bound.set(inode, bound);
  }

  #readAddress(call: Notification, pid: number): InetAddress | undefined {
    const bytes = readMemory(pid, call.args[1] ?? 0n, Number(BigInt.asUintN(32, call.args[2] ?? 0n)));
    if (!this.#options.notifier.stillWaits(call.id)) return undefined;
    const address = decodeSocketAddress(bytes);
    return address?.family === 'unix' ? undefined : address;
  }

  #sayNotHeld(call: Notification, error: unknown): void {
    const pid = threadGroup(call.tid) ?? call.tid;
    const why = isForbidden(error)
      ? `pid ${pid} may not be looked into: ${whyClosed(pid)}`
      : `${call.call}: ${String(error)}`;
    this.#options.say({ type: 'not-held', pid, why });
    this.#servesUnheld(pid);
  }
}

/** A process that we have started is open to us under Yama: this one is of an earlier keeper. */
function whyClosed(pid: number): string {
  const yama = closedByYama(pid);
  if (yama === undefined) return 'it runs with other privileges than the keeper; run holdfast as root';
  return `${yama.why}, and an earlier keeper has started this one; after a reload its address is kept`;
}

/** What a trapped setsockopt sets. @see socket(7), ipv6(7) */
function settingOf(level: number, name: number, value: Buffer): SocketSettings {
  const isOn = value.length >= 4 && value.readInt32LE(0) !== 0;
  if (level === IPPROTO_IPV6 && name === IPV6_V6ONLY) return { v6only: isOn };
  if (level === SOL_SOCKET && name === SO_REUSEPORT) return { reusePort: isOn };
  if (level === SOL_SOCKET && name === SO_BINDTODEVICE) {
    return { device: value.toString('latin1').replace(/\0.*$/s, '') };
  }
  return {};
}

/** Whether the kernel lets the process bind this port. @see ip(7) ip_unprivileged_port_start, capabilities(7) */
function mayBind(pid: number, { address }: Place): boolean {
  if (address.port >= 1024) return true;
  const unprivileged = sysctlNumber('net/ipv4/ip_unprivileged_port_start') ?? 1024;
  if (address.port >= unprivileged) return true;
  // Capabilities in a user namespace of its own are none in ours.
  return hasCapability(pid, CAP_NET_BIND_SERVICE) && userNamespace(pid) === userNamespace('self');
}

/** What becomes of clients in the queue of a socket that another one of its group replaces. @see tcp(7) */
function whatWaitersMeet(): string {
  const moved = sysctlNumber('net/ipv4/tcp_migrate_req') === 1;
  if (moved) return 'clients that wait now move to its new socket';
  return 'clients that wait now are reset (net.ipv4.tcp_migrate_req=1 would move them to its new socket)';
}

/** Gives undefined, or the errno of a failed listen. */
function listenAs(fd: Fd, { address }: Place, steered: boolean): number | undefined {
  try {
    if (steered) setReusePort(fd, true);
    listen(fd, BACKLOG_MAX, address);
    return undefined;
  } catch (error) {
    if (error instanceof SyscallError) return -error.errno;
    throw error;
  }
}

function localInetAddress(fd: Fd): InetAddress | undefined {
  const address = localAddress(fd);
  return address?.family === 'unix' ? undefined : address;
}

/** The program's own second socket tells of those of which nobody knew. */
function tellProgramReuses(sockets: readonly HeldSocket[]): void {
  for (const held of sockets) held.programReusesPort ??= true;
}

/** Makes room for one more; gives what had to go. */
function forgetOldest<K, T>(map: Map<K, T>, max: number = BOUND_MAX): T | undefined {
  const [oldest] = map;
  if (map.size < max || oldest === undefined) return undefined;
  map.delete(oldest[0]);
  return oldest[1];
}

/** The caller died or closed its fd while we looked: there is nobody to hold anything for. */
function isGone(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'ESRCH' || code === 'EBADF' || code === 'ENOENT';
}
