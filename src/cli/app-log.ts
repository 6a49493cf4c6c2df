import { closeSync, fchmodSync, fstatSync, openSync, readSync } from 'node:fs';
import { stateFiles } from '../keeper/state.js';

/** How much of a log is looked at for its end. */
const END_BYTES = 8_192;
/** How many lines of its end are told. */
const LINES = 10;

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
function endOfLog({ path, start }: AppLog): readonly string[] {
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    const from = Math.max(start, size - END_BYTES);
    const bytes = Buffer.alloc(Math.max(0, size - from));
    const text = bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, from)).trimEnd();
    return text === '' ? [] : text.split('\n').slice(-LINES);
  } finally {
    closeSync(fd);
  }
}

/** Why an app failed, for stderr; with the end of its log. */
export function describeFailure(name: string, why: string, log?: AppLog): string {
  const end = log === undefined ? [] : endOfLog(log);
  const from = log === undefined || end.length === 0 ? '' : `; the end of ${log.path}:`;
  return [`holdfast: ${name} ${why}${from}`, ...end.map((line) => `  ${line}`), ''].join('\n');
}
