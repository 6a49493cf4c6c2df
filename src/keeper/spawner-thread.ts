import { type ChildProcess, spawn } from 'node:child_process';
import { parentPort, workerData } from 'node:worker_threads';
import { errorCode, errorText } from '../errors.js';
import { declare } from '../kernel/libc.js';
import { type Credentials, setNoNewPrivileges, threadId, withCredentials } from '../kernel/process.js';
import { installTrap } from '../kernel/seccomp.js';
import type { SpawnerReport, SpawnerRequest, SpawnerSetup, SpawnRequest } from './spawner.js';

const bind = declare('int bind(int fd, const void *address, uint32_t length)');

const NO_FD = -1;
/** sizeof(struct sockaddr_in); all zero it is an address of no family. */
const SOCKADDR_SIZE = 16;

const { trap, noNewPrivileges } = workerData as SpawnerSetup;
const port = parentPort;
if (port === null) throw new Error('spawner-thread.js is a worker thread of the keeper, not a program');

const own: Credentials = {
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
  groups: process.getgroups?.() ?? [],
};

report(prepare());
port.on('message', (message: SpawnerRequest) => {
  if (message.type === 'spawn') {
    start(message.id, message.request);
  } else {
    bind(NO_FD, Buffer.alloc(SOCKADDR_SIZE), SOCKADDR_SIZE);
    report({ type: 'called' });
  }
});

function prepare(): SpawnerReport {
  const thread = threadId();
  if (trap.length === 0) return { type: 'ready', thread, notifier: null };
  try {
    if (noNewPrivileges) setNoNewPrivileges();
    return { type: 'ready', thread, notifier: installTrap(trap).notifier };
  } catch (error) {
    return { type: 'unavailable', code: errorCode(error) ?? 'UNKNOWN', message: errorText(error) };
  }
}

function start(id: number, request: SpawnRequest): void {
  const child = startChild(request);
  child.once('error', (error) => {
    // Also emitted for a signal that could not be sent, which this thread never does.
    const message = errorText(error);
    report({ type: 'not-spawned', id, code: errorCode(error) ?? 'UNKNOWN', message });
  });
  const { pid } = child;
  if (pid === undefined) return;
  report({ type: 'spawned', id, pid });
  child.on('message', (message) => {
    if (message === 'ready') report({ type: 'ready-told', id });
  });
  // The server's end of the channel is closed with it; whatever it sends at that moment is nobody's.
  child.on('disconnect', () => undefined);
  child.once('exit', (code, signal) => report({ type: 'exited', id, pid, code, signal }));
}

function startChild(request: SpawnRequest): ChildProcess {
  const { command, cwd, env, fds, output = 'inherit', credentials, ipc } = request;
  const [file = '', ...args] = command;
  const work = (): ChildProcess =>
    spawn(file, args, {
      cwd,
      env,
      stdio: ['inherit', output, output, ...fds, ...(ipc ? ['ipc' as const] : [])],
    });
  return credentials === undefined ? work() : withCredentials(credentials, own, work);
}

function report(message: SpawnerReport): void {
  port?.postMessage(message);
}
