import { release } from 'node:os';
import { cgroupPathById } from '../kernel/cgroup.js';
import { ptraceScope } from '../kernel/foreign-socket.js';
import { allProcesses, CAP_SYS_PTRACE, hasCapability, networkNamespace } from '../kernel/procfs.js';
import { resolveNow } from '../kernel/resolve.js';
import { IPPROTO_MPTCP } from '../kernel/socket.js';
import { type TcpTraffic, tcpTraffic } from '../kernel/tcp-traffic.js';
import { userName } from '../kernel/users.js';
import { formatAddress } from '../model/address.js';
import type { Protocol } from '../model/world.js';
import { bindReports } from './binds.js';
import { lookElsewhere } from './elsewhere.js';
import { fixesFor } from './fixes.js';
import { type Foresight, foresightFor } from './foresight.js';
import { lookAtPorts, onlyPort, type Ports, type PortView, type ViewedSocket } from './port-view.js';
import { describeProcess, type ProcessReport } from './process.js';
import type {
  FlagsReport,
  LeftoverGroup,
  Limits,
  LocalhostReport,
  OwnerKind,
  ReusePortGroup,
  SocketReport,
  WhyReport,
} from './report.js';
import { rolesOf } from './roles.js';
import { summaryOf } from './summary.js';
import { verdictOf } from './verdict.js';
import { takeoverOf, warningsFor } from './warnings.js';

export interface WhyOptions {
  readonly port: number;
  /** An IP address, without a port. Default: any. */
  readonly host?: string | undefined;
  /** Default `tcp`. */
  readonly protocol?: Protocol | undefined;
  /** Whether binds are tried, each closed at once. Default true. */
  readonly probe?: boolean | undefined;
  /** Whether to tell what went over each connection. Default false. */
  readonly traffic?: boolean | undefined;
  /** Where to look besides this network namespace. Default: nowhere while the port is held here. */
  readonly netns?: 'all' | undefined;
  /** How much CPU time to look for processes that have the sockets, in ms. Default: until every process has been looked into. */
  readonly lookWithinMs?: number | undefined;
}

/**
 * Who and what has a port, what binds to it would do and by which rule of the kernel, and what frees it. Works for every
 * user; what that user may not see is told in `limits`.
 *
 * @throws {SyscallError} EPROTONOSUPPORT, ENOENT: the kernel has no inet_diag.
 */
export function why(options: WhyOptions): WhyReport {
  const { protocol = 'tcp', port, lookWithinMs: withinMs } = options;
  return reportOn(lookAtPorts(protocol, port, { withinMs }), options);
}

/** The same for several ports at once, in their order. */
export function whyPorts(
  ports: Ports,
  wanted: readonly number[],
  options: Omit<WhyOptions, 'port'>,
): readonly WhyReport[] {
  const view = lookAtPorts(options.protocol ?? 'tcp', ports);
  return wanted.map((port) => reportOn(onlyPort(view, port), { ...options, port }));
}

function reportOn(view: PortView, options: WhyOptions): WhyReport {
  const { port, host = null, probe = true, netns, traffic = false } = options;
  const processes = processesOf(view, port);
  const told = traffic && view.protocol === 'tcp' ? tcpTraffic(port) : NO_TRAFFIC;
  const sockets = view.sockets.map((socket) => ({
    ...socketReport(socket, view, processes),
    traffic: told.get(socket.cookie) ?? null,
  }));
  const foresight = foresightFor(view);
  const binds = bindReports(view, foresight, { port, host, probes: probe });
  const verdict = verdictOf(sockets, view.leftovers, binds);
  const elsewhere =
    netns === 'all' || verdict === 'free' || verdict === 'blocked'
      ? lookElsewhere(view.protocol, port)
      : undefined;
  const facts = {
    schema: 1 as const,
    port,
    protocol: view.protocol,
    host,
    at: new Date().toISOString(),
    kernel: release(),
    netns: ownNetns(),
    verdict,
    sockets,
    groups: [...leftoverGroups(view), ...reusePortGroups(view)],
    processes,
    elsewhere: elsewhere?.found ?? [],
    bind: binds,
    localhost: localhostOf(view, foresight, port),
    takeover: takeoverOf(view, foresight),
    limits: limitsOf(view, verdict, elsewhere?.complete ?? false),
  };
  const report = { ...facts, warnings: warningsFor(view, facts), fixes: fixesFor(view, facts) };
  return { ...report, summary: summaryOf(report) };
}

const NO_TRAFFIC: ReadonlyMap<bigint, TcpTraffic> = new Map();

/** Everybody who has one of the sockets open. */
function processesOf({ sockets, protocol }: PortView, port: number): readonly ProcessReport[] {
  const pids = new Set(sockets.flatMap(({ holders }) => holders.map(({ pid }) => pid)));
  return [...pids]
    .map((pid) => describeProcess(pid, { port, protocol }))
    .filter((found) => found !== undefined);
}

