import { fileURLToPath } from 'node:url';
import type { LoadCounts, LoadOptions, LoadResult } from './load.js';
import { type Started, start } from './process.js';

export interface LoadProcess {
  readonly process: Started;
  counts(): Promise<LoadCounts>;
  stop(): Promise<LoadResult>;
}

/**
 * The load as a process of its own, so that the test's work does not delay it; `around` puts it elsewhere, for
 * example in a network namespace.
 */
export async function startLoadProcess(
  { host, port, path, ratePerSecond, timeoutMs, maxOpen }: LoadOptions,
  around: (command: readonly string[]) => string[] = (command) => [...command],
): Promise<LoadProcess> {
  const main = fileURLToPath(new URL('load-main.js', import.meta.url));
  const given = { host, port, path, rate: ratePerSecond, timeout: timeoutMs, 'max-open': maxOpen };
  const options = Object.entries(given)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `--${name}=${value}`);
  const started = start(around([process.execPath, main, ...options]));
  await started.line(/^load started$/);
  let asked = 0;
  return {
    process: started,
    counts: async () => {
      started.kill('SIGUSR2');
      const [, counts = ''] = await started.line(/^counts (\{.*\})$/, { after: asked++ });
      return JSON.parse(counts) as LoadCounts;
    },
    stop: async () => {
      started.kill('SIGTERM');
      await started.end(60_000);
      return JSON.parse((await started.line(/^\{.*\}$/))[0]) as LoadResult;
    },
  };
}
