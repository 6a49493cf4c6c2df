import type { PortVerdict } from './buckets.js';
import { addressesOverlap } from './conflict.js';
import { type PortChoice, portsForUdp } from './ephemeral.js';
import { enterReusePortGroup } from './lookup.js';
import type { Draft, Id, PortRange, Socket, World } from './world.js';

/**
 * Whether a UDP socket may have the port: the first socket that overlaps and does not share by SO_REUSEADDR decides.
 *
 * @see udp_lib_lport_inuse() in net/ipv4/udp.c
 */
export function judgeUdpPort(world: World, asker: Socket, port: number): PortVerdict {
  const found = world.udpPorts.get(port);
  if (found === undefined) return { rule: 'port-free' };
  const { udpFirstSharerDecides } = world.kernel.rules;
  for (const id of found) {
    const holder = world.sockets.get(id);
    if (holder === undefined || id === asker.id || !competes(world, asker, holder)) continue;
    if (!sharesByReusePort(asker, holder)) {
      const bothSet = asker.reusePort && holder.reusePort;
      return { rule: bothSet ? 'reuseport-same-user' : 'address-in-use', holder: id };
    }
    if (udpFirstSharerDecides) return { rule: 'udp-first-sharer-decides' };
  }
  return { rule: 'port-shared' };
}

export function portForUdp(world: World, asker: Socket, range: PortRange): PortChoice {
  return portsForUdp(world, range, (port) =>
    (world.udpPorts.get(port) ?? []).every((id) => {
      const holder = world.sockets.get(id);
      if (holder === undefined || id === asker.id) return true;
      return !competes(world, asker, holder) || sharesByReusePort(asker, holder);
    }),
  );
}

export function takeUdpPort(draft: Draft, id: Id, port: number): void {
  const socket = draft.socket(id);
  const others = draft.udpPorts.get(port) ?? [];
  if (socket.reusePort) enterReusePortGroup(draft, socket, others);
  const last = socket.reusePort && socket.family === 'ipv6';
  draft.udpPorts.set(port, last ? [...others, id] : [id, ...others]);
  draft.change(id, { port, boundReuse: socket.reuse, boundReusePort: socket.reusePort });
}

export function releaseUdpPort(draft: Draft, id: Id): void {
  const { port } = draft.socket(id);
  if (port === 0) return;
  const left = (draft.udpPorts.get(port) ?? []).filter((other) => other !== id);
  if (left.length === 0) draft.udpPorts.delete(port);
  else draft.udpPorts.set(port, left);
  draft.change(id, { port: 0, group: null });
}

function competes(world: World, asker: Socket, holder: Socket): boolean {
  const holderReuse = world.kernel.rules.flagsReadAtCheck ? holder.reuse : holder.boundReuse;
  if (asker.reuse && holderReuse) return false;
  if (asker.device !== '' && holder.device !== '' && asker.device !== holder.device) return false;
  return addressesOverlap(asker, holder);
}

function sharesByReusePort(asker: Socket, holder: Socket): boolean {
  return asker.reusePort && holder.reusePort && asker.group === null && asker.uid === holder.uid;
}
