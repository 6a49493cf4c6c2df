import { parentPort } from 'node:worker_threads';
import { errorCode } from '../errors.js';
import { close } from '../kernel/fd.js';
import { setNoNewPrivileges } from '../kernel/process.js';
import { CAP_SYS_ADMIN, hasCapability } from '../kernel/procfs.js';
import { installTrap } from '../kernel/seccomp.js';
import type { TrapTrial } from './trap.js';

parentPort?.postMessage(install());

function install(): TrapTrial {
  try {
    // As the keeper does. It holds for this thread alone.
    if (!hasCapability('self', CAP_SYS_ADMIN)) setNoNewPrivileges();
    const { notifier, waitKillable } = installTrap(['bind', 'listen']);
    close(notifier);
    return { installed: true, waitKillable };
  } catch (error) {
    return { installed: false, code: errorCode(error) ?? 'UNKNOWN' };
  }
}
