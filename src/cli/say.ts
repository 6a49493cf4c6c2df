import { writeSync } from 'node:fs';
import { errorCode } from '../errors.js';

/**
 * Writes to stdout, at once. `process.stdout` loads Node's streams first, which takes longer than the whole answer of
 * `holdfast why`; it is left the rest when a pipe is full and was made non-blocking.
 */
export function say(text: string): void {
  const bytes = Buffer.from(text);
  let written = 0;
  try {
    while (written < bytes.length) written += writeSync(1, bytes, written);
  } catch (error) {
    const code = errorCode(error);
    if (code === 'EAGAIN') process.stdout.write(bytes.subarray(written));
    // The reader has seen enough, as in `holdfast why --all | head -1`.
    else if (code !== 'EPIPE') throw error;
  }
}
