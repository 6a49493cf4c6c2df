import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { errorCode } from '../errors.js';
import { close } from '../kernel/fd.js';
import { pidfdGetfd, pidfdOpen } from '../kernel/pidfd.js';
import { CAP_SYS_PTRACE, hasCapability, readMemory } from '../kernel/procfs.js';
import { type Finding, limited, no, yes } from './report.js';

const STDIN = 0;

/** What this process may do to itself and to a child, as a keeper to its server. Codes of refusals, or undefined. */
export interface Copying {
  /** pidfd_getfd from itself: refused by a seccomp profile around us, or not known to the kernel. */
  readonly ownFd: string | undefined;
  readonly childFd: string | undefined;
  readonly childMemory: string | undefined;
  /** CAP_SYS_PTRACE. */
  readonly mayTraceAll: boolean;
}

/** Tries it on a child that is started for this. */
export async function tryCopying(): Promise<Copying> {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const script = 'process.stdout.write("up"); process.stdin.resume()';
  const child = spawn(process.execPath, ['-e', script], { env, stdio: ['pipe', 'pipe', 'ignore'] });
  try {
    // Until it runs its program it cannot be looked into.
    await once(child.stdout, 'data');
    const { pid } = child;
    if (pid === undefined) throw new Error('a child that has written has a pid');
    return {
      ownFd: refusal(() => copyFd(process.pid, STDIN)),
      childFd: refusal(() => copyFd(pid, STDIN)),
      childMemory: refusal(() => readMemory(pid, firstAddress(pid), 8)),
      mayTraceAll: hasCapability('self', CAP_SYS_PTRACE),
    };
  } finally {
    child.kill('SIGKILL');
  }
}

export function judgeMemory({ childMemory }: Copying): Finding {
  if (childMemory === undefined) return yes('the address of a bind can be read');
  return no(
    `the address of a bind cannot be read from a server's memory (${childMemory})`,
    'see Yama; otherwise a security module such as SELinux or AppArmor has to allow ptrace',
  );
}

export function judgeCopying({ ownFd, childFd }: Copying): Finding {
  if (ownFd !== undefined) {
    return limited(
      `pidfd_getfd is refused (${ownFd}): the keeper makes sockets in the server's place, without the options set before bind`,
      'docker run --cap-add SYS_PTRACE, or a seccomp profile that allows pidfd_getfd(2)',
    );
  }
  if (childFd === undefined) return yes("a server's sockets can be copied (pidfd_getfd)");
  return no(
    `a server's sockets cannot be copied: pidfd_getfd is refused (${childFd})`,
    'see Yama; otherwise a security module such as SELinux or AppArmor has to allow ptrace',
  );
}

/** @see Documentation/admin-guide/LSM/Yama.rst */
export function judgeYama(scope: number | undefined, mayTraceAll: boolean): Finding {
  if (scope === undefined) return yes('not in this kernel');
  const found = `kernel.yama.ptrace_scope is ${scope}`;
  if (scope <= 0) return yes(found);
  if (scope <= 2 && mayTraceAll) return yes(`${found}, and this user has CAP_SYS_PTRACE`);
  if (scope === 1) {
    return limited(
      `${found}: a keeper may look into what it started, and the next one gets the sockets from the holder; it cannot hold what a server of an earlier keeper binds anew, nor adopt a server`,
      'sysctl kernel.yama.ptrace_scope=0, or run the keeper as root; for new binds a reload is enough',
    );
  }
  if (scope === 2) return no(found, 'sysctl kernel.yama.ptrace_scope=1, or run the keeper as root');
  return no(found, 'set kernel.yama.ptrace_scope=1 in sysctl.d and boot again: 3 is final until then');
}

function copyFd(pid: number, fd: number): void {
  const pidfd = pidfdOpen(pid);
  try {
    close(pidfdGetfd(pidfd, fd));
  } finally {
    close(pidfd);
  }
}

/** The beginning of the first mapping of its memory. */
function firstAddress(pid: number): bigint {
  const [, start = '0'] = /^([0-9a-f]+)-/.exec(readFileSync(`/proc/${pid}/maps`, 'latin1')) ?? [];
  return BigInt(`0x${start}`);
}

function refusal(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return errorCode(error) ?? 'UNKNOWN';
  }
}
