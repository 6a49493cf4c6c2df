import { formatAge, formatUntil } from './age.js';
import { outcomeOf } from './binds.js';
import { ownerOf } from './owner.js';
import type { ProcessReport } from './process.js';
import type {
  BindReport,
  Cause,
  Fix,
  HolderReport,
  LeftoverGroup,
  SocketReport,
  WhyReport,
} from './report.js';
import { nameOf } from './summary.js';

export interface DescribeFlags {
  /** Every row. */
  readonly verbose?: boolean | undefined;
}

/** As many rows of a kind as are shown unless all are asked for. */
const ROWS = 4;

/** The report in words: verdict, who, why a bind fails, what frees it, what could not be seen. */
export function describeWhy(report: WhyReport, { verbose = false }: DescribeFlags = {}): string {
  const parts = [
    [report.summary],
    holders(report, verbose),
    elsewhere(report),
    localhost(report),
    binds(report, verbose),
    warnings(report, verbose),
    fixes(report.fixes),
    limits(report),
  ];
  return `${parts
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n')}\n`;
}

function holders(report: WhyReport, verbose: boolean): readonly string[] {
  const { sockets, groups } = report;
  const main = sockets.filter(({ state }) => state === 'LISTEN' || state === 'BOUND');
  const others = sockets.filter((socket) => !main.includes(socket));
  const waiting = others.filter(({ ownerKind }) => ownerKind === 'queue-of-listener');
  const had = others.filter(({ ownerKind }) => ownerKind !== 'queue-of-listener');
  const rows = verbose ? main.map((socket) => ({ socket, count: 1 })) : alike(main, report);
  const shown = verbose ? rows : rows.slice(0, ROWS);
  const told = new Set<number>();
  return [
    ...shown.flatMap(({ socket, count }) => listener(socket, count, report, { verbose, told })),
    ...(shown.length < rows.length ? [`  and ${rows.length - shown.length} more; -v shows all`] : []),
    ...(verbose ? had.flatMap((socket) => connection(socket, report)) : connections(had, report)),
    ...(waiting.length > 0 ? [`  ${waiting.length} connected and not yet accepted`] : []),
    ...groups.filter((group) => group.kind !== 'reuseport').map(leftover),
    ...groups
      .filter((group) => group.kind === 'reuseport')
      .map(
        ({ cookies, local }) =>
          `  ${cookies.length} listeners on ${local} share its connections (SO_REUSEPORT)`,
      ),
    ...(main.length === 0 && groups.some((group) => group.kind !== 'reuseport') && had.length === 0
      ? ['  nobody listens, no process has a socket']
      : []),
  ];
}

interface Row {
  readonly socket: SocketReport;
  /** So many that do not differ in what is shown. */
  readonly count: number;
}

/** Sockets of one owner at one address are one row. */
function alike(sockets: readonly SocketReport[], { processes }: WhyReport): readonly Row[] {
  const rows = new Map<string, Row>();
  for (const socket of sockets) {
    const { state, local, device } = socket;
    const key = [state, local, device, ownerOf(socket, processes)?.pid, describeFlags(socket)].join(' ');
    const row = rows.get(key);
    rows.set(key, row === undefined ? { socket, count: 1 } : { ...row, count: row.count + 1 });
  }
  return [...rows.values()];
}

/** `told`: processes that have been described; each is once. */
interface Telling {
  readonly verbose: boolean;
  readonly told: Set<number>;
}

function listener(
  socket: SocketReport,
  count: number,
  report: WhyReport,
  { verbose, told }: Telling,
): readonly string[] {
  const { state, local, acceptQueue, backlog, flags, device, mptcp } = socket;
  const queue = acceptQueue === null ? '' : `, backlog ${backlog} (${acceptQueue} waiting)`;
  const lines = [
    `  ${state.padEnd(9)} ${local}${device === null ? '' : `%${device}`}  ${owner(socket, report)}${queue}${mptcp ? ', MPTCP' : ''}${count > 1 ? `, ${count} sockets` : ''}`,
  ];
  const first = ownerOf(socket, report.processes)?.pid;
  const sorted = [...socket.holders].sort((a, b) => Number(b.pid === first) - Number(a.pid === first));
  const fresh = sorted.filter(({ pid }) => !told.has(pid));
  const people = fresh.slice(0, verbose ? undefined : 3);
  for (const holder of people) {
    told.add(holder.pid);
    lines.push(...describeHolder(holder, holder.pid === first, report, verbose));
  }
  if (people.length < fresh.length)
    lines.push(`            and ${fresh.length - people.length} more have it open; -v shows all`);
  lines.push(`            socket flags  ${describeFlags(socket)}`);
  if (state === 'BOUND' && report.protocol === 'tcp')
    lines.push('            not shown by ss -l, lsof or netstat; connections to it are refused');
  if (verbose && flags.why !== null) lines.push(`            flags not read: ${flags.why}`);
  return lines;
}

