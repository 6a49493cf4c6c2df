import { isForbidden } from '../errors.js';
import { O_CLOEXEC } from '../kernel/fd.js';
import type { SocketFd } from '../kernel/fd-walk.js';
import { epollRegistrations, fdFlags } from '../kernel/procfs.js';
import { threadsWait } from '../kernel/thread-calls.js';
import type { ViewedSocket } from './port-view.js';
import type { HolderReport } from './report.js';

/**
 * What everybody who has the socket does with it. `ancestorsOf`: a process's parents, nearest first.
 *
 * A listener is leaked to a process that has it open past an exec, does not wait for connections, has accepted none, and
 * from which no other holder descends (a parent that keeps the socket for its children does nothing with it either).
 */
export function rolesOf(
  socket: ViewedSocket,
  all: readonly ViewedSocket[],
  ancestorsOf: (pid: number) => readonly number[],
): readonly HolderReport[] {
  const holders = socket.holders.map((holder) => ({
    ...holder,
    waits: socket.state === 'LISTEN' ? waitsOn(holder, socket.inode) : null,
  }));
  const isParent = (pid: number): boolean => holders.some((child) => ancestorsOf(child.pid).includes(pid));
  return holders.map(({ pid, fd, waits }) => ({
    pid,
    fd,
    waits,
    leaked: waits === false && isInherited(pid, fd) && !hasAccepted(pid, socket, all) && !isParent(pid),
  }));
}

function waitsOn({ pid, fd, thread }: SocketFd, inode: number): boolean | null {
  // Of a process whose first thread has ended nothing more can be told.
  if (thread !== undefined) return null;
  try {
    if (epollRegistrations(pid, inode).length > 0) return true;
    const call = threadsWait(pid, fd);
    return call === undefined ? null : call !== 'other';
  } catch (error) {
    if (isForbidden(error)) return null;
    throw error;
  }
}

/** Whether the fd goes on past an exec. */
function isInherited(pid: number, fd: number): boolean {
  return ((fdFlags(pid, fd) ?? O_CLOEXEC) & O_CLOEXEC) === 0;
}

function hasAccepted(pid: number, { local }: ViewedSocket, all: readonly ViewedSocket[]): boolean {
  return all.some(
    ({ state, local: { port }, holders }) =>
      state !== 'LISTEN' && port === local.port && holders.some((holder) => holder.pid === pid),
  );
}
