import koffi from 'koffi';
import { libc } from './libc.js';
import type { Credentials } from './process.js';

koffi.struct('passwd', {
  pw_name: 'char *',
  pw_passwd: 'char *',
  pw_uid: 'uint32_t',
  pw_gid: 'uint32_t',
  pw_gecos: 'char *',
  pw_dir: 'char *',
  pw_shell: 'char *',
});
koffi.struct('group', {
  gr_name: 'char *',
  gr_passwd: 'char *',
  gr_gid: 'uint32_t',
  gr_mem: 'void *',
});

const getpwnam = libc.func('passwd *getpwnam(const char *name)');
const getpwuid = libc.func('passwd *getpwuid(uint32_t uid)');
const getgrnam = libc.func('group *getgrnam(const char *name)');
const getgrouplist = libc.func(
  'int getgrouplist(const char *user, uint32_t group, void *groups, void *count)',
);

/** A user of this system as getpwnam(3) knows it (files, LDAP …). */
export interface User extends Credentials {
  readonly name: string;
  readonly home: string;
  readonly shell: string;
}

interface Passwd {
  readonly pw_name: string;
  readonly pw_uid: number;
  readonly pw_gid: number;
  readonly pw_dir: string;
  readonly pw_shell: string;
}

/** The user of that name or number, with all its groups; undefined when there is none. @see getgrouplist(3) */
export function findUser(nameOrUid: string): User | undefined {
  const byName = getpwnam(nameOrUid);
  const found = byName ?? (/^\d+$/.test(nameOrUid) ? getpwuid(Number(nameOrUid)) : null);
  if (!found) return undefined;
  const entry = koffi.decode(found, 'passwd') as Passwd;
  return {
    name: entry.pw_name,
    uid: entry.pw_uid,
    gid: entry.pw_gid,
    groups: groupsOf(entry.pw_name, entry.pw_gid),
    home: entry.pw_dir,
    shell: entry.pw_shell,
  };
}

/** The name of a user; undefined when the system does not know it, as in many containers. @see getpwuid(3) */
export function userName(uid: number): string | undefined {
  const found = getpwuid(uid);
  return found ? (koffi.decode(found, 'passwd') as Passwd).pw_name : undefined;
}

/** The number of a group given by name or number; undefined when there is none. @see getgrnam(3) */
export function findGroup(nameOrGid: string): number | undefined {
  const found = getgrnam(nameOrGid);
  if (found) return (koffi.decode(found, 'group') as { gr_gid: number }).gr_gid;
  return /^\d+$/.test(nameOrGid) ? Number(nameOrGid) : undefined;
}

function groupsOf(user: string, gid: number): readonly number[] {
  const room = 1024;
  const groups = Buffer.alloc(room * 4);
  const count = Buffer.alloc(4);
  count.writeInt32LE(room, 0);
  getgrouplist(user, gid, groups, count);
  const found = Math.min(room, count.readInt32LE(0));
  return Array.from({ length: found }, (_, index) => groups.readUInt32LE(index * 4));
}