function owner(socket: SocketReport, { processes }: WhyReport): string {
  const {
    ownerKind,
    holders: [first],
    user,
    uid,
  } = socket;
  const process = ownerOf(socket, processes);
  switch (ownerKind) {
    case 'process':
      return process === undefined
        ? `pid ${first?.pid}`
        : `${nameOf(process)}, pid ${process.pid}, user ${process.user ?? process.uid ?? '?'}`;
    case 'hidden':
      return `of user ${user ?? uid}, whose process may not be seen`;
    case 'unseen':
      return `of user ${user ?? uid}, in no process that can be seen`;
    case 'kernel':
      return 'of the kernel itself';
    case 'queue-of-listener':
      return 'waits to be accepted';
    case 'none':
      return 'nobody has it open';
  }
}

function describeHolder(
  { pid, fd, leaked }: HolderReport,
  isFirst: boolean,
  { processes }: WhyReport,
  verbose: boolean,
): readonly string[] {
  const found = processes.find((one) => one.pid === pid);
  if (found === undefined) return [];
  const lines = [`            ${isFirst ? '' : `also pid ${pid}: `}${commandOf(found)}`];
  if (leaked) {
    lines.push(`            open as fd ${fd}, inherited; it does not wait for connections`);
    lines.push(`            ${parentLine(found)}`);
  } else if (verbose || isFirst) {
    const place = [
      found.cwd === null ? undefined : `cwd ${found.cwd}`,
      found.tty === null ? undefined : `tty ${found.tty}`,
    ];
    const known = place.filter((one) => one !== undefined);
    if (known.length > 0) lines.push(`            ${known.join('   ')}`);
    if (found.parents.length > 0) lines.push(`            started by  ${chainOf(found)}`);
  }
  if (found.supervisor !== null && isFirst)
    lines.push(`            kept by ${found.supervisor.kind} "${found.supervisor.name}"`);
  if (found.zombieLeader) lines.push('            its first thread has ended; the others go on');
  return lines;
}

function parentLine({ parents }: ProcessReport): string {
  const [parent] = parents;
  if (parent === undefined || parent.pid === 1) return 'the process that started it is gone';
  return `started by ${parent.comm} (pid ${parent.pid})`;
}

/** From the outermost to the process. */
function chainOf({ parents, comm, pid }: ProcessReport): string {
  const above = parents
    .filter((parent) => parent.pid !== 1)
    .slice(0, 4)
    .reverse();
  return [...above.map((parent) => `${parent.name} ${parent.pid}`), `${comm} ${pid}`].join(' > ');
}

const COMMAND_MAX = 90;

function commandOf({ cmdline, comm }: ProcessReport): string {
  const text = cmdline.length === 0 ? `[${comm}]` : cmdline.join(' ').replace(/\s+/g, ' ');
  return text.length > COMMAND_MAX ? `${text.slice(0, COMMAND_MAX - 1)}…` : text;
}

function describeFlags({ flags, v6only }: SocketReport): string {
  const word = (on: boolean | null): string => (on === null ? 'not readable' : on ? 'on' : 'off');
  if (flags.source === 'unknown') return `not readable (${flags.why})`;
  return `reuseaddr ${word(flags.reuseaddr)}, reuseport ${word(flags.reuseport)}${v6only === null ? '' : `, v6only ${word(v6only)}`}`;
}

