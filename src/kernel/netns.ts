import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { errorCode, errorText } from '../errors.js';
import { close, open } from './fd.js';
import { check, declare, syscall } from './libc.js';
import { networkNamespace, processNumbers, runsProgram } from './procfs.js';

const nativeSetns = declare('int setns(int fd, int kind)');
const nativeUnshare = declare('int unshare(int flags)');

const CLONE_NEWNET = 0x40000000;

/**
 * Puts the calling thread into a new network namespace, empty but for `lo`, which is down. Sockets that it has stay
 * where they are. Call it from the main thread: /proc/sys/net is that thread's.
 *
 * @throws {SyscallError} EPERM: no CAP_SYS_ADMIN; inside a user namespace of its own every user has it.
 * @see unshare(2), network_namespaces(7)
 */
export function enterNewNetworkNamespace(): void {
  check('unshare', nativeUnshare(CLONE_NEWNET));
}

/** Sets a value under /proc/sys of the namespace that the main thread is in. @throws {Error} EINVAL, EACCES, ENOENT */
export function setSysctl(path: string, value: string): void {
  try {
    writeFileSync(`/proc/sys/${path}`, value);
  } catch (error) {
    const text = `${path} = ${value}: ${errorText(error)}`;
    throw Object.assign(new Error(text, { cause: error }), { code: errorCode(error) });
  }
}

/**
 * Does the work with another user as the owner of sockets that it makes. It acts on the calling thread alone. Needs
 * CAP_SETUID; the thread keeps its capabilities for the network.
 *
 * @see setfsuid(2)
 */
export function withSocketOwner<T>(uid: number, work: () => T): T {
  const before = syscall('setfsuid', uid);
  try {
    return work();
  } finally {
    syscall('setfsuid', before);
  }
}

/** Does the work as an ordinary user without capabilities. It acts on the calling thread alone. @see setresuid(2) */
export function withoutCapabilities<T>(uid: number, work: () => T): T {
  check('setresuid', syscall('setresuid', -1, uid, -1));
  try {
    return work();
  } finally {
    check('setresuid', syscall('setresuid', -1, 0, -1));
  }
}

/** One network namespace of this machine. */
export interface NetworkNamespace {
  readonly inode: number;
  /** A few processes that are in it; none when only a mount keeps it. */
  readonly pids: readonly number[];
  /** A file that stands for it, for `inNetworkNamespace`: a mount if there is one, else that of the first process. */
  readonly path: string;
  /** Of that mount, as ip-netns(8) and Docker call it. */
  readonly name: string | undefined;
  /** Whether the calling thread is in it. */
  readonly isOwn: boolean;
}

/** The network namespaces that we may see. */
export interface NetworkNamespaces {
  readonly namespaces: readonly NetworkNamespace[];
  /** Processes that may be in any other: theirs is not for us to see. */
  readonly hiddenPids: readonly number[];
}

const OWN = '/proc/thread-self/ns/net';
const MOUNT_FOLDERS = ['/run/netns', '/run/docker/netns'];
const PIDS_TOLD = 3;

/**
 * The network namespaces of all processes, and those that ip-netns(8) or Docker keeps by a mount.
 *
 * @see network_namespaces(7), ip-netns(8)
 */
export function networkNamespaces(): NetworkNamespaces {
  const own = statSync(OWN);
  const found = new Map<number, { pids: number[]; path: string; name: string | undefined }>();
  const hiddenPids: number[] = [];
  for (const { inode, path, name } of mountedNamespaces(own.dev)) {
    if (!found.has(inode)) found.set(inode, { pids: [], path, name });
  }
  for (const pid of processNumbers()) {
    const inode = inodeOf(networkNamespace(pid));
    const known = inode === undefined ? undefined : found.get(inode);
    if (inode === undefined) {
      if (runsProgram(pid)) hiddenPids.push(pid);
    } else if (known === undefined) {
      found.set(inode, { pids: [pid], path: `/proc/${pid}/ns/net`, name: undefined });
    } else if (known.pids.length < PIDS_TOLD) known.pids.push(pid);
  }
  const namespaces = [...found].map(([inode, seen]) => ({ inode, ...seen, isOwn: inode === own.ino }));
  return { namespaces, hiddenPids };
}

interface Mounted {
  readonly inode: number;
  readonly path: string;
  readonly name: string;
}

/** `device`: of the file system of namespaces. A file there that nothing is mounted on stands for none. */
function mountedNamespaces(device: number): readonly Mounted[] {
  return MOUNT_FOLDERS.flatMap((folder) =>
    namesIn(folder).map((name) => ({ name, path: `${folder}/${name}` })),
  )
    .map(({ name, path }) => ({ name, path, stat: statSync(path, { throwIfNoEntry: false }) }))
    .flatMap(({ name, path, stat }) => (stat?.dev === device ? [{ inode: stat.ino, path, name }] : []));
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    // Nobody made one, or they are root's alone; then their processes are hidden too.
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'EACCES') return [];
    throw error;
  }
}

/** `net:[4026531833]` */
function inodeOf(link: string | undefined): number | undefined {
  const digits = /^net:\[(\d+)\]$/.exec(link ?? '')?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/**
 * Does the work with the calling thread in another network namespace, and goes back whatever happens. Sockets that it
 * opens stay there. The work must be over when it returns: what it leaves to later runs at home.
 *
 * @param path such as `/proc/PID/ns/net`.
 * @throws {SyscallError} EPERM: no CAP_SYS_ADMIN, in the namespace's own user namespace too. EACCES: the process is
 *   another user's. ENOENT: it has ended. EINVAL: the file is no network namespace.
 * @see setns(2)
 */
export function inNetworkNamespace<T>(path: string, work: () => T): T {
  const home = open(OWN);
  try {
    enter(path);
    try {
      return work();
    } finally {
      check('setns', nativeSetns(home, CLONE_NEWNET));
    }
  } finally {
    close(home);
  }
}

function enter(path: string): void {
  const target = open(path);
  try {
    check('setns', nativeSetns(target, CLONE_NEWNET));
  } finally {
    close(target);
  }
}
