import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode } from '../errors.js';

const FOLDERS_MAX = 5_000;

/**
 * The cgroup v2 with that id, as a path below its mount: `/` or e.g. `/user.slice/user-1000.slice`. The id is the inode
 * number of its folder, so all folders are looked at, from the top, until it is found: 5,000 at most. Undefined: it is not
 * there, or not visible from here.
 *
 * @see cgroups(7); INET_DIAG_CGROUP_ID in net/ipv4/inet_diag.c
 */
export function cgroupPathById(id: bigint): string | undefined {
  const mount = unifiedMount();
  if (mount === undefined) return undefined;
  const paths = ['/'];
  for (let next = 0; next < paths.length && next < FOLDERS_MAX; next++) {
    const path = paths[next] ?? '/';
    const folder = join(mount, path);
    if (inodeOf(folder) === id) return path;
    for (const child of foldersIn(folder)) paths.push(join(path, child));
  }
  return undefined;
}

/** The process's cgroup v2, as a path below its mount; undefined where it is not told. @see cgroups(7) */
export function cgroupOf(pid: number): string | undefined {
  const text = unlessUnseen(() => readFileSync(`/proc/${pid}/cgroup`, 'utf8'));
  return /^0::(\/.*)$/m.exec(text ?? '')?.[1];
}

/** Moves a process into a cgroup v2. @throws {Error} EACCES, ENOENT, EOPNOTSUPP: it takes no processes. */
export function moveToCgroup(pid: number, path: string): void {
  const mount = unifiedMount();
  if (mount === undefined || cgroupOf(pid) === path) return;
  writeFileSync(join(mount, path, 'cgroup.procs'), `${pid}`);
}

/** Where cgroup v2 is mounted: /sys/fs/cgroup, or beside the older kind. @see proc_pid_mountinfo(5) */
export function unifiedMount(): string | undefined {
  const line = readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .find((text) => text.includes(' - cgroup2 '));
  return line?.split(' ')[4];
}

function inodeOf(folder: string): bigint | undefined {
  return unlessUnseen(() => statSync(folder, { bigint: true }).ino);
}

function foldersIn(folder: string): readonly string[] {
  const entries = unlessUnseen(() => readdirSync(folder, { withFileTypes: true })) ?? [];
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

/** A cgroup may be removed meanwhile, or not be for us to see. */
function unlessUnseen<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT' || code === 'ENODEV' || code === 'EACCES') return undefined;
    throw error;
  }
}
