import type { PortRange } from '../kernel/inet-diag.js';
import { isListening, setReusePort, stopListening } from '../kernel/socket.js';
import { sameAddress } from '../model/address.js';
import { GroupOrder } from '../model/reuseport-group.js';
import { ownNamespace } from './child-socket.js';
import { byPlace, type HeldSocket, type Place, placeKey, steer, turnAwayClients, unsteer } from './held.js';
import { listenersOrNone } from './strangers.js';

/** The SO_REUSEPORT group of one place, as far as the keeper steers it. */
interface Group {
  order: GroupOrder;
  /** Who gets the new connections. */
  serving: readonly HeldSocket[];
  /** Who gets those of a readiness check instead. */
  check: Check | undefined;
}

/** What is known of a group, without an fd in it. */
export interface SavedGroup {
  readonly key: string;
  /** Inodes in the order of their indexes; none when that is uncertain. */
  readonly order: readonly number[];
  readonly serving: readonly number[];
}

/** A candidate that is asked whether it is ready, from source ports that nobody else has. */
export interface Check {
  readonly held: HeldSocket;
  readonly sourcePorts: PortRange;
}

/**
 * The SO_REUSEPORT groups in which sockets of several generations are at one place. New connections go to those sockets
 * alone that were last named by `serve`.
 *
 * The kernel numbers the members in the order in which they began to listen, and puts the last in the place of one that
 * leaves. It leaves when nobody has it open any more, whoever that is: so the order is read from the kernel.
 *
 * @see reuseport_add_sock(), reuseport_detach_sock() in net/core/sock_reuseport.c
 */
export class ReusePortGroups {
  readonly #groups = new Map<string, Group>();

