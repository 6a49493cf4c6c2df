import { closeSync, fchmodSync, fstatSync, openSync, readSync } from 'node:fs';
import { stateFiles } from '../keeper/state.js';

/** How much of a log is looked at for its end. */
const END_BYTES = 8_192;

/** The log of an app: NAME.log beside its keeper's files. */
export interface AppLog {
  readonly path: string;
  /** For what is appended; to be closed. */
  readonly fd: number;
  /** Its length before the app was started this time. */
  readonly start: number;
}

export function openLog(name: string): AppLog {
  const { log: path } = stateFiles(name);
  const fd = openSync(path, 'a', 0o600);
  // Made with a wider mode by somebody else, or by hand.
  if ((fstatSync(fd).mode & 0o077) !== 0) fchmodSync(fd, 0o600);
  return { path, fd, start: fstatSync(fd).size };
}

/** The last lines that were written since the start. */
export function endOfLog({ path, start }: AppLog, lines: number): readonly string[] {
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    const from = Math.max(start, size - END_BYTES);
    const bytes = Buffer.alloc(Math.max(0, size - from));
    const text = bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, from)).trimEnd();
    return text === '' ? [] : text.split('\n').slice(-lines);
  } finally {
    closeSync(fd);
  }
}