function socketReport(
  socket: ViewedSocket,
  view: PortView,
  processes: readonly ProcessReport[],
): Omit<SocketReport, 'traffic'> {
  const { local, peer, inode, cookie, uid, device, timer, cgroupId, options } = socket;
  const ancestorsOf = (pid: number): readonly number[] =>
    processes.find((one) => one.pid === pid)?.parents.map((parent) => parent.pid) ?? [];
  const isListener = socket.state === 'LISTEN';
  return {
    state: socket.state === 'CLOSE' ? 'BOUND' : socket.state,
    family: local.family,
    local: formatAddress(local),
    peer: peer.port === 0 ? null : formatAddress(peer),
    inode: inode === 0 ? null : inode,
    cookie: cookie.toString(16),
    uid,
    user: inode === 0 ? null : (userName(uid) ?? null),
    device: device === '' ? null : device,
    v6only: local.family === 'ipv4' ? null : socket.v6only,
    acceptQueue: isListener ? socket.receiveQueue : null,
    backlog: isListener ? socket.sendQueue : null,
    timer: timer?.kind ?? null,
    expiresMs: timer?.expiresMs ?? null,
    ownerKind: ownerKindOf(socket, view),
    flags: flagsOf(socket),
    mptcp: options?.ok ? options.protocol === IPPROTO_MPTCP : null,
    cgroup: cgroupId === 0n ? null : (cgroupPathById(cgroupId) ?? null),
    holders: rolesOf(socket, view.sockets, ancestorsOf),
  };
}

/** Services of the kernel that listen themselves: port, and the thread of the kernel that is there while they run. */
const KERNEL_SERVICES: Readonly<Record<number, string>> = {
  445: 'ksmbd',
  2049: 'nfsd',
  3260: 'iscsi',
  4420: 'nvmet',
};

function ownerKindOf(
  { inode, state, holders, local }: ViewedSocket,
  { hiddenPids, skipped }: PortView,
): OwnerKind {
  if (inode === 0)
    return state === 'ESTABLISHED' || state === 'CLOSE_WAIT' || state === 'SYN_RECV'
      ? 'queue-of-listener'
      : 'none';
  if (holders.length > 0) return 'process';
  if (hiddenPids.length > 0 || skipped > 0) return 'hidden';
  const service = KERNEL_SERVICES[local.port];
  const isRunning =
    service !== undefined && allProcesses().some(({ comm, ppid }) => ppid === 2 && comm.startsWith(service));
  return isRunning ? 'kernel' : 'unseen';
}

function flagsOf({ options, inode }: ViewedSocket): FlagsReport {
  if (options?.ok)
    return { reuseaddr: options.reuse, reuseport: options.reusePort, source: 'getsockopt', why: null };
  const reason =
    inode === 0
      ? 'nobody has it open'
      : options === null
        ? 'its holder cannot be seen'
        : refusal(options.why);
  return { reuseaddr: null, reuseport: null, source: 'unknown', why: reason };
}

function refusal(code: string): string {
  if (code !== 'EPERM') return `${code} when its holder was looked into`;
  return yamaForbids() ? 'Yama (kernel.yama.ptrace_scope) lets only root look' : 'not permitted to this user';
}

function yamaForbids(): boolean {
  return (ptraceScope() ?? 0) > 0;
}

function leftoverGroups({ leftovers }: PortView): readonly LeftoverGroup[] {
  return leftovers.map(({ state, local, count, minExpiresMs, maxExpiresMs }) => ({
    kind: state === 'TIME_WAIT' ? 'time-wait' : 'fin-wait-2',
    local: formatAddress(local),
    count,
    minExpiresMs,
    maxExpiresMs,
  }));
}

/** Listeners at one address that share its connections. */
function reusePortGroups({ sockets }: PortView): readonly ReusePortGroup[] {
  const groups = new Map<string, ViewedSocket[]>();
  for (const socket of sockets.filter(({ state }) => state === 'LISTEN')) {
    const name = `${formatAddress(socket.local)} ${socket.v6only}`;
    groups.set(name, [...(groups.get(name) ?? []), socket]);
  }
  return [...groups.values()]
    .filter((members) => members.length > 1)
    .map((members) => ({
      kind: 'reuseport',
      local: formatAddress((members[0] as ViewedSocket).local),
      cookies: members.map(({ cookie }) => cookie.toString(16)),
      uids: [...new Set(members.map(({ uid }) => uid))],
    }));
}

/** Told when the two addresses lead to two servers, or the one that is tried first leads to nobody. */
function localhostOf(
  { machine, protocol }: PortView,
  foresight: Foresight,
  port: number,
): LocalhostReport | null {
  if (protocol === 'udp' || machine.addresses.ipv6.length === 0) return null;
  const [ipv4, ipv6] = ['127.0.0.1', '::1'].map((host) => foresight.reached(host, port)?.sockets[0]);
  if (ipv4 === ipv6) return null;
  const order = resolveNow('localhost');
  const first = order[0]?.includes(':') ? ipv6 : ipv4;
  if (first !== undefined && (ipv4 === undefined || ipv6 === undefined)) return null;
  const name = (socket: ViewedSocket | undefined): string | null => socket?.cookie.toString(16) ?? null;
  return { order, ipv4: name(ipv4), ipv6: name(ipv6) };
}

/** `net:[4026531833]` */
function ownNetns(): number | null {
  const digits = /\d+/.exec(networkNamespace('self') ?? '')?.[0];
  return digits === undefined ? null : Number(digits);
}

function limitsOf(view: PortView, verdict: WhyReport['verdict'], otherNetnsSeen: boolean): Limits {
  const refused = view.sockets.some(({ options, inode }) => inode !== 0 && options?.ok !== true);
  const isHidden = view.sockets.some((socket) => ownerKindOf(socket, view) === 'hidden');
  return {
    hiddenProcesses: view.hiddenPids.length,
    skippedProcesses: view.skipped,
    flagsBlockedBy: refused
      ? yamaForbids() && !hasCapability('self', CAP_SYS_PTRACE)
        ? 'yama'
        : 'permission'
      : null,
    boundInactiveSupported: view.sockets.some(({ state }) => state === 'CLOSE') ? true : null,
    otherNetnsSeen,
    complete: verdict !== 'unknown' && !isHidden,
  };
}
