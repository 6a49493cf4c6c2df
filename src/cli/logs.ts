import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode, errorText, HoldfastError } from '../errors.js';
import { readState, stateFiles } from '../keeper/state.js';
import { keeperName, notRunning } from './ask-named.js';
import { stream } from './stream.js';

const LOOK_EVERY_MS = 100;
const CHUNK = 1 << 16;
const NEWLINE = 10;

export interface LogsOptions {
  readonly follow?: boolean;
  readonly lines: number;
}

/** `holdfast logs`: the end of the file that has the server's output; with `follow` also what comes. */
export async function logs(given: string | undefined, { follow, lines }: LogsOptions): Promise<void> {
  const name = keeperName(given);
  const path = logOf(name);
  const fd = openLog(path);
  const moved = movedIn(path);
  const { size } = fstatSync(fd);
  await printEnd(path, fd, size, lines);
  if (follow) await followLog(path, fd, size, moved);
  closeSync(fd);
}

/**
 * Of a keeper that runs or was killed as it has written down; of one that has ended in the folder of its state.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_NO_LOG, ERR_HOLDFAST_NOT_RUNNING
 */
function logOf(name: string): string {
  const files = stateFiles(name);
  const state = readState(files.state);
  if (state?.log) return state.log;
  if (state === undefined) {
    if (existsSync(files.log)) return files.log;
    throw notRunning(name);
  }
  const text = `"${name}" runs without --log-file: what its server writes goes where "holdfast run" was started (its terminal, the journal, a redirection); holdfast run --log-file has it in a file`;
  throw new HoldfastError('ERR_HOLDFAST_NO_LOG', text);
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
async function printEnd(path: string, fd: number, size: number, lines: number): Promise<void> {
  const own = startOfLast(fd, size, lines);
  if (own.missing > 0 && lines > 0 && existsSync(`${path}.1`)) {
    const former = openSync(`${path}.1`, 'r');
    const formerSize = fstatSync(former).size;
    const wanted = size === 0 ? lines : own.missing;
    const { at } = startOfLast(former, formerSize, wanted, size > 0);
    await print(former, at, formerSize);
    closeSync(former);
  }
  await print(fd, own.at, size);
}

/**
 * Where the last lines of a file begin, and how many there are too few. `continued`: the text goes on in another file,
 * so that an end of line at its end stands between two lines.
 */
function startOfLast(
  fd: number,
  size: number,
  lines: number,
  continued = false,
): { readonly at: number; readonly missing: number } {
  const chunk = Buffer.alloc(CHUNK);
  // The end of the last line is none before a wanted line.
  let missing = lines + (continued ? 0 : endsWithLine(fd, size) ? 1 : 0);
  if (missing === 0) return { at: size, missing };
  for (let end = size; end > 0; ) {
    const from = Math.max(0, end - CHUNK);
    const length = readSync(fd, chunk, 0, end - from, from);
    for (let at = length - 1; at >= 0; at--) {
      if (chunk[at] === NEWLINE && --missing === 0) return { at: from + at + 1, missing };
    }
    end = from;
  }
  return { at: 0, missing };
}

function endsWithLine(fd: number, size: number): boolean {
  const last = Buffer.alloc(1);
  return size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] === NEWLINE;
}

/**
 * Prints what comes to the file, for ever. When its content is moved to FILE.1 and it begins anew, prints the rest of that
 * first. Between the move and the new beginning lies a moment, so both are acted on one look later.
 */
async function followLog(path: string, first: number, size: number, moved: string): Promise<void> {
  let [fd, at, known, begins] = [first, size, moved, false];
  for (;;) {
    const now = movedIn(path);
    if (begins) {
      if (now !== known) await printMoved(path, at);
      [at, known, begins] = [0, now, false];
    } else if (now !== known || fstatSync(fd).size < at) {
      begins = true;
    }
    if (!begins) at = await print(fd, at);
    if (fstatSync(fd).nlink === 0 && existsSync(path)) {
      // It was removed, and the keeper started again.
      closeSync(fd);
      [fd, at] = [openLog(path), 0];
    }
    await sleep(LOOK_EVERY_MS);
  }
}

async function printMoved(path: string, from: number): Promise<void> {
  const fd = openSync(`${path}.1`, 'r');
  await print(fd, from);
  closeSync(fd);
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

/** Prints from there to the end. Gives where that was. */
async function print(fd: number, from: number, to: number = Number.POSITIVE_INFINITY): Promise<number> {
  let at = from;
  while (at < to) {
    const chunk = Buffer.alloc(CHUNK);
    const length = readSync(fd, chunk, 0, Math.min(CHUNK, to - at), at);
    if (length === 0) break;
    await stream(chunk.subarray(0, length));
    at += length;
  }
  return at;
}
