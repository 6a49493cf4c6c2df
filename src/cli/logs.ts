import { logOf, readLog } from '../keeper/server-log.js';
import { keeperName, notRunning } from './ask-named.js';
import { stream } from './stream.js';

export interface LogsOptions {
  readonly follow?: boolean;
  readonly lines: number;
}

/** `holdfast logs`: the end of the file that has the server's output; with `follow` also what comes. */
export async function logs(given: string | undefined, { follow = false, lines }: LogsOptions): Promise<void> {
  const name = keeperName(given);
  const path = logOf(name);
  if (path === undefined) throw notRunning(name);
  for await (const chunk of readLog(path, { lines, follow })) await stream(chunk);
}
