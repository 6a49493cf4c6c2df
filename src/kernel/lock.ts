import { closeSync, fstatSync, openSync, statSync } from 'node:fs';
import { declare, type Fd, lastErrno, SyscallError } from './libc.js';
import { pauseThread } from './pause.js';

const flock = declare('int flock(int fd, int operation)');

const LOCK_EX_NB = 2 | 4;
const EAGAIN = 11;

const PATIENCE_MS = 100;

/**
 * Does the work while no other process does work under a lock on the same file, which only has to be readable.
 * Somebody who keeps the lock for more than 100 ms is not waited for.
 *
 * @see flock(2)
 */
export function oneAtATime<T>(path: string, work: () => T): T {
  const fd = openSync(path, 'r');
  try {
    const untilMs = performance.now() + PATIENCE_MS;
    while (flock(fd, LOCK_EX_NB) === -1 && performance.now() < untilMs) pauseThread(0.5);
    return work();
  } finally {
    closeSync(fd);
  }
}

/**
 * Locks a file for as long as this process lives or until its fd is closed; undefined when another has it. The
 * file is made if need be.
 *
 * @see flock(2)
 */
export function tryLock(path: string): Fd | undefined {
  for (;;) {
    const fd = openSync(path, 'a', 0o600);
    if (flock(fd, LOCK_EX_NB) === -1) {
      const errno = lastErrno();
      closeSync(fd);
      if (errno === EAGAIN) return undefined;
      throw new SyscallError('flock', errno);
    }
    // Its last owner may have removed the file between our open and our lock: then we hold a file nobody sees.
    if (statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) return fd;
    closeSync(fd);
  }
}
