import { errorCode } from '../errors.js';

/**
 * Writes to stdout what comes in the course of time, no faster than it is read. A reader that has seen enough, as in
 * `holdfast logs -f | head`, ends the command.
 */
export async function stream(text: string | Uint8Array): Promise<void> {
  if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', end);
  await new Promise<void>((resolve) => {
    process.stdout.write(text, () => resolve());
  });
}

function end(error: Error): void {
  process.exit(errorCode(error) === 'EPIPE' ? 0 : 2);
}