/** Connections counted by state and process. */
function connections(sockets: readonly SocketReport[], { processes }: WhyReport): readonly string[] {
  const groups = new Map<string, { readonly socket: SocketReport; count: number }>();
  for (const socket of sockets) {
    const name = `${socket.state} ${socket.holders[0]?.pid ?? socket.ownerKind}`;
    const group = groups.get(name) ?? { socket, count: 0 };
    group.count++;
    groups.set(name, group);
  }
  return [...groups.values()].slice(0, ROWS).map(({ socket, count }) => {
    const {
      state,
      holders: [first],
      peer,
      local,
    } = socket;
    const found = processes.find(({ pid }) => pid === first?.pid);
    const who =
      found === undefined
        ? socket.ownerKind === 'none'
          ? 'nobody has them open'
          : `user ${socket.user ?? socket.uid}`
        : `${nameOf(found)} (pid ${found.pid})`;
    const where = count === 1 ? `${local} -> ${peer ?? '*'}` : `${count} connections at ${local}`;
    return `  ${state.padEnd(9)} ${where}, ${who}${hint(socket)}`;
  });
}

function connection(socket: SocketReport, report: WhyReport): readonly string[] {
  const { traffic } = socket;
  if (traffic === null) return connections([socket], report);
  const { bytesReceived, bytesAcked, lastDataReceivedMs, lastDataSentMs } = traffic;
  const quiet = formatAge(Math.min(lastDataReceivedMs, lastDataSentMs));
  return [
    ...connections([socket], report),
    `            ${bytesReceived} bytes received, ${bytesAcked} sent, quiet for ${quiet}`,
  ];
}

/** What keeps a half-closed connection. */
function hint({ state, ownerKind, expiresMs }: SocketReport): string {
  if (state === 'CLOSE_WAIT') return ': the other end has closed, the application has not';
  if (state !== 'FIN_WAIT2' || ownerKind !== 'process') return '';
  return expiresMs === null ? ': half-closed; waits for the other end, no timer runs' : '';
}

function leftover(group: LeftoverGroup): string {
  const { kind, local, count, minExpiresMs, maxExpiresMs } = group;
  const ends =
    count === 1
      ? `ends in about ${formatUntil(maxExpiresMs)}`
      : `first ends in about ${formatUntil(minExpiresMs)}, last in about ${formatUntil(maxExpiresMs)}`;
  return `  ${(kind === 'time-wait' ? 'TIME_WAIT' : 'FIN_WAIT2').padEnd(9)} ${count} on ${local}   ${ends}`;
}

function elsewhere({ elsewhere: found }: WhyReport): readonly string[] {
  if (found.length === 0) return [];
  return [
    'In other network namespaces, not in your way',
    ...found.map(({ label, sockets }) => {
      const first = sockets[0];
      const pids = [...new Set(sockets.flatMap((one) => one.pids))];
      return `  ${first?.state} ${first?.local}  ${label}${pids.length === 0 ? '' : `, pid ${pids.join(', ')}`}`;
    }),
  ];
}

function localhost({ localhost: found, sockets, processes, port }: WhyReport): readonly string[] {
  if (found === null) return [];
  const who = (cookie: string | null): string => {
    if (cookie === null) return 'nobody';
    const socket = sockets.find((one) => one.cookie === cookie);
    const process = processes.find(({ pid }) => pid === socket?.holders[0]?.pid);
    return process === undefined ? `${socket?.local}` : `${nameOf(process)} (pid ${process.pid})`;
  };
  const order = found.order.length === 0 ? '' : `; the name is tried as ${found.order.join(', then ')}`;
  return [
    `What localhost:${port} reaches`,
    `  127.0.0.1: ${who(found.ipv4)}; ::1: ${who(found.ipv6)}${order}`,
  ];
}

const CAUSES: Readonly<Record<Cause, string>> = {
  listen: 'a socket listens there; SO_REUSEADDR does not help against that, SO_REUSEPORT only if both set it',
  'bound-no-reuse': 'a socket is bound there; both would have to set SO_REUSEADDR, or both SO_REUSEPORT',
  'leftover-needs-reuseaddr': 'connections of an earlier server are left there; with SO_REUSEADDR it works',
  'leftover-holder-without-reuseaddr':
    'connections of an earlier server are left there, which had not set SO_REUSEADDR',
  connection: 'a connection has the port',
  'outgoing-connection':
    'a client has the port as its own end of a connection, and connect() sets no flag that would share it',
  'reuseport-other-uid': 'SO_REUSEPORT shares a port among the sockets of one user only',
  'dualstack-meets-v4': 'one of the two sockets is at [::] and has IPv4 as well',
  'v6only-free': 'the socket at [::] has IPV6_V6ONLY and leaves IPv4 alone',
  'privileged-port':
    'the port is below net.ipv4.ip_unprivileged_port_start and this process has no CAP_NET_BIND_SERVICE',
  'address-not-local': 'no interface has the address',
  'bucket-cache': 'the kernel remembers something of earlier binds that cannot be seen',
  unseen: 'nothing that can be seen is in the way',
};

