import { readOrGone } from './procfs.js';

const SS_CONNECTED = '03';

/**
 * Inodes of the connected unix sockets of this network namespace that have one of these local paths, `@name` for an abstract
 * one: the servers' ends, as the clients' have no path. What nobody has accepted yet has no inode and is not among them.
 *
 * @see proc_net(5) /proc/net/unix; unix_stream_connect() in net/unix/af_unix.c: an accepted socket has its listener's path
 */
export function acceptedUnixSockets(paths: readonly string[]): readonly number[] {
  const inodes: number[] = [];
  for (const line of (readOrGone('/proc/net/unix') ?? '').split('\n')) {
    const [, state, inode, path] = ROW.exec(line) ?? [];
    if (state !== SS_CONNECTED || inode === '0' || path === undefined) continue;
    if (paths.includes(Buffer.from(path, 'latin1').toString())) inodes.push(Number(inode));
  }
  return inodes;
}

/** Number, references, protocol, flags, type, state, inode and path. */
const ROW = /^\S+ \S+ \S+ \S+ \S+ (\S+) +(\d+) (.+)$/;
