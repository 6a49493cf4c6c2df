import { isForbidden } from '../errors.js';
import {
  ancestors,
  cgroupPath,
  effectiveUid,
  environmentVariable,
  executable,
  livingThreads,
  startDate,
  terminalName,
  workingDirectory,
} from '../kernel/process-facts.js';
import { commandLine, type ProcessStat, processStat } from '../kernel/procfs.js';
import { userName } from '../kernel/users.js';
import { programOf } from '../model/program.js';
import type { Protocol } from '../model/world.js';
import { type CgroupContainer, type CgroupFacts, readCgroup } from './cgroup.js';
import {
  type ContainerReport,
  describeContainer,
  type PublishedPort,
  publishedPort,
  publisherOf,
} from './container.js';
import { type SocketUnit, socketUnitFor } from './socket-unit.js';
import { findSupervisor, type Lineage, type SeenProcess, type Supervisor } from './supervisor.js';

/** A process above another one. */
export interface ParentReport {
  readonly pid: number;
  readonly comm: string;
  /** What it runs, without arguments, which may have secrets. */
  readonly name: string;
}

/** Who a process is, who started it and who would start it again. */
export interface ProcessReport {
  readonly pid: number;
  /** Clock ticks since boot: with the pid, the process without a doubt. */
  readonly startTicks: number;
  readonly comm: string;
  /** Empty for a kernel thread. */
  readonly cmdline: readonly string[];
  readonly cwd: string | null;
  readonly exe: string | null;
  readonly uid: number | null;
  readonly user: string | null;
  /** Path below /dev of its controlling terminal. */
  readonly tty: string | null;
  readonly startedAt: string;
  /** Its parent first, up to pid 1. */
  readonly parents: readonly ParentReport[];
  /** The system's service that it belongs to. */
  readonly unit: string | null;
  /** The service of a user's systemd. */
  readonly userUnit: string | null;
  /** For a port at which systemd itself listens. */
  readonly socketUnit: string | null;
  /** The container that it is in, or whose port it forwards. */
  readonly container: ContainerReport | null;
  /** What it forwards, when it is docker's proxy. */
  readonly publishes: PublishedPort | null;
  readonly kernelThread: boolean;
  /** Its first thread has ended and others go on; signals still reach it. */
  readonly zombieLeader: boolean;
  readonly supervisor: Supervisor | null;
  /** Which of `cwd` and `exe` may not be read by this user. */
  readonly hidden: readonly ('cwd' | 'exe')[];
}

export interface DescribeOptions {
  /** The port because of which one asks: systemd and docker know for whom they hold it. */
  readonly port?: number;
  readonly protocol?: Protocol;
}

/**
 * Describes a process from /proc. Another program is asked only for what it alone knows, and for 300 ms at most: the
 * client of docker or podman when the process is in a container of theirs, systemctl when systemd itself has `port`.
 *
 * @returns undefined when there is no such process, or it may not be seen at all (hidepid).
 */
export function describeProcess(pid: number, options: DescribeOptions = {}): ProcessReport | undefined {
  const stat = statOrHidden(pid);
  if (stat === undefined) return undefined;
  const threads = stat.state === 'Z' ? livingThreads(pid) : [];
  // A zombie leader has lost its files, and each of its threads still has them.
  const alive = threads[0] ?? pid;
  const self = seenProcess(pid, stat.comm, alive);
  const parents = ancestors(stat).map(({ pid: parent, comm }) => seenProcess(parent, comm));
  const cgroup = readCgroup(cgroupPath(alive) ?? '/');
  const uid = effectiveUid(pid);
  const container = containerOf(self, parents, cgroup, options);
  const socketUnit = socketUnitOf(self, options);
  const tty = terminalName(stat);
  const lineage = { self, parents, cgroup, own: ownCgroup(), hasTerminal: tty !== undefined, container };
  return {
    pid,
    startTicks: stat.startTime,
    comm: stat.comm,
    cmdline: self.cmdline,
    ...placeOf(self, stat, threads),
    uid: uid ?? null,
    user: (uid === undefined ? undefined : userName(uid)) ?? null,
    tty: tty ?? null,
    startedAt: startDate(stat).toISOString(),
    parents: parents.map(({ pid, comm, cmdline }) => ({ pid, comm, name: programOf(cmdline).name || comm })),
    unit: cgroup.unit ?? null,
    userUnit: cgroup.userUnit ?? null,
    socketUnit: socketUnit?.unit ?? null,
    container,
    publishes: publishedPort(self.cmdline) ?? null,
    kernelThread: stat.isKernelThread,
    zombieLeader: threads.length > 0,
    supervisor: supervisorOf({ ...lineage, otherUser: otherUserOf(cgroup) }, socketUnit) ?? null,
  };
}

