import { accessSync, constants, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode } from '../errors.js';
import { close } from '../kernel/fd.js';
import { pidfdOpen, pidfdSignal } from '../kernel/pidfd.js';
import { CAP_SYS_ADMIN, childrenOf, hasCapability, statusField } from '../kernel/procfs.js';
import { type Finding, limited, no, yes } from './report.js';

/** sun_path of struct sockaddr_un has 108 bytes, one of them for the end. @see unix(7) */
const SOCKET_PATH_MAX = 107;
const NAME_MAX = 64;
const NO_SIGNAL = 0;

/** Signals go to exactly the process that is meant. */
export function pidfds(): Finding {
  try {
    const pidfd = pidfdOpen(process.pid);
    try {
      pidfdSignal(pidfd, NO_SIGNAL);
    } finally {
      close(pidfd);
    }
    return yes('pidfd_open and pidfd_send_signal work');
  } catch (error) {
    const remedy = 'Linux 5.3 or later, and in a container a seccomp profile that allows them';
    return no(`pidfd_open or pidfd_send_signal is refused (${errorCode(error)})`, remedy);
  }
}

/** What NO_NEW_PRIVS, which a filter needs without CAP_SYS_ADMIN, means for the server. */
export function privilegeGain(): Finding {
  const lost = 'sudo, ping and programs with file capabilities gain no privileges below the keeper';
  if (statusField('self', 'NoNewPrivs') === '1') {
    return limited(`this process is under NO_NEW_PRIVS already: ${lost}`, 'start the keeper outside of it');
  }
  if (hasCapability('self', CAP_SYS_ADMIN))
    return yes('privileged programs such as sudo work below the keeper');
  return limited(
    `without CAP_SYS_ADMIN a server runs with NO_NEW_PRIVS: ${lost}`,
    'run the keeper as root, with --user for the server, or without the trap (--no-trap --listen)',
  );
}

/** How the processes of a server are found. */
export function childrenLists(): Finding {
  if (childrenOf(process.pid) !== undefined) return yes('/proc/PID/task/TID/children');
  return limited(
    'no /proc/PID/task/TID/children: all of /proc is read instead, which is slower',
    'a kernel with CONFIG_PROC_CHILDREN',
  );
}

/** Tells only: the processes of a server are found without cgroups. */
export function cgroups(): Finding {
  const folder = ownCgroup();
  if (folder === undefined) return limited('no cgroup v2 is mounted; a server is followed through /proc');
  if (isWritable(folder) && isWritable(join(folder, 'cgroup.procs'))) return yes(`${folder} is writable`);
  return limited(`${folder} is not writable by this user; a server is followed through /proc`);
}

/** Whether keepers can have their files in this folder. */
export function judgeDirectory(path: string): Finding {
  if (!isWritable(path)) return no(`${path} is not writable`, 'set XDG_RUNTIME_DIR to a folder that is');
  const room = SOCKET_PATH_MAX - Buffer.byteLength(join(path, '.sock'));
  if (room >= NAME_MAX) return yes(path);
  const remedy = 'set XDG_RUNTIME_DIR to a shorter path';
  if (room < 1) return no(`${path} is too long for the path of a socket`, remedy);
  return limited(`${path}: with so long a path a keeper's name has at most ${room} characters`, remedy);
}

/** The folder of the cgroup that this process is in; undefined where there is no cgroup v2. */
function ownCgroup(): string | undefined {
  const mount = readLines('/proc/self/mountinfo').find((line) => line.includes(' - cgroup2 '));
  const own = readLines('/proc/self/cgroup').find((line) => line.startsWith('0::'));
  // The fourth field is what of the hierarchy is mounted, the fifth where. @see proc_pid_mountinfo(5)
  const [, , , root = '/', folder] = mount?.split(' ') ?? [];
  if (folder === undefined || own === undefined) return undefined;
  const path = own.slice('0::'.length);
  return join(folder, root !== '/' && path.startsWith(root) ? path.slice(root.length) : path);
}

function readLines(path: string): readonly string[] {
  return readFileSync(path, 'utf8').split('\n');
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    // EACCES, EROFS, ENOENT: the answer is no.
    return false;
  }
}
