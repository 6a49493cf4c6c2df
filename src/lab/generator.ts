import { type Host, mapped, unmapped } from '../model/host.js';
import type { Setting } from '../model/step.js';
import type { World } from '../model/world.js';
import type { Call, ProgramSysctls, Slot } from './call.js';
import { OTHER_DEVICE } from './stage.js';

/** Which sockets a program has. */
export type Mix = 'tcp' | 'udp' | 'mixed';

/** Ports of a program. */
export const PORTS = 8;
const SLOTS = 14;

const HOSTS4 = [
  '0.0.0.0',
  '127.0.0.1',
  '127.0.0.2',
  '127.0.0.6',
  '10.9.0.1',
  '10.9.0.77',
  '239.1.2.3',
  '127.255.255.255',
];
const HOSTS6 = ['::', '::1', 'fd00:9::1', 'fd00:9::77', 'ff02::1', ...HOSTS4.map((host) => `::ffff:${host}`)];
const DEVICES = ['lo', 'lo', 'lo', 'lo', OTHER_DEVICE, OTHER_DEVICE, '', '', 'gone0'];
/** Most programs meet where it is likely: at the wildcard and at loopback. */
const LIKELY4 = ['0.0.0.0', '127.0.0.1'];
const LIKELY6 = ['::', '::1', '::ffff:127.0.0.1', '::ffff:0.0.0.0'];

/** A source of random numbers that gives the same ones for the same seed. */
export interface Random {
  /** From 0, below the limit. */
  below(limit: number): number;
  chance(probability: number): boolean;
  of<T>(items: readonly T[]): T;
}

/** mulberry32: enough for choosing test cases. */
export function random(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  // The first numbers of near seeds are near each other.
  for (let round = 0; round < 4; round++) next();
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    below,
    chance: (probability) => next() < probability,
    of: (items) => items[below(items.length)] as (typeof items)[number],
  };
}

export function randomSysctls(rng: Random): ProgramSysctls {
  const size = rng.chance(0.3) ? 1 + rng.below(2) : 1 + rng.below(PORTS);
  const low = rng.below(PORTS - size + 1);
  const high = low + size - 1;
  return {
    portRange: { low, high },
    reservedPorts: rng.chance(0.15) ? [rng.below(PORTS)] : [],
    unprivilegedPortStart: rng.chance(0.3) ? rng.below(low + 1) : 0,
    autobindReuse: rng.chance(0.3),
    twReuse: rng.of([0, 1, 2] as const),
    twReuseDelayMs: rng.chance(0.5) ? 1 : 1000,
    timestamps: rng.chance(0.8),
    v6only: rng.chance(0.2),
    nonlocalBind4: rng.chance(0.15),
    nonlocalBind6: rng.chance(0.15),
  };
}

/** What a generator sees of the program so far. */
export interface Scene {
  readonly world: World;
  readonly mix: Mix;
  readonly habits: Habits;
  /** Users that sockets may have; the first is ours. */
  readonly users: readonly number[];
  /** Whether a bind without CAP_NET_BIND_SERVICE can be tried. */
  readonly mayDropRights: boolean;
  readonly slots: readonly Slot[];
  /** Slots that were never used. */
  readonly next: number;
  idAt(slot: Slot): number | undefined;
  /** A port as an offset, or undefined outside the program's. */
  offsetOf(port: number): number | undefined;
}

/** What the sockets of one program have in common, so that they meet. */
export interface Habits {
  readonly reuse: number;
  readonly reusePort: number;
  /** Ports that explicit binds mostly take. */
  readonly ports: number;
}

export function randomHabits(rng: Random): Habits {
  return {
    reuse: rng.of([0, 0.3, 0.9, 0.9]),
    reusePort: rng.of([0, 0, 0.3, 0.9]),
    ports: 1 + rng.below(3),
  };
}

