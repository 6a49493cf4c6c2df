import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode, errorText, HoldfastError } from '../errors.js';
import { readState, stateFiles } from './state.js';

const LOOK_EVERY_MS = 100;
const CHUNK = 1 << 16;
const NEWLINE = 10;

export interface LogReading {
  /** How many of its last lines come first. */
  readonly lines: number;
  /** As many bytes of them at most, from wherever that is in a line. Default: all. */
  readonly bytes?: number | undefined;
  /** Whether what is written from now on comes too, without an end. */
  readonly follow: boolean;
  /** Ends it. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * The file that has what a keeper's server has written: of a keeper that runs or was killed as it has written down, of one that
 * has ended in the folder of its state. Undefined when no keeper of that name is known.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_NO_LOG: it runs without one.
 */
export function logOf(name: string): string | undefined {
  const files = stateFiles(name);
  const state = readState(files.state);
  if (state?.log) return state.log;
  if (state === undefined) return existsSync(files.log) ? files.log : undefined;
  const text = `"${name}" runs without --log-file: what its server writes goes where "holdfast run" was started (its terminal, the journal, a redirection); holdfast run --log-file has it in a file`;
  throw new HoldfastError('ERR_HOLDFAST_NO_LOG', text);
}

/** The end of the file, and with `follow` what comes to it, as it is read. @throws {HoldfastError} ERR_HOLDFAST_LOG_FILE */
export async function* readLog(
  path: string,
  { lines, bytes = Number.POSITIVE_INFINITY, follow, signal }: LogReading,
): AsyncGenerator<Buffer> {
  let fd = openLog(path);
  try {
    let known = movedIn(path);
    let at = fstatSync(fd).size;
    // Both of one moment: a move in between would be told twice.
    for (let now = movedIn(path); now !== known; now = movedIn(path)) {
      known = now;
      at = fstatSync(fd).size;
    }
    yield* lastLines(path, fd, at, { lines, bytes });
    // Between the move to FILE.1 and the new beginning lies a moment, so both are acted on one look later.
    for (let begins = false; follow; ) {
      const now = movedIn(path);
      if (begins) {
        if (now !== known) yield* moved(path, at);
        [at, known, begins] = [0, now, false];
      } else if (now !== known || fstatSync(fd).size < at) {
        begins = true;
      }
      if (!begins) at = yield* part(fd, at);
      if (fstatSync(fd).nlink === 0 && existsSync(path)) {
        // It was removed, and the keeper started again.
        const next = openLog(path);
        closeSync(fd);
        [fd, at] = [next, 0];
      }
      if (signal?.aborted) return;
      await sleep(LOOK_EVERY_MS);
    }
  } finally {
    closeSync(fd);
  }
}

function openLog(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    const text = `${errorText(error)}; it may have been removed, or be another user's`;
    throw new HoldfastError('ERR_HOLDFAST_LOG_FILE', text, error);
  }
}

/** The last lines of the file, and before them of what was moved out of it. */
function* lastLines(
  path: string,
  fd: number,
  size: number,
  { lines, bytes }: { readonly lines: number; readonly bytes: number },
): Generator<Buffer> {
  const own = startOfLast(fd, size, lines, { bytes });
  if (size < bytes && own.missing > 0 && lines > 0 && existsSync(`${path}.1`)) {
    const former = openSync(`${path}.1`, 'r');
    try {
      const formerSize = fstatSync(former).size;
      const wanted = size === 0 ? lines : own.missing;
      const { at } = startOfLast(former, formerSize, wanted, { bytes: bytes - size, continued: size > 0 });
      yield* part(former, at, formerSize);
    } finally {
      closeSync(former);
    }
  }
  yield* part(fd, own.at, size);
}

/**
 * Where the last lines of a file begin, and how many there are too few. `continued`: the text goes on in another file,
 * so that an end of line at its end stands between two lines.
 */
function startOfLast(
  fd: number,
  size: number,
  lines: number,
  { bytes, continued = false }: { readonly bytes: number; readonly continued?: boolean },
): { readonly at: number; readonly missing: number } {
  const chunk = Buffer.alloc(CHUNK);
  // The end of the last line is none before a wanted line.
  let missing = lines + (continued ? 0 : endsWithLine(fd, size) ? 1 : 0);
  if (missing === 0) return { at: size, missing };
  const first = Math.max(0, size - bytes);
  for (let end = size; end > first; ) {
    const from = Math.max(first, end - CHUNK);
    const length = readSync(fd, chunk, 0, end - from, from);
    for (let at = length - 1; at >= 0; at--) {
      if (chunk[at] === NEWLINE && --missing === 0) return { at: from + at + 1, missing };
    }
    end = from;
  }
  return { at: first, missing };
}

function endsWithLine(fd: number, size: number): boolean {
  const last = Buffer.alloc(1);
  return size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] === NEWLINE;
}

/** The rest of what was moved to FILE.1. */
function* moved(path: string, from: number): Generator<Buffer> {
  const fd = openSync(`${path}.1`, 'r');
  try {
    yield* part(fd, from);
  } finally {
    closeSync(fd);
  }
}

/** Tells one FILE.1 from the next. */
function movedIn(path: string): string {
  try {
    const { ino, birthtimeMs } = statSync(`${path}.1`);
    return `${ino} ${birthtimeMs}`;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return '';
    throw error;
  }
}

/** From there to the end. Gives where that was. */
function* part(fd: number, from: number, to: number = Number.POSITIVE_INFINITY): Generator<Buffer, number> {
  let at = from;
  while (at < to) {
    const chunk = Buffer.alloc(CHUNK);
    const length = readSync(fd, chunk, 0, Math.min(CHUNK, to - at), at);
    if (length === 0) break;
    yield chunk.subarray(0, length);
    at += length;
  }
  return at;
}
