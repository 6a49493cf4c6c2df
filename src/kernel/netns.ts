import { writeFileSync } from 'node:fs';
import { errorCode, errorText } from '../errors.js';
import { check, declare, syscall } from './libc.js';

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
