import { SyscallError } from '../kernel/libc.js';
import { allProcesses, commandLine } from '../kernel/procfs.js';
import { type TcpSocket, tcpListeners } from '../kernel/sock-diag.js';
import { endpointsOverlap } from '../model/address.js';
import { ownNamespace } from './child-socket.js';
import type { Place } from './held.js';
import type { Stranger } from './notices.js';
import { knownKeepers } from './state.js';
import { fdsOrUnknown } from './tree.js';

/** A listening socket that is not ours. */
export interface StrangerSocket {
  readonly inode: number;
  /** Who has it, as far as we may see. Looked up when asked for: the search reads all of /proc. */
  readonly who: Stranger | undefined;
}

/**
 * Listening TCP sockets that stand in the way of one at this place, apart from ours. None
 * for a place in another network namespace, into which we do not look.
 */
export function strangersAt(place: Place, isOurs: (inode: number) => boolean): readonly StrangerSocket[] {
  if (place.netns !== ownNamespace()) return [];
  return listenersOrNone(place.address.port)
    .filter((socket) => !isOurs(socket.inode))
    .filter((socket) => endpointsOverlap({ address: socket.local, v6only: socket.v6only }, place))
    .map(({ inode }) => ({
      inode,
      get who() {
        return whoHas(inode);
      },
    }));
}

/** None where the kernel or a sandbox has no sock_diag: then it decides by itself, and nobody can be named. */
export function listenersOrNone(port?: number): readonly TcpSocket[] {
  try {
    return tcpListeners(port);
  } catch (error) {
    if (error instanceof SyscallError) return [];
    throw error;
  }
}

/** The process that has the socket; a keeper's own server is named rather than the keeper. */
export function whoHas(inode: number): Stranger | undefined {
  const keeper = knownKeepers().find((known) => known.sockets.some((socket) => socket.inode === inode));
  const pid = holderBeside(keeper?.pid, inode) ?? keeper?.pid;
  if (pid === undefined) return undefined;
  const command = commandLine(pid).join(' ');
  return { pid, command, ...(keeper === undefined ? {} : { keeper: keeper.name }) };
}

/** Who was found last: a program that tries many ports meets the same one again, and the search reads all of /proc. */
let lastHolder: number | undefined;

function holderBeside(keeper: number | undefined, inode: number): number | undefined {
  if (lastHolder === undefined || lastHolder === keeper || !hasOpen(lastHolder, inode)) {
    lastHolder = allProcesses().find((stat) => stat.pid !== keeper && hasOpen(stat.pid, inode))?.pid;
  }
  return lastHolder;
}

/** Another user's process is not for us to see. */
function hasOpen(pid: number, inode: number): boolean {
  return (fdsOrUnknown(pid, inode) ?? []).length > 0;
}