/** The next calls of a random program, mostly one. */
export function randomCalls(rng: Random, scene: Scene): readonly Call[] {
  const { slots } = scene;
  const mayOpen = slots.length < SLOTS && scene.next < 40;
  if (slots.length === 0 || (mayOpen && rng.chance(slots.length < 3 ? 0.7 : 0.1)))
    return openSocket(rng, scene);
  const closed = slots.filter((slot) => stateOf(scene, slot) === 'CLOSE');
  const listening = slots.filter((slot) => stateOf(scene, slot) === 'LISTEN');
  const waiting = listening.filter((slot) => (socketAt(scene, slot)?.queue.length ?? 0) > 0);
  const connected = slots.filter((slot) => socketAt(scene, slot)?.connected);
  const bound = closed.filter((slot) => (socketAt(scene, slot)?.port ?? 0) !== 0);
  const unbound = closed.filter((slot) => (socketAt(scene, slot)?.port ?? 0) === 0);
  if (waiting.length > 0 && mayOpen && rng.chance(0.45)) return [accept(rng, scene, rng.of(waiting))];
  if (scene.world.timeWaits.size > 0 && mayOpen && rng.chance(0.25)) {
    const calls = meetTimeWait(rng, scene);
    if (calls !== undefined) return calls;
  }
  if (listening.length > 0 && mayOpen && rng.chance(0.08)) {
    const calls = listenBeside(scene, rng.of(listening));
    if (calls !== undefined) return calls;
  }
  if (connected.length > 0 && rng.chance(0.4)) return [endOf(rng, rng.of(connected))];
  if (unbound.length > 0 && rng.chance(0.3)) return [bind(rng, scene, rng.of(unbound))];
  if (bound.length > 0 && rng.chance(0.22)) return [{ call: 'listen', slot: rng.of(bound), backlog: 8 }];
  if (listening.length > 0 && rng.chance(0.5)) return [connectToListener(rng, scene, rng.of(listening))];
  return [anyCall(rng, scene, rng.of(slots))];
}

/** Calls that make sense and calls that do not. */
function anyCall(rng: Random, scene: Scene, slot: Slot): Call {
  const at = rng.below(100);
  if (at < 22) return { call: 'set', slot, ...setting(rng) };
  if (at < 45) return bind(rng, scene, slot);
  if (at < 55) return { call: 'listen', slot, backlog: 8 };
  if (at < 71)
    return { call: 'connect', slot, host: hostFor(rng, scene, slot, true), port: rng.below(PORTS) };
  if (at < 79) return { call: 'disconnect', slot };
  if (at < 81) return accept(rng, scene, slot);
  if (at < 86) return { call: 'shutdown', slot, how: rng.of(['read', 'write', 'both'] as const) };
  // Time counts for TCP alone, and where it decides the comparison waits by itself.
  if (at < 99 || scene.mix === 'udp' || rng.chance(0.8)) return { call: 'close', slot };
  return { call: 'wait', ms: 3 };
}

function openSocket(rng: Random, scene: Scene): readonly Call[] {
  const protocol = scene.mix === 'mixed' ? rng.of(['tcp', 'udp'] as const) : scene.mix;
  const slot = scene.next;
  const calls: Call[] = [
    { call: 'socket', slot, protocol, family: rng.chance(0.5) ? 'ipv4' : 'ipv6', uid: rng.of(scene.users) },
  ];
  const { reuse, reusePort } = scene.habits;
  if (rng.chance(reuse)) calls.push({ call: 'set', slot, option: 'SO_REUSEADDR', value: true });
  if (rng.chance(reusePort)) calls.push({ call: 'set', slot, option: 'SO_REUSEPORT', value: true });
  return calls;
}

/** A new socket where a connection in TIME_WAIT, or its orphan in FIN_WAIT2, was: bound there, or connected anew from either end. */
function meetTimeWait(rng: Random, scene: Scene): readonly Call[] | undefined {
  const entry = rng.of([...scene.world.timeWaits.values()]);
  const ends = [
    { host: entry.local, port: scene.offsetOf(entry.port) },
    { host: entry.remote, port: scene.offsetOf(entry.remotePort) },
  ];
  const [from, to] = (rng.chance(0.3) ? ends.reverse() : ends) as [(typeof ends)[0], (typeof ends)[0]];
  const [own, there] = [from.port, to.port];
  if (scene.mix === 'udp' || own === undefined || there === undefined) return undefined;
  const slot = scene.next;
  const isFour = rng.chance(0.1) ? entry.family !== 'ipv4' : entry.family === 'ipv4';
  const calls: Call[] = [
    { call: 'socket', slot, protocol: 'tcp', family: isFour ? 'ipv4' : 'ipv6', uid: rng.of(scene.users) },
  ];
  if (rng.chance(0.7)) calls.push({ call: 'set', slot, option: 'SO_REUSEADDR', value: true });
  if (rng.chance(0.2)) calls.push({ call: 'set', slot, option: 'SO_REUSEPORT', value: true });
  const [any, spelled] = isFour ? ['0.0.0.0', fourText] : ['::', sixText];
  const host = rng.chance(0.5) ? any : spelled(from.host);
  if (rng.chance(0.7)) calls.push({ call: 'bind', slot, host, port: own, mayBindLow: true });
  if (rng.chance(0.6)) calls.push({ call: 'connect', slot, host: spelled(to.host), port: there });
  return calls;
}

