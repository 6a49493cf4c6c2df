import cluster from 'node:cluster';
import { fstatSync } from 'node:fs';
import type { Server } from 'node:net';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { type Kernel, loadKernel } from './kernel.js';
import { closeListener } from './listener.js';

export interface Intake {
  /** How many connections have been accepted so far. */
  readonly accepted: () => number;
  /** How long it may take at most. */
  readonly mostMs: number;
}

/**
 * Takes in who waits in the queue of a listening socket, and closes the socket: who waits there then is reset. Where clients
 * come all the time, the kernel is made to answer no further SYN before (Linux): those clients try again after a second,
 * and find the successor or nobody, but are not reset.
 */
export async function takeInQueue(server: Server, { accepted, mostMs }: Intake): Promise<void> {
  if (await comes(accepted, Math.min(LOOK_MS, mostMs))) await letNobodyCome(server);
  await emptied(accepted, mostMs);
  if (server.listening) closeListener(server);
}

/** Where nobody has come for so long, hardly anybody comes in the time of a turn of the event loop. */
const LOOK_MS = 25;
/** Handshakes that have begun may take so long, in a network of one place. */
const HANDSHAKE_MS = 20;
/** So many turns of the event loop must bring nobody. Each asks the kernel, which tells of a socket where somebody waits. */
const QUIET_TURNS = 2;

async function comes(accepted: () => number, forMs: number): Promise<boolean> {
  const before = accepted();
  // Timers run before the event loop asks who has come.
  await sleep(forMs);
  await setImmediate();
  return accepted() !== before;
}

async function emptied(accepted: () => number, mostMs: number): Promise<void> {
  const sinceMs = performance.now();
  let before = Number.NaN;
  for (let quiet = 0; quiet < QUIET_TURNS && performance.now() - sinceMs < mostMs; ) {
    const now = accepted();
    quiet = now === before ? quiet + 1 : 0;
    before = now;
    await setImmediate();
  }
}

/** To the end, as a process may have to wait for a CPU before it can close: unless somebody is given the socket meanwhile. */
async function letNobodyCome(server: Server): Promise<void> {
  const kernel = await loadKernel();
  const { fd = -1 } = (server as { readonly _handle?: { readonly fd?: number } | null })._handle ?? {};
  if (kernel === undefined || typeof server.address() === 'string' || isShared(kernel, fd)) return;
  try {
    kernel.dropSyns(fd);
  } catch {
    return; // a sandbox
  }
  await sleep(HANDSHAKE_MS);
  // It may have been closed meanwhile, with its number.
  if (server.listening && isShared(kernel, fd)) kernel.takeSyns(fd);
}

/**
 * Whether others may have the listening socket, and go on with it: nobody who comes is reset then. Those that may not be
 * seen are left aside, since what they would have given it by tells of them.
 */
function isShared({ walkSockets }: Kernel, fd: number): boolean {
  if (cluster.isWorker || INHERITED.some((name) => process.env[name] !== undefined)) return true;
  try {
    const { ino } = fstatSync(fd);
    const { holders, skipped } = walkSockets(new Set([ino]), WALK_MS);
    return skipped > 0 || (holders.get(ino) ?? []).some(({ pid }) => pid !== process.pid);
  } catch {
    return true; // no /proc, or closed
  }
}

const WALK_MS = 50;
/** Set by holdfast, and by systemd and its like. */
const INHERITED = ['HOLDFAST_WORKER', 'LISTEN_FDS'];
