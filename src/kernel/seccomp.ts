import {
  check,
  declare,
  type Fd,
  lastErrno,
  type SyscallName,
  syscallNumber,
  syscallWithMemory,
} from './libc.js';
import { type BpfInstruction, socketProgram } from './socket.js';

const poll = declare('int poll(void *fds, unsigned long count, int timeout)');
const ioctl = declare('int ioctl(int fd, unsigned long request, void *argument)');

const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_GET_ACTION_AVAIL = 2;
const FLAG_SPEC_ALLOW = 1 << 2;
const FLAG_NEW_LISTENER = 1 << 3;
const FLAG_WAIT_KILLABLE_RECV = 1 << 5;
const RET_USER_NOTIF = 0x7fc00000;
const RET_ALLOW = 0x7fff0000;

const NOTIF_RECV = 0xc0502100;
const NOTIF_SEND = 0xc0182101;
const NOTIF_ID_VALID = 0x40082102;
const NOTIF_ADDFD = 0x40182103;
const NOTIF_SIZE = 80;
const POLLIN = 1;
const RESPONSE_CONTINUE = 1;
const ADDFD_SETFD = 1;

/** How many numbers before and after the last known one are tried: 1 ms. */
const IDS_BEFORE = 64;
const IDS_AFTER = 4096;

const AUDIT_ARCH = { x64: 0xc000003e, arm64: 0xc00000b7 } as const;
const EINVAL = 22;

export type TrappedCall = 'bind' | 'listen' | 'setsockopt';

/** A system call that waits for our answer. */
export interface Notification {
  /** Unique number of the wait, for `answer` and `addFd`. */
  readonly id: bigint;
  /** The calling thread, as numbered in our pid namespace. */
  readonly tid: number;
  readonly call: TrappedCall;
  /** The call's first five arguments, as the kernel passes them: unsigned. */
  readonly args: readonly bigint[];
}

/** What the waiting call is to do: run in the kernel as it is, or return at once. `error` is a positive errno. */
export type Answer = { readonly run: true } | { readonly value: number } | { readonly error: number };

/** How the trap was installed. */
export interface InstalledTrap {
  readonly notifier: Fd;
  /** Whether a waiting caller is disturbed by fatal signals only (Linux >= 5.19). */
  readonly waitKillable: boolean;
}

/**
 * Installs, for the calling thread and all that it starts from now on, a filter that sends the named calls to
 * the notifier and allows everything else. A bind with an address shorter than an IPv4 one (netlink's has 12
 * bytes, and every name look-up makes one) never leaves the kernel.
 *
 * @throws {SyscallError} EBUSY: the thread has a notifier already (nested keeper, container runtime).
 *   EACCES: neither CAP_SYS_ADMIN nor NO_NEW_PRIVS. EINVAL: no user notification (before Linux 5.0). ENOSYS.
 * @see seccomp(2), seccomp_unotify(2)
 */
export function installTrap(calls: readonly TrappedCall[]): InstalledTrap {
  const { header, body } = socketProgram(trapProgram(calls));
  const flags = FLAG_NEW_LISTENER | FLAG_SPEC_ALLOW;
  let notifier = syscallWithMemory(
    'seccomp',
    SECCOMP_SET_MODE_FILTER,
    flags | FLAG_WAIT_KILLABLE_RECV,
    header,
  );
  const waitKillable = notifier !== -1;
  if (!waitKillable && lastErrno() === EINVAL) {
    notifier = syscallWithMemory('seccomp', SECCOMP_SET_MODE_FILTER, flags, header);
  }
  check('seccomp', notifier);
  body.fill(0);
  return { notifier, waitKillable };
}

/** Whether the kernel knows user notifications at all. @see seccomp(2) SECCOMP_GET_ACTION_AVAIL */
export function knowsNotifications(): boolean {
  const action = Buffer.alloc(4);
  action.writeUInt32LE(RET_USER_NOTIF, 0);
  return syscallWithMemory('seccomp', SECCOMP_GET_ACTION_AVAIL, 0, action) === 0;
}

/** Where calls that wait for our answer are received and answered. @see seccomp_unotify(2) */
export interface Notifier {
  /**
   * Takes the next notification. Call it when the notifier is readable; otherwise it blocks. Undefined when the
   * caller has died since.
   */
  receive(): Notification | undefined;
  /** Whether the caller still waits, so that what was read from its memory was its own. */
  stillWaits(id: bigint): boolean;
  /** Lets the waiting call go on. False when the caller has died. */
  answer(id: bigint, outcome: Answer): boolean;
  /**
   * Puts a copy of our fd into the waiting process, in the place of its own fd `at`.
   *
   * @throws {SyscallError} ENOENT: the caller has died.
   */
  addFd(id: bigint, fd: Fd, place: { readonly at: number; readonly closeOnExec: number }): void;
}

/** The kernel's notifier; `fd` is what `installTrap` gave. */
export class SeccompNotifier implements Notifier {
  readonly #fd: Fd;
  #lastId: bigint;