/** Another listener at the same place, by SO_REUSEPORT if that one has it. */
function listenBeside(scene: Scene, beside: Slot): readonly Call[] | undefined {
  const socket = socketAt(scene, beside);
  const port = scene.offsetOf(socket?.port ?? 0);
  if (socket === undefined || port === undefined) return undefined;
  const { family, uid, v6only, local, reusePort } = socket;
  const slot = scene.next;
  return [
    { call: 'socket', slot, protocol: 'tcp', family, uid },
    { call: 'set', slot, option: reusePort ? 'SO_REUSEPORT' : 'SO_REUSEADDR', value: true },
    ...(family === 'ipv6' ? [{ call: 'set', slot, option: 'IPV6_V6ONLY', value: v6only } as const] : []),
    { call: 'bind', slot, host: local.text, port, mayBindLow: true },
    { call: 'listen', slot, backlog: 8 },
  ];
}

/** As an IPv4 socket would name it; a real IPv6 address has no such name. */
function fourText(host: Host): string {
  return host.kind === 'real' && host.family === 'ipv6' ? '127.0.0.1' : unmapped(host).text;
}

function sixText(host: Host): string {
  return host.family === 'ipv4' ? mapped(host).text : host.text;
}

function accept(rng: Random, scene: Scene, slot: Slot): Call {
  return { call: 'accept', slot, as: scene.next, uid: rng.of(scene.users) };
}

function endOf(rng: Random, slot: Slot): Call {
  switch (rng.below(6)) {
    case 0:
      return { call: 'shutdown', slot, how: rng.of(['write', 'both', 'read'] as const) };
    case 1:
      return { call: 'disconnect', slot };
    case 2:
      return { call: 'set', slot, option: 'SO_LINGER', value: rng.chance(0.7) };
    case 3:
      return { call: 'set', slot, option: 'SO_REUSEADDR', value: rng.chance(0.7) };
    default:
      return { call: 'close', slot };
  }
}

function setting(rng: Random): Setting {
  const value = rng.chance(0.75);
  switch (rng.below(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
      return { option: 'SO_REUSEADDR', value };
    case 5:
    case 6:
    case 7:
    case 8:
      return { option: 'SO_REUSEPORT', value };
    case 9:
    case 10:
      return { option: 'IPV6_V6ONLY', value: rng.chance(0.5) };
    case 11:
      return { option: 'SO_LINGER', value };
    case 12:
      return { option: 'IP_FREEBIND', value };
    case 13:
      return { option: 'IP_BIND_ADDRESS_NO_PORT', value };
    default:
      return { option: 'SO_BINDTODEVICE', value: rng.of(DEVICES), mayRebind: true };
  }
}

function bind(rng: Random, scene: Scene, slot: Slot): Call {
  return {
    call: 'bind',
    slot,
    host: hostFor(rng, scene, slot, false),
    port: rng.chance(0.2) ? null : rng.chance(0.8) ? rng.below(scene.habits.ports) : rng.below(PORTS),
    mayBindLow: !scene.mayDropRights || rng.chance(0.85),
  };
}

function connectToListener(rng: Random, scene: Scene, listener: Slot): Call {
  const socket = socketAt(scene, listener);
  const offset = socket === undefined ? undefined : scene.offsetOf(socket.port);
  const clients = scene.slots.filter(
    (slot) => stateOf(scene, slot) === 'CLOSE' && socketAt(scene, slot)?.connected === false,
  );
  const bound = clients.filter((slot) => (socketAt(scene, slot)?.port ?? 0) !== 0);
  const slot = rng.of(
    bound.length > 0 && rng.chance(0.5) ? bound : clients.length > 0 ? clients : scene.slots,
  );
  const hosts =
    socketAt(scene, slot)?.family === 'ipv4'
      ? HOSTS4.slice(0, 5)
      : [...HOSTS6.slice(0, 3), ...HOSTS6.slice(5, 10)];
  const wanted = socket === undefined || socket.local.four === 0 ? rng.of(hosts) : socket.local.text;
  const isFour = socketAt(scene, slot)?.family === 'ipv4';
  const host = isFour === !wanted.includes(':') ? wanted : rng.of(hosts);
  return { call: 'connect', slot, host, port: offset ?? rng.below(PORTS) };
}

function hostFor(rng: Random, scene: Scene, slot: Slot, toConnect: boolean): string {
  const family = socketAt(scene, slot)?.family ?? 'ipv4';
  // Now and then of the wrong family.
  const isFour = (family === 'ipv4') !== rng.chance(0.02);
  if (rng.chance(0.55)) return rng.of(isFour ? LIKELY4 : LIKELY6);
  const hosts = isFour ? HOSTS4 : HOSTS6;
  return toConnect && rng.chance(0.8)
    ? rng.of(hosts.filter((host) => !/77$|^ff|239/.test(host)))
    : rng.of(hosts);
}

function stateOf(scene: Scene, slot: Slot): string | undefined {
  return socketAt(scene, slot)?.state;
}

function socketAt(scene: Scene, slot: Slot): ReturnType<World['sockets']['get']> {
  const id = scene.idAt(slot);
  return id === undefined ? undefined : scene.world.sockets.get(id);
}
