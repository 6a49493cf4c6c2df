import { waitFor } from '../diagnosis/wait-for.js';
import { HoldfastError } from '../errors.js';
import { formatDuration } from '../model/duration.js';
import { parsePort } from './port-target.js';

export interface WaitFlags {
  readonly free?: boolean;
  readonly listening?: boolean;
  readonly udp?: boolean;
  /** Milliseconds. */
  readonly timeout?: number;
  readonly json?: boolean;
}

/** `holdfast wait [HOST:]PORT --free|--listening`: exit 0 when it is so, 1 when the time was over before. */
export async function waitCommand(word: string, flags: WaitFlags): Promise<void> {
  if (flags.free === flags.listening) {
    throw new HoldfastError('ERR_HOLDFAST_OPTION', 'wait for what? either --free or --listening');
  }
  const until = flags.free ? 'free' : 'listening';
  const { port, host } = parsePort(word);
  const protocol = flags.udp ? 'udp' : 'tcp';
  const result = await waitFor({ port, host, protocol, until, timeoutMs: flags.timeout });
  if (flags.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  else if (!result.reached) {
    const what = until === 'free' ? 'is not free' : 'has no listener';
    process.stderr.write(
      `holdfast: ${word} ${what} after ${formatDuration(result.ms)}; holdfast why ${word} tells more\n`,
    );
  }
  if (!result.reached) process.exitCode = 1;
}