  /** `lastId`: the last that a former owner has seen; 0: none. */
  constructor(fd: Fd, lastId = 0n) {
    this.#fd = fd;
    this.#lastId = lastId;
  }

  get lastId(): bigint {
    return this.#lastId;
  }

  /** Whether a call waits to be received. */
  isReadable(): boolean {
    const request = Buffer.alloc(8);
    request.writeInt32LE(this.#fd, 0);
    request.writeInt16LE(POLLIN, 4);
    return poll(request, 1, 0) > 0 && (request.readInt16LE(6) & POLLIN) !== 0;
  }

  receive(): Notification | undefined {
    const notification = Buffer.alloc(NOTIF_SIZE);
    if (ioctl(this.#fd, NOTIF_RECV, notification) === -1) return undefined;
    this.#lastId = notification.readBigUInt64LE(0);
    const call = callOf(notification.readInt32LE(16));
    if (call === undefined) return undefined;
    const args = [0, 1, 2, 3, 4].map((index) => notification.readBigUInt64LE(32 + index * 8));
    return { id: this.#lastId, tid: notification.readUInt32LE(8), call, args };
  }

  /**
   * Calls that were received by an owner who has died before he answered them: the kernel gives them to nobody else, but
   * numbers them in order. Only to be asked before the first `receive`.
   */
  unanswered(): readonly bigint[] {
    if (this.#lastId === 0n) return [];
    const from = this.#lastId - BigInt(IDS_BEFORE);
    return Array.from({ length: IDS_BEFORE + IDS_AFTER }, (_, index) =>
      BigInt.asUintN(64, from + BigInt(index)),
    ).filter((id) => this.stillWaits(id));
  }

  stillWaits(id: bigint): boolean {
    const memory = Buffer.alloc(8);
    memory.writeBigUInt64LE(id, 0);
    return ioctl(this.#fd, NOTIF_ID_VALID, memory) === 0;
  }

  answer(id: bigint, outcome: Answer): boolean {
    const response = Buffer.alloc(24);
    response.writeBigUInt64LE(id, 0);
    if ('run' in outcome) response.writeUInt32LE(RESPONSE_CONTINUE, 20);
    else if ('value' in outcome) response.writeBigInt64LE(BigInt(outcome.value), 8);
    else response.writeInt32LE(-outcome.error, 16);
    return ioctl(this.#fd, NOTIF_SEND, response) === 0;
  }

  addFd(id: bigint, fd: Fd, place: { readonly at: number; readonly closeOnExec: number }): void {
    const request = Buffer.alloc(24);
    request.writeBigUInt64LE(id, 0);
    request.writeUInt32LE(ADDFD_SETFD, 8);
    request.writeUInt32LE(fd, 12);
    request.writeUInt32LE(place.at, 16);
    request.writeUInt32LE(place.closeOnExec, 20);
    check('ioctl', ioctl(this.#fd, NOTIF_ADDFD, request));
  }
}

/** Offsets within struct seccomp_data: nr 0, arch 4, args[n] 16 + 8n (low half first). */
function trapProgram(calls: readonly TrappedCall[]): readonly BpfInstruction[] {
  const load = (offset: number): BpfInstruction => [0x20, 0, 0, offset];
  const arch = AUDIT_ARCH[process.arch as keyof typeof AUDIT_ARCH];
  const allow: BpfInstruction = [0x06, 0, 0, RET_ALLOW];
  const notify: BpfInstruction = [0x06, 0, 0, RET_USER_NOTIF];
  const program: BpfInstruction[] = [load(4), [0x15, 1, 0, arch], allow, load(0)];
  for (const call of calls) {
    const body = bodyOf(call, load, allow, notify);
    program.push([0x15, 0, body.length, syscallNumber(call)], ...body);
  }
  return [...program, allow];
}

function bodyOf(
  call: TrappedCall,
  load: (offset: number) => BpfInstruction,
  allow: BpfInstruction,
  notify: BpfInstruction,
): readonly BpfInstruction[] {
  switch (call) {
    case 'bind':
      // 16 bytes is the shortest address of IPv4, 128 the longest of all.
      return [load(32), [0x35, 0, 2, 16], [0x25, 1, 0, 128], notify, allow];
    case 'listen':
      return [notify];
    case 'setsockopt':
      // IPPROTO_IPV6, IPV6_V6ONLY; SOL_SOCKET, SO_REUSEPORT or SO_BINDTODEVICE.
      return [
        load(24),
        [0x15, 0, 3, 41],
        load(32),
        [0x15, 5, 0, 26],
        allow,
        [0x15, 0, 4, 1],
        load(32),
        [0x15, 1, 0, 15],
        [0x15, 0, 1, 25],
        notify,
        allow,
      ];
  }
}

/** Undefined for a call that is never trapped. */
export function callOf(nr: number): TrappedCall | undefined {
  const calls: readonly (TrappedCall & SyscallName)[] = ['bind', 'listen', 'setsockopt'];
  return calls.find((call) => syscallNumber(call) === nr);
}