  save(): readonly SavedGroup[] {
    return [...this.#groups].map(([key, { order, serving }]) => ({
      key,
      order: order.uncertain().length === 0 ? order.members() : [],
      serving: serving.map(({ inode }) => inode),
    }));
  }

  /** Goes on with groups that another keeper has steered. `held`: those of its sockets that are ours now. */
  restore(groups: readonly SavedGroup[], held: readonly HeldSocket[]): void {
    for (const { key, order, serving } of groups) {
      const sockets = held.filter(({ inode }) => serving.includes(inode));
      if (sockets.length === 0) continue;
      this.#groups.set(key, { order: new GroupOrder(order), serving: sockets, check: undefined });
      this.serve(sockets);
    }
  }

  /** Lets others join the group of these sockets, which all are at one place, and get nothing. */
  open(members: readonly HeldSocket[]): void {
    for (const { fd } of members) setReusePort(fd, true);
    const [first] = members;
    if (first !== undefined && this.#groupOf(first).serving.length === 0) this.serve(members);
  }

  /** The socket has begun to listen, alone on its place. */
  opened(held: HeldSocket): void {
    const group = this.#groupOf(held);
    group.order = new GroupOrder([held.inode]);
    group.serving = [held];
    this.#steer(group);
  }

  /** The socket has begun to listen, as the last of its group. */
  joined(held: HeldSocket): void {
    const { order } = this.#groupOf(held);
    this.#sync(held, order, held.inode);
    order.join(held.inode);
  }

  /** From now on new connections come to these sockets, which all are at one place, in turn. */
  serve(members: readonly HeldSocket[], check?: Check): void {
    const [first] = members;
    if (first === undefined) return;
    const group = this.#groupOf(first);
    group.serving = members;
    group.check = check;
    this.#sync(first, group.order);
    this.#steer(group);
  }

  /** Whether new connections come to the socket, as far as `serve` has said so. */
  isServing(held: HeldSocket): boolean {
    const group = held.place && this.#groups.get(placeKey(held.place));
    return group?.serving.includes(held) === true;
  }

  /**
   * Takes sockets of which no process is left out of their groups, one after the other. An index that no member has means
   * any of them, so that one who is to leave next could get a client, and reset it. So while one leaves, and the last
   * takes its place, only those serve that stay where they are.
   */
  leave(sockets: readonly HeldSocket[]): void {
    for (const [first, ...others] of byPlace(sockets)) {
      const key = first?.place && placeKey(first.place);
      const group = key === undefined ? undefined : this.#groups.get(key);
      if (first === undefined || key === undefined || group === undefined) continue;
      this.#sync(first, group.order);
      const leaving = [first, ...others].filter((held) => mayLeave(held, group));
      if (leaving.length === 0) continue;
      group.check = undefined;
      // When fewer serve than leave, none may be left who stays: who is led astray then comes again after a second.
      for (const held of leaving) turnAwayClients(held);
      for (const { fd, inode } of leaving) {
        const moved = group.order.movedBy(inode);
        const staying = group.serving.filter((one) => !moved.includes(one.inode));
        this.#steer({ ...group, serving: staying });
        stopListening(fd);
        group.order.leave(inode);
        if (staying.length === 0) this.#steer(group);
      }
      this.#settle(key, group);
    }
  }

  /** Puts right what members that left the groups have changed. */
  refresh(): void {
    for (const [key, group] of this.#groups) {
      const [first] = group.serving;
      if (first === undefined) {
        this.#groups.delete(key);
        continue;
      }
      if (this.#sync(first, group.order)) this.#settle(key, group);
    }
  }

  /** The socket is no longer held. */
  released(held: HeldSocket): void {
    if (held.place === undefined) return;
    const group = this.#groups.get(placeKey(held.place));
    if (group === undefined) return;
    group.serving = group.serving.filter((one) => one !== held);
    // Where we do not look, it leaves with its server, which ends before we let go of it.
    if (held.place.netns !== ownNamespace()) group.order.leave(held.inode);
  }

  /** Whether it is a group that the program makes for itself, and nobody else is in it. */
  #isPrograms({ order, serving }: Group): boolean {
    const inodes = serving.map(({ inode }) => inode);
    return (
      serving.every((held) => held.programReusesPort) &&
      order.members().every((inode) => inodes.includes(inode))
    );
  }

  /** Steers it, if that is our affair. */
  #settle(key: string, group: Group): void {
    if (this.#isPrograms(group)) this.#leaveAlone(key, group);
    else this.#steer(group);
  }

  /** As without a keeper, the kernel chooses again. */
  #leaveAlone(key: string, { serving: [first] }: Group): void {
    this.#groups.delete(key);
    if (first !== undefined) unsteer(first.fd);
  }

  #groupOf({ place }: HeldSocket): Group {
    if (place === undefined) throw new Error('a unix socket is in no group');
    const key = placeKey(place);
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    const group: Group = { order: new GroupOrder(), serving: [], check: undefined };
    this.#groups.set(key, group);
    return group;
  }

  /** Whether anybody has joined or left. */
  #sync({ place }: HeldSocket, order: GroupOrder, beside?: number): boolean {
    // Into another network namespace we do not look.
    if (place?.netns !== ownNamespace()) return false;
    const there = listenersAt(place).filter((inode) => inode !== beside);
    const { joined, left } = order.sync(there);
    return joined.length + left.length > 0;
  }

  #steer({ order, serving, check }: Group): void {
    const [first] = serving;
    if (first?.place === undefined) return;
    const inodes = serving.map(({ inode }) => inode);
    // Which of two that left at once was the first may be unknown: then those whose index is known get all.
    const to = order.indexesOfAll(inodes) ?? inodes.flatMap((inode) => order.indexOf(inode) ?? []);
    const index = check === undefined ? undefined : order.indexOf(check.held.inode);
    if (to.length === 0) return;
    steer(first.fd, {
      to,
      family: first.place.address.family,
      ...(check !== undefined && index !== undefined && { check: { sourcePorts: check.sourcePorts, index } }),
    });
  }
}

/** Whether it is a member that serves nobody, and that nobody else needs. */
function mayLeave({ fd, inode, inherited }: HeldSocket, { order, serving }: Group): boolean {
  return !inherited && order.has(inode) && !serving.some((one) => one.inode === inode) && isListening(fd);
}

/** Inodes of what listens at exactly this place. */
function listenersAt({ address, v6only, device }: Place): readonly number[] {
  return listenersOrNone(address.port)
    .filter(
      ({ local, interfaceIndex }) =>
        sameAddress(local, address) && (interfaceIndex === 0) === (device === ''),
    )
    .filter((socket) => socket.v6only === v6only || address.host !== '::')
    .map(({ inode }) => inode);
}
