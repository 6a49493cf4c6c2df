import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  ftruncateSync,
  openSync,
  read,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { errorText, HoldfastError } from '../errors.js';
import { duplicateTo } from '../kernel/fd.js';
import type { Fd } from '../kernel/libc.js';
import { type Credentials, withCredentials } from '../kernel/process.js';
import { ownIdentity } from './options.js';

const LOOK_EVERY_MS = 500;
/** After it could not be moved away: each try copies all of it. */
const RETRY_MS = 5_000;
const CHUNK = 1 << 18;
/** Of what comes while the last is being copied: a server that writes faster than that would never let it end. */
const LAST_READS = 256;

const readAsync = promisify(read);

export interface LogFileOptions {
  readonly path: string;
  /** From where on the content becomes that of FILE.1. */
  readonly maxBytes: number;
  /** Whom a new file is to belong to, if not us: the server may open its own output by name (/dev/stdout). */
  readonly owner: Credentials | undefined;
  /** Told that it cannot be kept short, once until it can again. */
  readonly warn: (text: string) => void;
}

/** The files that a log takes: itself, what its content is moved to, and that while it is being copied. */
export function logFiles(path: string): readonly [own: string, moved: string, copied: string] {
  return [path, `${path}.1`, `${path}.1.new`];
}

/** A log that is open. */
interface Opened {
  readonly fd: Fd;
  /** The same file, opened by ourselves: what servers do to their fd (fcntl, lseek) does not concern it. */
  readonly own: Fd;
}

function openLog({ path, owner }: LogFileOptions): Opened {
  let fd: Fd | undefined;
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    // A pipe would die with its reader, and opening one waits for it.
    if (found?.isFile() === false) throw new Error('it is no regular file');
    fd = openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT, 0o600);
    if (found === undefined && owner !== undefined) fchownSync(fd, owner.uid, owner.gid);
    return { fd, own: openSync(`/proc/self/fd/${fd}`, 'r+') };
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    const text = `--log-file ${path}: ${errorText(error)}; name a file that this user may read and write, in a folder that exists`;
    throw new HoldfastError('ERR_HOLDFAST_LOG_FILE', text, error);
  }
}

/** Whether nobody but root can put another file or folder in the place of any part of the path. */
function isClosedToOthers(path: string): boolean {
  const folders = (at: string): readonly string[] => (at === '/' ? ['/'] : [at, ...folders(dirname(at))]);
  const all = new Set([...folders(dirname(path)), ...folders(realpathSync(dirname(path)))]);
  return [...all].every((folder) => {
    const { uid, mode } = statSync(folder);
    return uid === 0 && (mode & 0o022) === 0;
  });
}

function closeLog({ fd, own }: Opened): void {
  closeSync(own);
  closeSync(fd);
}

/**
 * The file that servers write their output to. They have it open themselves, so that it goes on without us; we see to it
 * that it does not grow without bound.
 */
export class LogFile {
  readonly #options: LogFileOptions;
  readonly #opened: Opened;
  #looks: NodeJS.Timeout | undefined;
  #work: Promise<void> | undefined;
  /** When it could last not be moved away, ms of `performance.now()`. */
  #failedMs: number | undefined;

  /** Opens the file, with mode 0600 when it is new. @throws {HoldfastError} ERR_HOLDFAST_LOG_FILE */
  constructor(options: LogFileOptions) {
    this.#options = options;
    this.#opened = openLog(options);
  }

  get path(): string {
    return this.#options.path;
  }

  /** Opened for appending; to be given to servers. */
  get fd(): Fd {
    return this.#opened.fd;
  }

  /**
   * Opens the file anew when another program has moved it away (logrotate): what is started from now on writes to that of
   * this name. When that fails it goes on as before, and says so.
   */
  followName(): void {
    // It is being moved by ourselves, and stays the same.
    if (this.#work !== undefined) return;
    try {
      if (this.#hasName()) return;
      const { owner } = this.#options;
      // Whoever may rename files in there must not have us open, as root, what he names so.
      const next =
        owner === undefined || isClosedToOthers(this.path)
          ? openLog(this.#options)
          : withCredentials(owner, ownIdentity(), () => openLog({ ...this.#options, owner: undefined }));
      // The numbers stay: a start that is on its way has them.
      for (const which of ['fd', 'own'] as const) duplicateTo(next[which], this.#opened[which]);
      closeLog(next);
    } catch (error) {
      this.#options.warn(errorText(error));
    }
  }

  /** Whether the file still has its name. */
  #hasName(): boolean {
    const found = statSync(this.path, { throwIfNoEntry: false });
    const { ino, dev } = fstatSync(this.#opened.own);
    return found?.ino === ino && found.dev === dev;
  }

  /** From now on sees to its length. */
  watch(): void {
    this.#looks = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** Looks no more. Servers that have it go on. */
  async close(): Promise<void> {
    clearInterval(this.#looks);
    await this.#work;
    closeLog(this.#opened);
  }

  #look(): void {
    if (this.#work !== undefined || fstatSync(this.#opened.own).size <= this.#options.maxBytes) return;
    if (this.#failedMs !== undefined && performance.now() - this.#failedMs < RETRY_MS) return;
    // Another program has moved it, perhaps to FILE.1.
    if (!this.#hasName()) return;
    this.#work = this.#moveAway()
      .then(
        () => {
          this.#failedMs = undefined;
        },
        (error: unknown) => {
          const text = `cannot move the content of ${this.path} away: ${errorText(error)}; it is tried on`;
          if (this.#failedMs === undefined) this.#options.warn(text);
          this.#failedMs = performance.now();
        },
      )
      .finally(() => {
        this.#work = undefined;
      });
  }

  /** Copies the content to FILE.1 and begins anew. The file stays the same, since servers have it open. */
  async #moveAway(): Promise<void> {
    const [, moved, temporary] = logFiles(this.path);
    // Of a keeper that was killed at this.
    rmSync(temporary, { force: true });
    const copy = await open(temporary, 'wx', 0o600);
    try {
      const at = await this.#copyMost(copy);
      renameSync(temporary, moved);
      this.#copyRest(copy.fd, at);
      // What a server writes after the last read and before this is lost: some microseconds.
      ftruncateSync(this.#opened.own, 0);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    } finally {
      await copy.close();
    }
  }

  /** Copies what is there now. Gives where it has come to. */
  async #copyMost(copy: FileHandle): Promise<number> {
    const { own } = this.#opened;
    const { size } = fstatSync(own);
    const chunk = Buffer.allocUnsafe(CHUNK);
    let at = 0;
    while (at < size) {
      const { bytesRead } = await readAsync(own, chunk, 0, CHUNK, at);
      if (bytesRead === 0) break;
      await copy.appendFile(chunk.subarray(0, bytesRead));
      at += bytesRead;
    }
    return at;
  }

  #copyRest(copy: Fd, from: number): void {
    const chunk = Buffer.allocUnsafe(CHUNK);
    let at = from;
    for (let reads = 0; reads < LAST_READS; reads++) {
      const length = readSync(this.#opened.own, chunk, 0, CHUNK, at);
      if (length === 0) return;
      writeFileSync(copy, chunk.subarray(0, length));
      at += length;
    }
  }
}
