import { spawn } from 'node:child_process';
import { HoldfastError } from '../errors.js';
import { close } from '../kernel/fd.js';
import { SyscallError } from '../kernel/libc.js';
import { pidfdOpen, pidfdSignal } from '../kernel/pidfd.js';
import { Poller } from '../kernel/poller.js';
import { CAP_NET_ADMIN, fdsOfSocket, hasCapability, processStat } from '../kernel/procfs.js';
import { destroyLeftovers, destroyTcpSocket } from '../kernel/sock-destroy.js';
import { tcpPort } from '../kernel/sock-diag.js';
import { signalNumber } from '../model/signals.js';
import { type FreeOptions, type FreePlan, type FreeStep, planFree } from './free-plan.js';
import type { WhyReport } from './report.js';
import { OWN_MAIN } from './supervisor.js';
import { waitFor } from './wait-for.js';
import { why } from './why.js';

/** What was done. */
export interface FreeResult {
  /** `with-reuseaddr`: connections of the former server are left, which a server that sets SO_REUSEADDR can bind over. */
  readonly freed: 'yes' | 'with-reuseaddr' | 'no';
  readonly ended: readonly EndedProcess[];
  /** Sockets and leftovers that were destroyed. */
  readonly destroyed: number;
  /** What was not done, and why. */
  readonly refused: readonly string[];
  /** The port afterwards. */
  readonly report: WhyReport;
}

export interface EndedProcess {
  readonly pid: number;
  /** `command`: by the tool that looks after it. */
  readonly by: 'SIGTERM' | 'SIGKILL' | 'command';
  readonly ms: number;
}

const STOP_TIMEOUT_MS = 5_000;
/** After the last process has ended, its sockets go at once; those of one that was killed a moment later. */
const SETTLE_MS = 2_000;

/**
 * Frees a port: ends the processes that have it, by their own tools where something would start them again, and removes
 * what is left of earlier connections when nobody has the port. Never ends a client, its own parents or pid 1.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_NOT_FREED: a tool failed, or a process may not be signalled.
 */
export async function free(options: FreeOptions): Promise<FreeResult> {
  return carryOut(planFree(why(options), options), options);
}

/** Does what was planned. Whoever is not any more who he was then is left alone. */
export async function carryOut(plan: FreePlan, options: FreeOptions): Promise<FreeResult> {
  const ended: EndedProcess[] = [];
  let destroyed = 0;
  for (const step of plan.steps) {
    if (step.kind === 'stop') {
      const end = await stop(step, options.timeoutMs ?? STOP_TIMEOUT_MS);
      if (end !== undefined) ended.push(end);
    } else if (step.kind === 'command') ended.push(...(await runTool(step)));
    else destroyed += destroy(step, options);
  }
  if (ended.length > 0) await settled(options);
  if (options.timeWait && ended.length > 0) destroyed += destroyAll(options);
  const report = why({ ...options, probe: true });
  return { freed: freedOf(report), ended, destroyed, refused: plan.refused, report };
}

async function settled({ port, host, protocol }: FreeOptions): Promise<void> {
  const leftovers = (): boolean => (protocol === 'udp' ? false : tcpPort(port).sockets.length === 0);
  if (leftovers()) return;
  await waitFor({ port, host, protocol, until: 'free', timeoutMs: SETTLE_MS });
}

function freedOf({ verdict, bind }: WhyReport): FreeResult['freed'] {
  if (verdict === 'free') return 'yes';
  const isOpen = bind.some(({ cause }) => cause === 'leftover-needs-reuseaddr');
  return verdict === 'leftovers' && isOpen ? 'with-reuseaddr' : 'no';
}

