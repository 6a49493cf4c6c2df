import { ancestors } from '../kernel/process-facts.js';
import { CAP_NET_ADMIN, hasCapability, processStat } from '../kernel/procfs.js';
import { parseInetAddress } from '../kernel/sockaddr.js';
import { endpointsOverlap } from '../model/address.js';
import { addressAt } from './binds.js';
import { describeProcess, type ProcessReport } from './process.js';
import type { SocketReport, WhyReport } from './report.js';
import { nameOf } from './summary.js';
import type { WhyOptions } from './why.js';

export interface FreeOptions extends Pick<WhyOptions, 'port' | 'host' | 'protocol'> {
  /** Also what is left in TIME_WAIT and FIN_WAIT_2 once the processes have ended. Needs CAP_NET_ADMIN. Default false. */
  readonly timeWait?: boolean | undefined;
  /** A client's connection that has the port as its own end is reset. Needs CAP_NET_ADMIN. Default false. */
  readonly connection?: boolean | undefined;
  /** From the stop signal to SIGKILL. Default 5,000. */
  readonly timeoutMs?: number | undefined;
}

/** One thing that is done. */
export type FreeStep =
  | {
      readonly kind: 'stop';
      readonly text: string;
      readonly pid: number;
      readonly startTicks: number;
      /** One of these it must still have open. */
      readonly inodes: readonly number[];
    }
  | {
      readonly kind: 'command';
      readonly text: string;
      readonly command: readonly string[];
      readonly pids: readonly number[];
    }
  | { readonly kind: 'destroy'; readonly text: string; readonly cookie: string }
  | { readonly kind: 'destroy-leftovers'; readonly text: string; readonly count: number };

export interface FreePlan {
  /** In order. None: there is nothing to free, or nothing that may be done. */
  readonly steps: readonly FreeStep[];
  /** What is in the way and is left alone, and why. */
  readonly refused: readonly string[];
}

/** Whoever is spared whatever he holds: ourselves, whoever started us, and pid 1. */
export function protectedPids(): ReadonlySet<number> {
  const self = processStat('self');
  return new Set([1, process.pid, ...(self === undefined ? [] : ancestors(self).map(({ pid }) => pid))]);
}

/** What frees the port that was reported on. Changes nothing. */
export function planFree(report: WhyReport, options: FreeOptions): FreePlan {
  if (report.verdict === 'free' || report.verdict === 'blocked') return { steps: [], refused: [] };
  const mayDestroy = hasCapability('self', CAP_NET_ADMIN);
  const targets = report.sockets.filter((socket) => isMeant(socket, report));
  const servers = targets.filter(({ state }) => state === 'LISTEN' || state === 'BOUND');
  if (options.connection) return connectionSteps(targets, mayDestroy);
  const refused: string[] = [];
  const steps: FreeStep[] = [];
  for (const socket of servers.filter(({ holders }) => holders.length === 0)) {
    if (socket.ownerKind !== 'queue-of-listener') refused.push(unseen(socket));
  }
  const pids = [...new Set(servers.flatMap(({ holders }) => holders.map(({ pid }) => pid)))];
  const plan = processSteps(pids, report, servers);
  steps.push(...plan.steps);
  refused.push(...plan.refused);
  if (servers.length > 0) return { steps, refused };
  // Nobody serves the port: connections are all that is left.
  const rest = connectionPlan(targets, report, mayDestroy);
  return {
    steps: [...rest.steps, ...leftoverSteps(report, mayDestroy)],
    refused: [...refused, ...rest.refused, ...leftoverRefusals(report, mayDestroy)],
  };
}

/** Whether the socket is in the way of the address that was asked for. */
function isMeant({ local, v6only, ownerKind }: SocketReport, { host, port }: WhyReport): boolean {
  if (ownerKind === 'queue-of-listener') return false;
  const address = parseInetAddress(local);
  if (host === null || typeof address === 'string') return true;
  return endpointsOverlap(
    { address, v6only: v6only ?? false },
    { address: addressAt(host, port), v6only: host.includes(':') },
  );
}

function unseen({ local, user, uid, ownerKind }: SocketReport): string {
  const who = user ?? `uid ${uid}`;
  return ownerKind === 'hidden'
    ? `${local} is held by a process of ${who} that may not be seen; run it with sudo`
    : `${local} is held by no process that can be seen`;
}

/** Parents before children, each with the tool that would start it again in its place. */
function processSteps(
  pids: readonly number[],
  report: WhyReport,
  sockets: readonly SocketReport[],
): FreePlan {
  const spared = protectedPids();
  const steps: FreeStep[] = [];
  const refused: string[] = [];
  const commands = new Map<string, number[]>();
  const known = pids
    .map((pid) => report.processes.find((one) => one.pid === pid))
    .filter((one) => one !== undefined);
  const byDepth = [...known].sort((a, b) => a.parents.length - b.parents.length);
  for (const found of byDepth) {
    const instead = toolFor(found);
    if (instead !== undefined) {
      const key = JSON.stringify(instead);
      const others = commands.get(key);
      if (others === undefined) {
        const mine = [found.pid];
        commands.set(key, mine);
        steps.push({
          kind: 'command',
          command: instead,
          pids: mine,
          text: `${instead.join(' ')}: ${found.supervisor?.kind} "${found.supervisor?.name}" looks after ${nameOf(found)} (pid ${found.pid})`,
        });
      } else others.push(found.pid);
      continue;
    }
    if (found.kernelThread || spared.has(found.pid)) {
      refused.push(`pid ${found.pid} (${nameOf(found)}) is ${spareReason(found)}, and is left alone`);
      continue;
    }
    const isKnown = (pid: number): boolean => steps.some((step) => step.kind === 'stop' && step.pid === pid);
    steps.push(...stopsFor(found, sockets).filter(({ pid }) => !isKnown(pid)));
  }
  return { steps, refused };
}

