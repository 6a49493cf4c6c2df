import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { close } from '../kernel/fd.js';
import type { Fd } from '../kernel/libc.js';
import { copyFdFrom } from '../kernel/pidfd.js';
import type { EpollRegistration } from '../kernel/procfs.js';
import { ownProcesses } from './own-processes.js';

/** The server waits in bind meanwhile. */
const TIMEOUT_MS = 2_000;
const PROGRAM = fileURLToPath(new URL('./rewatch-process.js', import.meta.url));

/**
 * Makes the process's own epoll instances watch the held socket as they watch the one that it takes the place of:
 * a registration belongs to an open file and a number, and goes with the file. False when it could not be done.
 *
 * The kernel takes the number from whoever registers. So a process of its own does it, in which the held socket can
 * have any number; in this one most small numbers are taken.
 */
export async function rewatch(
  pid: number,
  held: Fd,
  registrations: readonly EpollRegistration[],
): Promise<boolean> {
  const done = await Promise.all(registrations.map((registration) => rewatchOne(pid, held, registration)));
  return done.every((one) => one);
}

async function rewatchOne(
  pid: number,
  held: Fd,
  { epoll, fd, events, data }: EpollRegistration,
): Promise<boolean> {
  const copy = copyFdFrom(pid, epoll);
  try {
    const program = spawn(process.execPath, [PROGRAM, String(fd), String(events), String(data)], {
      env: {},
      timeout: TIMEOUT_MS,
      stdio: ['ignore', 'ignore', 'inherit', copy, held],
    });
    ownProcesses.add(program.pid);
    // `error`: it could not be started.
    const [code] = await once(program, 'exit').catch(() => [null]);
    ownProcesses.delete(program.pid);
    return code === 0;
  } finally {
    close(copy);
  }
}