/** SIGTERM, and SIGKILL when it takes too long. Undefined when it had ended, or has the socket no more. */
async function stop(
  step: Extract<FreeStep, { kind: 'stop' }>,
  timeoutMs: number,
): Promise<EndedProcess | undefined> {
  const { pid, startTicks, inodes } = step;
  const pidfd = openOrGone(pid);
  if (pidfd === undefined) return undefined;
  try {
    // The pidfd is a process's for ever, so what is true now of its number is true of it.
    const stat = processStat(pid);
    const hasEnded = stat === undefined || (stat.state === 'Z' && stat.threads === 1);
    if (hasEnded || stat.startTime !== startTicks) return undefined;
    if (inodes.length > 0 && !inodes.some((inode) => fdsOfSocket(pid, inode).length > 0)) return undefined;
    const begin = performance.now();
    const since = (): number => performance.now() - begin;
    signalOrGone(pidfd, pid, 'SIGTERM');
    if (await ends(pidfd, timeoutMs)) return { pid, by: 'SIGTERM', ms: since() };
    signalOrGone(pidfd, pid, 'SIGKILL');
    if (await ends(pidfd, timeoutMs)) return { pid, by: 'SIGKILL', ms: since() };
    throw new HoldfastError(
      'ERR_HOLDFAST_NOT_FREED',
      `pid ${pid} does not end, not even by SIGKILL; it may wait for a device`,
    );
  } finally {
    close(pidfd);
  }
}

function openOrGone(pid: number): number | undefined {
  try {
    return pidfdOpen(pid);
  } catch (error) {
    if (error instanceof SyscallError && error.code === 'ESRCH') return undefined;
    throw error;
  }
}

function signalOrGone(pidfd: number, pid: number, name: 'SIGTERM' | 'SIGKILL'): void {
  try {
    pidfdSignal(pidfd, signalNumber(name));
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    if (error.code === 'ESRCH') return;
    throw new HoldfastError(
      'ERR_HOLDFAST_NOT_FREED',
      `pid ${pid} may not be signalled by this user; run it with sudo`,
      error,
    );
  }
}

/** Whether the process ends within the time. Sleeps in the kernel. */
function ends(pidfd: number, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const poller = new Poller();
    const finish = (ended: boolean) => (): void => {
      clearTimeout(timer);
      poller.remove(pidfd);
      poller.close();
      resolve(ended);
    };
    const timer = setTimeout(finish(false), timeoutMs);
    poller.add(pidfd, finish(true));
  });
}

async function runTool({
  command,
  pids,
}: Extract<FreeStep, { kind: 'command' }>): Promise<readonly EndedProcess[]> {
  // `holdfast stop` is that of this very holdfast, wherever it is installed.
  const [file = '', ...args] =
    command[0] === 'holdfast' ? [process.execPath, OWN_MAIN, ...command.slice(1)] : command;
  const begin = performance.now();
  const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const code = await new Promise<number | string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (exit, signal) => resolve(exit ?? signal ?? 'nothing'));
  });
  if (code !== 0)
    throw new HoldfastError('ERR_HOLDFAST_NOT_FREED', `${command.join(' ')} ended with ${code}`);
  const ms = performance.now() - begin;
  return pids.map((pid) => ({ pid, by: 'command', ms }));
}

function destroy(
  step: Extract<FreeStep, { kind: 'destroy' | 'destroy-leftovers' }>,
  options: FreeOptions,
): number {
  if (step.kind === 'destroy-leftovers') return destroyAll(options);
  // Looked up once more: the cookie names that very socket.
  const found = tcpPort(options.port).sockets.find(({ cookie }) => cookie.toString(16) === step.cookie);
  if (found === undefined) return 0;
  destroyTcpSocket(found);
  return 1;
}

function destroyAll({ port, host }: FreeOptions): number {
  if (!hasCapability('self', CAP_NET_ADMIN)) {
    throw new HoldfastError(
      'ERR_HOLDFAST_NOT_FREED',
      `what is left of connections on port ${port} can be removed by root alone; run it with sudo`,
    );
  }
  return leftoverHosts(host)
    .map((one) => destroyLeftovers({ port, host: one, states: ['TIME_WAIT', 'FIN_WAIT2'] }).destroyed)
    .reduce((sum, count) => sum + count, 0);
}

/** Connections have one address each; of a dual-stack socket an IPv4 one is mapped. Undefined: any. */
function leftoverHosts(host: string | undefined): readonly (string | undefined)[] {
  if (host === undefined || host === '0.0.0.0' || host === '::') return [undefined];
  return host.includes(':') ? [host] : [host, `::ffff:${host}`];
}
