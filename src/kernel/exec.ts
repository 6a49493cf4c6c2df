import { isOpen, setCloseOnExec } from './fd.js';
import { check, declare, lastErrno } from './libc.js';

const execve = declare('int execve(const char *path, const char **arguments, const char **environment)');
const signal = declare('intptr_t signal(int number, intptr_t handler)');

const ENOEXEC = 8;
const [DEFAULT, IGNORE] = [0, 1];
const [SIGHUP, SIGPIPE, SIGXFSZ] = [1, 13, 25];

export interface ExecOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly ignoreHangup: boolean;
}

/**
 * Becomes another program: same pid, parent, terminal and folder, with stdin, stdout, stderr, and the fds that are not
 * close-on-exec. A script without a first line that names its interpreter is run by the shell, as execvp(3) does. Signals
 * do what they do in a program that a shell has started. Returns only by an error.
 *
 * @throws {SyscallError} E2BIG, EACCES, ENOENT …
 * @see execve(2)
 */
export function exec(path: string, command: readonly string[], { env, ignoreHangup }: ExecOptions): never {
  const environment = Object.entries(env)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${value}`);
  // Node lets nobody inherit these.
  for (const fd of [0, 1, 2]) if (isOpen(fd)) setCloseOnExec(fd, false);
  // Node ignores these two; others it has reset, SIGHUP too where nohup(1) had it ignored.
  signal(SIGPIPE, DEFAULT);
  signal(SIGXFSZ, DEFAULT);
  if (ignoreHangup) signal(SIGHUP, IGNORE);
  execve(path, [...command, null], [...environment, null]);
  if (lastErrno() === ENOEXEC) {
    execve('/bin/sh', ['sh', path, ...command.slice(1), null], [...environment, null]);
  }
  check('execve', -1);
  throw new Error('execve has returned');
}
