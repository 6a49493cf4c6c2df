import { createHash } from 'node:crypto';
import { closeSync, createReadStream, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';

/** What is kept in memory of one stream; the rest goes to a file. */
const MEMORY_BYTES = 64 * 1024;

/** Output that is kept until it is asked for, however much it is. */
export class Spool {
  /** How much it is. */
  bytes = 0;
  readonly #folder: () => string;
  readonly #hash = createHash('sha256');
  #memory: Buffer[] = [];
  #fd: number | undefined;
  #file: string | undefined;
  #digest: string | undefined;

  /** @param folder where its file may be, asked for when there is too much for memory. */
  constructor(folder: () => string) {
    this.#folder = folder;
  }

  write(bytes: Buffer): void {
    this.bytes += bytes.length;
    this.#hash.update(bytes);
    if (this.#fd === undefined && this.bytes <= MEMORY_BYTES) {
      this.#memory.push(Buffer.from(bytes));
      return;
    }
    if (this.#fd === undefined) {
      this.#file = join(this.#folder(), `${count++}`);
      this.#fd = openSync(this.#file, 'wx', 0o600);
      for (const part of this.#memory) writeAll(this.#fd, part);
      this.#memory = [];
    }
    writeAll(this.#fd, bytes);
  }

  /** No more comes. */
  end(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#digest = this.#hash.digest('hex');
  }

  /** The same for the same output, once it is ended. */
  get digest(): string {
    return this.#digest ?? '';
  }

  /** All of it at once. */
  buffer(): Buffer {
    return this.#file === undefined ? Buffer.concat(this.#memory) : readFileSync(this.#file);
  }

  text(): string {
    return this.buffer().toString();
  }

  stream(): Readable {
    return this.#file === undefined ? Readable.from(this.#memory) : createReadStream(this.#file);
  }
}

let count = 0;

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

/** A folder of this user alone, made when it is first asked for and removed at the end. */
export class SpoolFolder {
  #path: string | undefined;

  readonly path = (): string => {
    this.#path ??= mkdtempSync(join(tmpdir(), 'holdfast-fan-'));
    return this.#path;
  };

  remove(): void {
    if (this.#path !== undefined) rmSync(this.#path, { recursive: true, force: true });
  }
}
