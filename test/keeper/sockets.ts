import { fdInfo, listeners, openFiles } from '../support/proc.js';

/** Of each fd by which the process has a listener on the port, in the order of the numbers. */
export function listenerFds(
  pid: number,
  port: number,
): readonly { readonly closeOnExec: boolean; readonly nonBlocking: boolean }[] {
  const inodes = listeners(port).map((socket) => socket.inode);
  return openFiles(pid)
    .filter((file) => file.inode !== undefined && inodes.includes(file.inode))
    .sort((one, other) => one.fd - other.fd)
    .map((file) => fdInfo(pid, file.fd))
    .map(({ closeOnExec, nonBlocking }) => ({ closeOnExec, nonBlocking }));
}

/** Of all listeners on the port. */
export function inodesOf(port: number): readonly number[] {
  return listeners(port)
    .map((socket) => socket.inode)
    .sort((one, other) => one - other);
}
