import { ptraceScope } from '../kernel/foreign-socket.js';
import { effectiveUid } from '../kernel/process-facts.js';
import { CAP_SYS_PTRACE, hasCapability } from '../kernel/procfs.js';

/** What decides whether Yama closes a process of our own user to us. */
interface Yama {
  /** kernel.yama.ptrace_scope; undefined where the kernel has no Yama. */
  readonly scope: number | undefined;
  /** CAP_SYS_PTRACE. */
  readonly mayTraceAll: boolean;
}

/** How Yama closes a process to us, and what would open it: nothing at scope 3. */
interface Closed {
  readonly why: string;
  readonly remedy: string | undefined;
}

const FORBIDS = [
  '',
  'a process may look only into what it has started',
  'only root may look into a process',
  'nobody may look into a process, and only a boot changes that',
];

function ownYama(): Yama {
  return { scope: ptraceScope(), mayTraceAll: hasCapability('self', CAP_SYS_PTRACE) };
}

/** Whether Yama closes what we have not started to us, unless the process itself allows it. */
export function yamaIsRelational({ scope, mayTraceAll }: Yama = ownYama()): boolean {
  return scope === 1 && !mayTraceAll;
}

/**
 * Undefined when it is not Yama that closes this process to us.
 *
 * @see Documentation/admin-guide/LSM/Yama.rst
 */
export function closedByYama(pid: number, { scope = 0, mayTraceAll }: Yama = ownYama()): Closed | undefined {
  if (scope <= 0 || (scope < 3 && mayTraceAll)) return undefined;
  const uid = effectiveUid(pid);
  // Another user's would be closed without Yama too.
  if (uid !== undefined && uid !== process.geteuid?.()) return undefined;
  const why = `kernel.yama.ptrace_scope is ${scope}: ${FORBIDS[Math.min(scope, 3)]}`;
  return { why, remedy: scope < 3 ? 'sysctl kernel.yama.ptrace_scope=0' : undefined };
}