/** One line for each address and outcome, the options that share it together. */
function binds(report: WhyReport, verbose: boolean): readonly string[] {
  if (report.verdict === 'free' && !verbose) return [];
  const asked = verbose ? report.bind : report.bind.filter((bind) => isTelling(bind, report));
  const rows = new Map<string, { readonly bind: BindReport; readonly options: string[] }>();
  for (const bind of asked) {
    const key = `${bind.address} ${outcomeOf(bind)} ${bind.cause} ${bind.expected === bind.probed || bind.probed === null}`;
    const row = rows.get(key) ?? { bind, options: [] };
    row.options.push(bind.options.length === 0 ? 'plain' : bind.options.join('+'));
    rows.set(key, row);
  }
  return [
    'What a bind does',
    ...[...rows.values()].map(({ bind, options }) => {
      const why = bind.cause === null ? '' : `: ${CAUSES[bind.cause]}`;
      const rule = bind.rule === null || !verbose ? '' : ` [${bind.rule}]`;
      return `  ${bind.address}  ${options.join(', ')}: ${outcomeText(bind)}${why}${rule}`;
    }),
  ];
}

/** Wildcards and what was asked for always; other addresses where they differ from them. */
function isTelling({ address, options, expected, probed }: BindReport, { bind, host }: WhyReport): boolean {
  if (host !== null || /^(?:0\.0\.0\.0|\[::\]):/.test(address)) return options.length < 2;
  const wild = bind.find(
    (one) =>
      one.options.join() === options.join() &&
      one.address.startsWith(address.startsWith('[') ? '[::]:' : '0.0.0.0:'),
  );
  return options.length === 0 && wild !== undefined && outcomeOf(wild) !== outcomeOf({ expected, probed });
}

function outcomeText({ expected, probed }: BindReport): string {
  const word = (outcome: string): string =>
    outcome === 'ok' ? 'works' : outcome === 'unknown' ? 'cannot be told' : outcome;
  if (probed === null) return `${word(expected)} (expected)`;
  if (expected === 'unknown') return `${word(probed)} (tried just now)`;
  return expected === probed
    ? word(probed)
    : `${word(probed)} when tried, though ${word(expected)} was expected`;
}

function warnings({ warnings: found, takeover }: WhyReport, verbose: boolean): readonly string[] {
  const lines = found.flatMap(({ text, lines }) => [`Note: ${text}`, ...lines.map((line) => `  ${line}`)]);
  if (verbose && takeover?.possible === false)
    lines.push(`Another user cannot take its connections by binding ${takeover.address} [${takeover.rule}]`);
  return lines;
}

function fixes(found: readonly Fix[]): readonly string[] {
  if (found.length === 0) return [];
  return [
    'Fixes',
    ...found.map(
      ({ text, command }, index) =>
        `  ${index + 1}. ${command === null ? text : `${quoted(command)}   ${text}`}`,
    ),
  ];
}

/** A command line to paste. */
export function quoted(command: readonly string[]): string {
  return command
    .map((word) =>
      /^[\w@%+=:,./[\]-]+$/.test(word) && !word.includes('[') ? word : `'${word.replaceAll("'", "'\\''")}'`,
    )
    .join(' ');
}

function limits({
  limits: { hiddenProcesses, skippedProcesses, flagsBlockedBy },
  port,
  sockets,
  verdict,
}: WhyReport): readonly string[] {
  const lines: string[] = [];
  const isHidden = sockets.some(({ ownerKind }) => ownerKind === 'hidden');
  if (skippedProcesses > 0 && isHidden)
    lines.push(
      `${skippedProcesses} ${skippedProcesses === 1 ? 'process was' : 'processes were'} not looked into, in order not to hold up the program; holdfast why ${port} does`,
    );
  else if (hiddenProcesses > 0 && (isHidden || verdict === 'unknown'))
    lines.push(
      `${hiddenProcesses} ${hiddenProcesses === 1 ? 'process is' : 'processes are'} closed to this user; run it with sudo to see who has the socket`,
    );
  if (flagsBlockedBy === 'yama')
    lines.push('flags of sockets are not readable under Yama; run it with sudo to see them');
  return lines;
}
