import { formatAddress } from '../model/address.js';
import type { HeldSockets } from './held.js';
import { listenersOrNone } from './strangers.js';
import { socketsOf, type WorkerTree } from './tree.js';

/** A listening socket of the worker that never came through the trap. */
export interface UnheldListener {
  readonly pid: number;
  readonly address: string;
}

/** Sockets that the worker listens on and the keeper does not have: port 0, io_uring, 32-bit calls, inherited. */
export function unheldListeners(tree: WorkerTree, held: HeldSockets): readonly UnheldListener[] {
  const listeners = new Map(listenersOrNone().map((socket) => [socket.inode, socket]));
  return tree.members().flatMap(({ pid }) =>
    // What is not dumpable or another user's is reported when it binds.
    socketsOf(pid)
      .map((inode) => (held.byInode(inode) ? undefined : listeners.get(inode)))
      .filter((socket) => socket !== undefined)
      .map((socket) => ({ pid, address: formatAddress(socket.local) })),
  );
}
