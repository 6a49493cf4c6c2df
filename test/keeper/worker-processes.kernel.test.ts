import { expect, test } from 'vitest';
import type { WorkerTree } from '../../src/keeper/tree.js';
import type { Worker } from '../../src/keeper/worker.js';
import { WorkerProcesses } from '../../src/keeper/worker-processes.js';
import { start } from '../support/process.js';

const NAME = 'app';

/** A worker whose start is on its way: nobody has told its first process. */
function starting(id: number): Worker {
  return { id, root: undefined, tree: undefined } as unknown as Worker;
}

function processesOf(...workers: readonly Worker[]): WorkerProcesses {
  return new WorkerProcesses({
    name: NAME,
    reapsAll: false,
    workers: () => workers,
    spawnerThread: () => process.pid,
  });
}

async function running(env: Readonly<Record<string, string>>): Promise<number> {
  const started = start(['/bin/sh', '-c', 'echo ready; read x'], {
    env,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  await started.line(/^ready$/);
  return started.pid;
}

test('of two workers that are being started a process is of the one that its environment names', async () => {
  const [one, two] = [starting(1), starting(2)];
  const processes = processesOf(one, two);
  for (const worker of [one, two]) {
    const pid = await running({ HOLDFAST_WORKER: processes.markOf(worker) });
    expect(processes.whose(pid)?.id).toBe(worker.id);
  }
});

test('what tells nothing is of the one that is being started', async () => {
  const tree = { mark: 'app:1:1', knows: () => false, members: () => [] } as unknown as WorkerTree;
  const serves = { id: 1, root: { pid: 1, startTime: 0 }, tree } as unknown as Worker;
  const processes = processesOf(serves, starting(2));
  expect(processes.whose(await running({}))?.id).toBe(2);
  expect(processes.memberOf(await running({}))).toBe(undefined);
});
