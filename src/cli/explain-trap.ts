import type { HoldfastError } from '../errors.js';
import { WORKER_VARIABLE } from '../keeper/tree.js';

/** What it means for the user that there is no trap, and whether the keeper can go on without one. */
export interface TrapExplanation {
  readonly text: string;
  readonly goesOn: boolean;
}

/** Says in one sentence why servers' calls cannot be trapped here, and what to do. */
export function explainTrap({ cause }: HoldfastError, listens: boolean): TrapExplanation {
  const code =
    typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : 'UNKNOWN';
  if (code === 'EBUSY' && process.env[WORKER_VARIABLE] !== undefined) {
    const text =
      'another holdfast runs around this one and keeps the port already; this one only starts the server again';
    return { text, goesOn: true };
  }
  if (listens) {
    return { text: `${reason(code)}; only the addresses of --listen are kept`, goesOn: true };
  }
  const advice = 'name the address with --listen if the server takes an fd (holdfast doctor tells more)';
  return { text: `cannot learn the server's port: ${reason(code)}; ${advice}`, goesOn: false };
}

function reason(code: string): string {
  switch (code) {
    case 'EBUSY':
      return 'something around this process, such as a container runtime, has a seccomp notifier already';
    case 'EINVAL':
    case 'ENOSYS':
      return 'this kernel has no seccomp user notification (Linux 5.0, in containers gVisor has none)';
    case 'EACCES':
      return 'a seccomp filter is not allowed here';
    default:
      return `seccomp user notification failed with ${code}`;
  }
}