function spareReason({ pid, kernelThread }: ProcessReport): string {
  if (kernelThread) return 'a thread of the kernel';
  return pid === 1 ? 'the first process of the system' : 'this command or one that started it';
}

/** The command that stops it for good; undefined when a signal does. */
function toolFor({ supervisor }: ProcessReport): readonly string[] | undefined {
  if (supervisor?.stop == null || supervisor.restarts === 'ends' || supervisor.stop[0] === 'kill')
    return undefined;
  return supervisor.stop;
}

/** The one that would start it again goes before it. */
function stopsFor(found: ProcessReport, sockets: readonly SocketReport[]): readonly StopStep[] {
  // A process whose first thread has ended shows no open files of its own.
  const inodes = (found.zombieLeader ? [] : sockets)
    .filter(({ holders }) => holders.some(({ pid }) => pid === found.pid))
    .map(({ inode }) => inode)
    .filter((inode) => inode !== null);
  const own = stopStep(found, inodes);
  const { supervisor } = found;
  const restarts =
    supervisor !== null &&
    supervisor.restarts !== 'ends' &&
    supervisor.pid !== null &&
    supervisor.pid !== found.pid;
  const above = restarts ? describeProcess(supervisor.pid as number) : undefined;
  if (above === undefined || protectedPids().has(above.pid)) return [own];
  return [
    {
      ...stopStep(above, []),
      text: `SIGTERM to pid ${above.pid} (${nameOf(above)}), which would start ${nameOf(found)} again`,
    },
    own,
  ];
}

type StopStep = Extract<FreeStep, { kind: 'stop' }>;

function stopStep(found: ProcessReport, inodes: readonly number[]): StopStep {
  return {
    kind: 'stop',
    pid: found.pid,
    startTicks: found.startTicks,
    inodes,
    text: `SIGTERM to pid ${found.pid} (${nameOf(found)}${found.user === null ? '' : `, user ${found.user}`}), SIGKILL if it does not end`,
  };
}

/** Of connections alone: destroyed where that is allowed, else their process is stopped unless it is a client. */
function connectionPlan(sockets: readonly SocketReport[], report: WhyReport, mayDestroy: boolean): FreePlan {
  const isClients = report.bind.some(({ cause }) => cause === 'outgoing-connection');
  if (isClients) {
    const [first] = sockets;
    const name = report.processes[0] === undefined ? 'a client' : nameOf(report.processes[0]);
    return first === undefined
      ? { steps: [], refused: [] }
      : {
          steps: [],
          refused: [
            `${first.local} is ${name}'s end of a connection; --connection resets it and leaves the process alone`,
          ],
        };
  }
  if (mayDestroy) return connectionSteps(sockets, mayDestroy);
  const pids = [...new Set(sockets.flatMap(({ holders }) => holders.map(({ pid }) => pid)))];
  const orphans = sockets.filter(({ ownerKind }) => ownerKind === 'none');
  const plan = processSteps(pids, report, sockets);
  return {
    steps: plan.steps,
    refused: [
      ...plan.refused,
      ...orphans.map(({ local, state }) => `${state} ${local} can be removed by root alone`),
    ],
  };
}

function connectionSteps(sockets: readonly SocketReport[], mayDestroy: boolean): FreePlan {
  const connections = sockets.filter(({ state }) => state !== 'LISTEN' && state !== 'BOUND');
  if (!mayDestroy && connections.length > 0)
    return { steps: [], refused: ['a connection can be reset by root alone; run it with sudo'] };
  return {
    steps: connections.map(({ cookie, state, local, peer }) => ({
      kind: 'destroy',
      cookie,
      text: `reset ${state} ${local} -> ${peer ?? '*'}; its process goes on`,
    })),
    refused: [],
  };
}

/** In the way of the address that was asked for. */
function leftoverCount({ groups, host, port }: WhyReport): number {
  const isIt = (local: string): boolean => {
    const address = parseInetAddress(local);
    if (host === null || typeof address === 'string') return true;
    return endpointsOverlap({ address, v6only: false }, { address: addressAt(host, port), v6only: false });
  };
  return groups.reduce((sum, group) => sum + ('count' in group && isIt(group.local) ? group.count : 0), 0);
}

function leftoverSteps(report: WhyReport, mayDestroy: boolean): readonly FreeStep[] {
  const count = leftoverCount(report);
  if (count === 0 || !mayDestroy) return [];
  return [
    {
      kind: 'destroy-leftovers',
      count,
      text: `remove ${count} that nobody has any more (TIME_WAIT, FIN_WAIT_2); no process is touched`,
    },
  ];
}

function leftoverRefusals(report: WhyReport, mayDestroy: boolean): readonly string[] {
  const count = leftoverCount(report);
  if (count === 0 || mayDestroy) return [];
  return [
    `${count} in TIME_WAIT or FIN_WAIT_2 can be removed by root alone; they end by themselves, or run it with sudo`,
  ];
}