function statOrHidden(pid: number): ProcessStat | undefined {
  try {
    return processStat(pid);
  } catch (error) {
    if (isForbidden(error)) return undefined;
    throw error;
  }
}

/** `alive`: a thread that has what the process had open. */
function seenProcess(pid: number, comm: string, alive: number = pid): SeenProcess {
  return {
    pid,
    comm,
    cmdline: commandLine(alive),
    exe: () => executable(alive),
    cwd: () => workingDirectory(alive),
    env: (name) => environmentVariable(alive, name),
  };
}

function placeOf(
  self: SeenProcess,
  stat: ProcessStat,
  threads: readonly number[],
): Pick<ProcessReport, 'cwd' | 'exe' | 'hidden'> {
  const cwd = self.cwd();
  const exe = self.exe();
  // Threads of the kernel and zombies have none; everything else has both.
  const hasNone = stat.isKernelThread || (stat.state === 'Z' && threads.length === 0);
  const hidden = (['cwd', 'exe'] as const).filter((name) => !hasNone && { cwd, exe }[name] === undefined);
  return { cwd: cwd ?? null, exe: exe ?? null, hidden };
}

/** Read at every call: a library's process may be moved. */
function ownCgroup(): CgroupFacts {
  return readCgroup(cgroupPath(process.pid) ?? '/');
}

/** Whose systemd runs a user's service, when it is not our own user's. */
function otherUserOf({ userUid }: CgroupFacts): string | undefined {
  if (userUid === undefined || userUid === process.getuid?.()) return undefined;
  return userName(userUid) ?? `${userUid}`;
}

function containerOf(
  self: SeenProcess,
  parents: readonly SeenProcess[],
  cgroup: CgroupFacts,
  { port, protocol = 'tcp' }: DescribeOptions,
): ContainerReport | null {
  const found = cgroup.container ?? containerByShim(parents);
  if (found !== undefined) return describeContainer(found, cgroup.userUid);
  const published = publishedPort(self.cmdline);
  if (published !== undefined) return publisherOf(published.protocol, published.hostPort) ?? null;
  // Without the proxy the daemon itself binds the port, so that nobody else does.
  const isPlaceholder = self.comm === 'dockerd' && port !== undefined;
  return (isPlaceholder ? publisherOf(protocol, port) : undefined) ?? null;
}

/** Where cgroups tell nothing: each container has a process above it that was told its number. */
function containerByShim(parents: readonly SeenProcess[]): CgroupContainer | undefined {
  for (const { cmdline } of parents) {
    const after = (flag: string): string | undefined =>
      cmdline.includes(flag) ? cmdline[cmdline.indexOf(flag) + 1] : undefined;
    const program = cmdline[0] ?? '';
    const id = after(program.includes('conmon') ? '-c' : '-id');
    if (id === undefined || !/(?:^|\/)(?:conmon|containerd-shim[\w-]*)$/.test(program)) continue;
    if (program.endsWith('conmon')) return { runtime: 'podman', id };
    return { runtime: after('-namespace') === 'moby' ? 'docker' : 'containerd', id };
  }
  return undefined;
}

function socketUnitOf(
  self: SeenProcess,
  { port, protocol = 'tcp' }: DescribeOptions,
): SocketUnit | undefined {
  const isUser = self.cmdline.includes('--user');
  const isSystemd = self.comm === 'systemd' && (self.pid === 1 || isUser);
  return isSystemd && port !== undefined ? socketUnitFor(protocol, port, isUser) : undefined;
}

function supervisorOf(lineage: Lineage, socketUnit: SocketUnit | undefined): Supervisor | undefined {
  if (socketUnit === undefined) return findSupervisor(lineage);
  const { unit, activates } = socketUnit;
  const user = lineage.self.pid === 1 ? [] : ['--user'];
  // The service alone would be started again by the next connection.
  const stop = ['systemctl', ...user, 'stop', unit, ...(activates === '' ? [] : [activates])];
  return { kind: 'systemd-socket', name: unit, pid: null, restarts: 'yes', stop };
}
