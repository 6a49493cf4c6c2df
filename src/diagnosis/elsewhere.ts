import { walkSockets } from '../kernel/fd-walk.js';
import { SyscallError } from '../kernel/libc.js';
import { inNetworkNamespace, type NetworkNamespace, networkNamespaces } from '../kernel/netns.js';
import { commandLine } from '../kernel/procfs.js';
import { type TcpSocket, tcpListeners, udpSockets } from '../kernel/sock-diag.js';
import { formatAddress } from '../model/address.js';
import { programOf } from '../model/program.js';
import type { Protocol } from '../model/world.js';
import type { ElsewhereReport } from './report.js';

export interface Elsewhere {
  readonly found: readonly ElsewhereReport[];
  /** Whether every other network namespace could be looked into. */
  readonly complete: boolean;
}

/** Who listens on the port in other network namespaces: containers, `ip netns`. What may not be entered is left out. */
export function lookElsewhere(protocol: Protocol, port: number): Elsewhere {
  const { namespaces, hiddenPids } = networkNamespaces();
  const others = namespaces.filter(({ isOwn }) => !isOwn);
  let complete = hiddenPids.length === 0;
  const found = others.flatMap((namespace) => {
    try {
      const rows = inNetworkNamespace(namespace.path, () =>
        protocol === 'tcp' ? tcpListeners(port) : udpSockets(port),
      );
      return rows.length === 0 ? [] : [reportOf(namespace, rows)];
    } catch (error) {
      // EPERM: not for this user. ENOENT: it ended since.
      if (!(error instanceof SyscallError)) throw error;
      complete = false;
      return [];
    }
  });
  return { found, complete };
}

function reportOf({ inode, pids, name }: NetworkNamespace, rows: readonly TcpSocket[]): ElsewhereReport {
  const { holders } = walkSockets(new Set(rows.map((row) => row.inode)));
  const [pid] = pids;
  return {
    netns: inode,
    label:
      name ??
      (pid === undefined
        ? `network namespace ${inode}`
        : `of ${programOf(commandLine(pid)).name} (pid ${pid})`),
    sockets: rows.map(({ state, local, inode: socket }) => ({
      state: state === 'CLOSE' ? 'BOUND' : state,
      local: formatAddress(local),
      pids: [...new Set((holders.get(socket) ?? []).map((holder) => holder.pid))],
    })),
  };
}
