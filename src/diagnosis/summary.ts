import { programOf } from '../model/program.js';
import { formatAge } from './age.js';
import { isLeakedTo, ownerOf } from './owner.js';
import type { ProcessReport } from './process.js';
import type { SocketReport, WhyReport } from './report.js';

type Told = Omit<WhyReport, 'summary'>;

/** The verdict in one sentence. */
export function summaryOf(report: Told): string {
  switch (report.verdict) {
    case 'free':
      return `${subject(report)} is free: a bind is expected to succeed${elsewhereToo(report)}.`;
    case 'blocked':
      return blocked(report);
    case 'unknown':
      return `Whether ${subject(report)} is free cannot be told: what decides may not be seen by this user.`;
    case 'leftovers':
      return leftovers(report);
    case 'held':
      return held(report);
  }
}

function subject({ port, protocol, host }: Pick<Told, 'port' | 'protocol' | 'host'>): string {
  const name = protocol === 'udp' ? `UDP port ${port}` : `Port ${port}`;
  return host === null ? name : `${name} on ${host}`;
}

function elsewhereToo({ elsewhere }: Told): string {
  const [first] = elsewhere;
  return first === undefined
    ? ''
    : `; it is taken in another network namespace (${first.label}), which is in nobody's way here`;
}

function blocked(report: Told): string {
  const cause = report.bind.find((one) => one.cause !== null)?.cause;
  if (cause === 'privileged-port')
    return `${subject(report)} is free, but this user may not bind it: it is below net.ipv4.ip_unprivileged_port_start.`;
  if (cause === 'address-not-local')
    return `${subject(report)} cannot be bound: no interface has that address.`;
  return `${subject(report)} cannot be bound though nothing that can be seen has it.`;
}

function leftovers(report: Told): string {
  const { groups, sockets } = report;
  const count = groups.reduce((sum, group) => sum + ('count' in group ? group.count : 0), 0) + sockets.length;
  const states = [...new Set(groups.map(({ kind }) => (kind === 'fin-wait-2' ? 'FIN_WAIT_2' : 'TIME_WAIT')))];
  const what = count === 1 ? '1 connection' : `${count} connections`;
  const where = states.length === 0 ? 'being closed' : `in ${states.join(' and ')}`;
  return `${subject(report)} has no owner any more: ${what} of a server that is gone ${count === 1 ? 'is' : 'are'} ${where}.`;
}

function held(report: Told): string {
  const listeners = report.sockets.filter(({ state }) => state === 'LISTEN');
  const first =
    listeners[0] ??
    report.sockets.find(({ state }) => state === 'BOUND') ??
    report.sockets.find(({ ownerKind }) => ownerKind !== 'none');
  if (first === undefined) return `${subject(report)} is held.`;
  const owners = new Set(listeners.map((socket) => socket.holders[0]?.pid ?? socket.ownerKind));
  if (owners.size > 1 && !isOneGroup(report)) {
    return `${subject(report)} is held ${owners.size === 2 ? 'twice' : `${owners.size} times`}, by different servers. All started without an error.`;
  }
  return `${subject(report)} ${heldBy(report, first)}`;
}

function isOneGroup({ groups, sockets }: Told): boolean {
  const listeners = sockets.filter(({ state }) => state === 'LISTEN');
  return groups.some((group) => group.kind === 'reuseport' && group.cookies.length === listeners.length);
}

function heldBy(report: Told, socket: SocketReport): string {
  const whose = socket.user ?? `uid ${socket.uid}`;
  if (socket.ownerKind === 'hidden' && process.geteuid?.() !== 0)
    return `is held by a process of ${whose}; this user may not see which one.`;
  if (socket.ownerKind === 'kernel') return 'is held by a service of the kernel itself.';
  if (socket.ownerKind === 'unseen' || socket.ownerKind === 'hidden')
    return `is held by a socket of ${whose} that no process which can be seen has open: it may be on its way in a message, registered with io_uring, or in another pid namespace.`;
  const owner = ownerOf(socket, report.processes);
  if (owner === undefined) return 'is held by a process that has just ended, or is about to.';
  if (isLeakedTo(socket, owner))
    return `is held by a process that does nothing with it: ${nameOf(owner)} (pid ${owner.pid}) inherited the socket.`;
  if (socket.state === 'BOUND' && report.protocol === 'tcp')
    return `is reserved by ${nameOf(owner)} (pid ${owner.pid}), which has bound it and does not listen.`;
  if (report.bind.some(({ cause }) => cause === 'outgoing-connection') && socket.state !== 'LISTEN')
    return `is no server's: ${nameOf(owner)} (pid ${owner.pid}) has it as its end of a connection.`;
  return `is held by ${describeOwner(owner)}.`;
}

function describeOwner(owner: ProcessReport): string {
  const age = formatAge(Date.now() - Date.parse(owner.startedAt));
  const tty = owner.tty === null ? '' : ` on ${owner.tty}`;
  const { container, supervisor, socketUnit } = owner;
  if (container !== null) {
    const name = container.name ?? container.id.slice(0, 12);
    return `the container ${name}${container.image === null ? '' : ` (${container.image})`}, by ${nameOf(owner)} (pid ${owner.pid})`;
  }
  if (socketUnit !== null) return `systemd for the unit ${socketUnit}`;
  if (supervisor?.kind === 'holdfast' && supervisor.pid === owner.pid)
    return `the keeper "${supervisor.name}" (pid ${owner.pid}), whose server does not run just now`;
  if (supervisor?.kind === 'holdfast')
    return `the keeper "${supervisor.name}" and its server ${nameOf(owner)} (pid ${owner.pid}), started ${age} ago`;
  const unit = owner.unit ?? owner.userUnit;
  if (unit !== null) return `the service ${unit}, by ${nameOf(owner)} (pid ${owner.pid}), started ${age} ago`;
  return `${whose(owner)} ${nameOf(owner)} (pid ${owner.pid}), started ${age} ago${tty}`;
}

function whose({ uid, user }: ProcessReport): string {
  if (uid === (process.geteuid?.() ?? -1)) return 'your own';
  return `${user ?? `uid ${uid}`}'s`;
}

/** `vite` rather than `node`. */
export function nameOf({ comm, cmdline }: Pick<ProcessReport, 'comm' | 'cmdline'>): string {
  if (cmdline.length === 0) return comm;
  const { name } = programOf(cmdline);
  return name === '' ? comm : name;
}
