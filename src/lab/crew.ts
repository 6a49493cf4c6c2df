import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { errorText, HoldfastError } from '../errors.js';
import type { Report, Task } from './worker.js';

const PROGRAM = fileURLToPath(new URL('./worker.js', import.meta.url));

/**
 * Does a task in a process of its own, which may leave our network namespace: as root directly, otherwise inside a user
 * namespace of its own. Resolves when it has ended. `abort` ends it.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_LAB: it could not be started, or failed.
 */
export async function doTask(
  task: Task,
  report: (report: Report) => void,
  abort?: AbortSignal,
): Promise<void> {
  const child = start();
  // What is wrong is told by `ended`; a message that cannot be sent to it is no more.
  child.on('error', () => undefined);
  const stop = (): void => void child.kill('SIGKILL');
  abort?.addEventListener('abort', stop);
  child.once('exit', () => abort?.removeEventListener('abort', stop));
  let failure: Extract<Report, { type: 'failed' }> | undefined;
  let isDone = false;
  child.on('message', (message: Report) => {
    if (message.type === 'failed') failure = message;
    else if (message.type === 'ended') isDone = true;
    else report(message);
  });
  const ended = once(child, 'exit').catch((error: unknown) => {
    throw new HoldfastError(
      'ERR_HOLDFAST_LAB',
      `the lab needs a process in a user namespace: ${errorText(error)}`,
      error,
    );
  });
  ended.catch(() => undefined);
  if (child.connected) child.send(task, () => undefined);
  const [code, signal] = (await ended) as [number | null, NodeJS.Signals | null];
  if (failure !== undefined) {
    const code = failure.code === 'ERR_HOLDFAST_SCENARIO' ? failure.code : 'ERR_HOLDFAST_LAB';
    throw new HoldfastError(code, failure.message, failure);
  }
  if (code !== 0 || !isDone)
    throw new HoldfastError('ERR_HOLDFAST_LAB', `the lab's process ended with ${signal ?? code}`);
}

function start(): ChildProcess {
  const program = [process.execPath, PROGRAM];
  // Only a process of one thread may leave its user namespace, which no Node process is.
  const [file = '', ...args] =
    process.getuid?.() === 0 ? program : ['unshare', '--user', '--map-root-user', '--net', ...program];
  return spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
}
