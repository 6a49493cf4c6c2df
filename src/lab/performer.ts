import type { Fd } from '../kernel/libc.js';
import { withoutCapabilities, withSocketOwner } from '../kernel/netns.js';
import { pauseThread } from '../kernel/pause.js';
import {
  acceptNow,
  bindTo,
  closeFd,
  connectTo,
  copyFd,
  disconnect,
  errorName,
  isV6OnlyNow,
  limitConnect,
  listenWith,
  nameOf,
  openSocket,
  type Result,
  receiveBytes,
  sendBytes,
  setOption,
  shutdownFor,
  tcpStateOf,
} from '../kernel/socket-calls.js';
import type { InetAddress } from '../model/address.js';
import type { Setting } from '../model/step.js';
import type { TcpState } from '../model/tcp-state.js';
import type { Protocol } from '../model/world.js';
import { type Call, ONLY_PROCESS, type Slot } from './call.js';

/** What can be seen of a socket from outside. */
export interface Sight {
  readonly name: InetAddress;
  /** TCP alone. */
  readonly state: TcpState | undefined;
  readonly waiting: number;
  readonly v6only: boolean;
}

interface Open {
  /** One for each process that has it open. */
  readonly fds: readonly { readonly process: string; readonly fd: Fd }[];
  readonly protocol: Protocol;
  readonly family: InetAddress['family'];
}

/** Longer than any connect on loopback takes, the ones that meet an old peer included. */
const CONNECT_MS = 3_000;
const ORDINARY_USER = 1000;

/** Performs a program's calls on real sockets of the namespace that the main thread is in. */
export class Performer {
  readonly #base: number;
  readonly #open = new Map<Slot, Open>();

  /** `base`: the program's first port. */
  constructor(base: number) {
    this.#base = base;
  }

  /** @returns the call's result, or the name of its error. */
  perform(call: Call): string | undefined {
    const result = this.#call(call);
    return result < 0 ? errorName(-result) : undefined;
  }

  slots(): Iterable<Slot> {
    return this.#open.keys();
  }

  see(slot: Slot): Sight {
    const { protocol, family } = this.#at(slot);
    const fd = this.#fd(slot);
    const tcp = protocol === 'tcp' ? tcpStateOf(fd) : undefined;
    return {
      name: nameOf(fd),
      state: tcp?.state,
      waiting: tcp?.waiting ?? 0,
      v6only: family === 'ipv6' && isV6OnlyNow(fd),
    };
  }

  end(): void {
    for (const { fds } of this.#open.values()) for (const { fd } of fds) closeFd(fd);
    this.#open.clear();
  }

  #call(call: Call): Result {
    if (call.call === 'wait') {
      pauseThread(call.ms);
      return 0;
    }
    if (call.call === 'socket') return this.#socket(call);
    if (call.call === 'exit') {
      for (const slot of [...this.#open.keys()]) {
        const own = this.#at(slot).fds.filter(({ process }) => process === call.process);
        for (const _fd of own) this.#close(slot, call.process);
      }
      return 0;
    }
    const fd = this.#fd(call.slot);
    switch (call.call) {
      case 'set':
        return set(fd, call);
      case 'bind': {
        const address = this.#address(call.host, call.port);
        return call.mayBindLow
          ? bindTo(fd, address)
          : withoutCapabilities(ORDINARY_USER, () => bindTo(fd, address));
      }
      case 'listen':
        return listenWith(fd, call.backlog);
      case 'connect':
        return connectTo(fd, this.#address(call.host, call.port));
      case 'disconnect':
        return disconnect(fd);
      case 'accept': {
        const accepted = call.uid === 0 ? acceptNow(fd) : withSocketOwner(call.uid, () => acceptNow(fd));
        const fds = [{ process: call.process ?? ONLY_PROCESS, fd: accepted }];
        if (accepted >= 0) this.#open.set(call.as, { ...this.#at(call.slot), fds });
        return accepted;
      }
      case 'shutdown':
        return shutdownFor(fd, call.how);
      case 'close':
        return this.#close(call.slot, call.process ?? ONLY_PROCESS);
      case 'send':
        return sendBytes(fd, call.bytes);
      case 'receive':
        return receiveBytes(fd, call.bytes);
      case 'share': {
        const copy = copyFd(fd);
        const open = this.#at(call.slot);
        if (copy >= 0)
          this.#open.set(call.slot, { ...open, fds: [...open.fds, { process: call.process, fd: copy }] });
        return copy;
      }
    }
  }

  #socket({
    slot,
    protocol,
    family,
    uid,
    process = ONLY_PROCESS,
  }: Extract<Call, { call: 'socket' }>): Result {
    const make = (): Result => openSocket(protocol, family);
    const fd = uid === 0 ? make() : withSocketOwner(uid, make);
    if (fd < 0) return fd;
    if (protocol === 'tcp') limitConnect(fd, CONNECT_MS);
    this.#open.set(slot, { fds: [{ process, fd }], protocol, family });
    return fd;
  }

  #close(slot: Slot, process: string): Result {
    const open = this.#at(slot);
    const at = open.fds.findIndex((one) => one.process === process);
    const found = open.fds[at];
    if (found === undefined) throw new Error(`process ${process} does not have ${slot}`);
    const fds = open.fds.filter((_, index) => index !== at);
    if (fds.length === 0) this.#open.delete(slot);
    else this.#open.set(slot, { ...open, fds });
    return closeFd(found.fd);
  }

  #fd(slot: Slot): Fd {
    const [first] = this.#at(slot).fds;
    if (first === undefined) throw new Error(`nobody has ${slot} open`);
    return first.fd;
  }

  #at(slot: Slot): Open {
    const open = this.#open.get(slot);
    if (open === undefined) throw new Error(`slot ${slot} has no socket`);
    return open;
  }

  #address(host: string, port: number | null): InetAddress {
    return addressOf(host, port, this.#base);
  }
}

export function addressOf(host: string, port: number | null, base: number): InetAddress {
  return { family: host.includes(':') ? 'ipv6' : 'ipv4', host, port: port === null ? 0 : base + port };
}

const SOL_SOCKET = 1;
const SOL_IP = 0;
const SOL_IPV6 = 41;

function set(fd: Fd, setting: Setting): Result {
  switch (setting.option) {
    case 'SO_REUSEADDR':
      return setOption(fd, SOL_SOCKET, 2, int(setting.value));
    case 'SO_REUSEPORT':
      return setOption(fd, SOL_SOCKET, 15, int(setting.value));
    case 'IPV6_V6ONLY':
      return setOption(fd, SOL_IPV6, 26, int(setting.value));
    case 'IP_FREEBIND':
      return setOption(fd, SOL_IP, 15, int(setting.value));
    case 'IP_BIND_ADDRESS_NO_PORT':
      return setOption(fd, SOL_IP, 24, int(setting.value));
    case 'SO_LINGER':
      return setOption(fd, SOL_SOCKET, 13, Buffer.concat([int(setting.value), int(false)]));
    case 'SO_BINDTODEVICE':
      return setOption(fd, SOL_SOCKET, 25, Buffer.from(`${setting.value}\0`));
    case 'IP_LOCAL_PORT_RANGE': {
      const range = Buffer.alloc(4);
      range.writeUInt32LE(
        setting.value === null ? 0 : ((setting.value.high << 16) | setting.value.low) >>> 0,
        0,
      );
      return setOption(fd, SOL_IP, 51, range);
    }
  }
}

function int(value: boolean): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value ? 1 : 0, 0);
  return bytes;
}
