import { setTimeout as sleep } from 'node:timers/promises';
import type { LoadOptions, LoadResult } from '../../test/support/load.js';
import { start } from './process.js';
import { fromProject } from './project.js';

export interface RunningLoad {
  /** Waits until each request has ended and gives the result. */
  stop(): Promise<LoadResult>;
}

/** The open-loop load of the tests as a process of its own. */
export async function startLoad(
  options: LoadOptions & { readonly port: number; readonly ratePerSecond: number },
): Promise<RunningLoad> {
  const { port, ratePerSecond, timeoutMs = 5_000, maxOpen = 4_000 } = options;
  const load = start([
    process.execPath,
    fromProject('test', 'support', 'load-main.js'),
    `--port=${port}`,
    `--rate=${ratePerSecond}`,
    `--timeout=${timeoutMs}`,
    `--max-open=${maxOpen}`,
  ]);
  await load.line(/^load started$/);
  return {
    stop: async () => {
      load.child.kill('SIGTERM');
      const [text] = await load.line(/^\{.*\}$/, { timeoutMs: timeoutMs + 20_000 });
      await load.stop();
      return JSON.parse(text) as LoadResult;
    },
  };
}

/** A load for a time, of whose result nothing is wanted. */
export async function loadFor(ms: number, port: number, ratePerSecond: number): Promise<void> {
  const load = await startLoad({ port, ratePerSecond });
  await sleep(ms);
  await load.stop();
}
