import { setImmediate as turn } from 'node:timers/promises';
import { close } from '../kernel/fd.js';
import { addressOf, type Fd } from '../kernel/libc.js';
import type { Poller } from '../kernel/poller.js';
import { type Answer, type Notification, type Notifier, SeccompNotifier } from '../kernel/seccomp.js';
import { encodeSocketAddress } from '../kernel/sockaddr.js';
import { bind, localAddress, streamSocket } from '../kernel/socket.js';
import type { InetAddress, SocketAddress } from '../model/address.js';
import { ReusePortGroups } from './groups.js';
import { HeldSockets } from './held.js';
import { Trap } from './trap.js';
import { WorkerTree } from './tree.js';

/** The first use of a native function costs up to a millisecond; JavaScript gets fast with the next few. */
const ROUNDS = 12;
const NO_FD: Fd = -1;

/**
 * Answers binds and listens that nobody has called, of sockets of our own, so that the first server does not wait
 * for what is done for the first time. Meant for the time in which the spawner's thread starts.
 */
export async function rehearse(poller: Poller, mayCopy: boolean): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    poller.rehearse();
    try {
      rehearseOnce(mayCopy);
    } catch {
      // Whatever is missing on this machine (loopback, netlink): the real calls will say so themselves.
      return;
    }
    await turn();
  }
}

function rehearseOnce(mayCopy: boolean): void {
  const notifier = new PretendedNotifier();
  const held = new HeldSockets();
  const tree = new WorkerTree({
    root: process.pid,
    mark: '',
    spawnerThread: process.pid,
    ownsOrphans: false,
    before: new Set(),
  });
  const nothing = (): void => undefined;
  const unlistened = new Map<string, InetAddress>();
  const trap = new Trap({
    notifier,
    mayCopy,
    groups: new ReusePortGroups(),
    // A file of our own: what is only rehearsed neither waits for other keepers nor keeps them waiting.
    turns: '/proc/self/stat',
    whose: () => ({ id: 1, tree, held, predecessor: undefined, unlistened, parked: () => undefined }),
    isHeld: (inode) => held.byInode(inode) !== undefined,
    isOpen: (inode) => tree.holdersOf(inode).length > 0,
    say: nothing,
    listened: nothing,
    letListen: nothing,
    servesUnheld: nothing,
  });
  const address = freeAddress();
  try {
    for (const _life of ['learned', 'given back']) {
      startServer(address, held, (call) => {
        notifier.next = call;
        trap.handle();
        return notifier.answered;
      });
      held.workerGone(1, performance.now());
    }
  } finally {
    trap.stop();
    held.releaseAll();
  }
}

/** What a server calls, and how the kernel goes on after the answers. */
function startServer(
  address: SocketAddress,
  held: HeldSockets,
  ask: (call: Notification) => Answer | undefined,
): void {
  const fd = streamSocket('ipv4');
  try {
    const bytes = encodeSocketAddress(address);
    const common = { id: 0n, tid: process.pid };
    const bound = ask({
      ...common,
      call: 'bind',
      args: [BigInt(fd), addressOf(bytes), BigInt(bytes.length)],
    });
    if (bound !== undefined && 'run' in bound) bind(fd, address);
    const [given] = held.all();
    ask({ ...common, call: 'listen', args: [BigInt(given?.fd ?? fd)] });
  } finally {
    close(fd);
  }
}

/** A loopback address whose port the kernel has just found free. */
function freeAddress(): SocketAddress {
  const fd = streamSocket('ipv4');
  try {
    bind(fd, { family: 'ipv4', host: '127.0.0.1', port: 0 });
    const address = localAddress(fd);
    if (address === undefined) throw new Error('a bound IPv4 socket has an address');
    return address;
  } finally {
    close(fd);
  }
}

class PretendedNotifier implements Notifier {
  /** One without an fd: the kernel refuses what it is asked, which warms up the asking. */
  readonly #native = new SeccompNotifier(NO_FD);
  next: Notification | undefined;
  answered: Answer | undefined;

  receive(): Notification | undefined {
    this.#native.receive();
    return this.next;
  }

  stillWaits(id: bigint): boolean {
    this.#native.stillWaits(id);
    return true;
  }

  answer(id: bigint, outcome: Answer): boolean {
    this.#native.answer(id, outcome);
    this.answered = outcome;
    return true;
  }

  addFd(id: bigint, fd: Fd, place: { readonly at: number; readonly closeOnExec: number }): void {
    try {
      this.#native.addFd(id, fd, place);
    } catch {
      // As expected: EBADF.
    }
  }
}
