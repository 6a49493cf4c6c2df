/** What the two marks of a command tell. */
export interface Marks {
  /** The process group of the work, once it has begun. */
  begun?: number;
  /** Its exit status, 128 + n after signal n, once it is over. */
  status?: number;
}

/** `MARK b1234;` or `MARK e0;` */
const TAIL_MAX = ' b4294967295;'.length;

/** So much is kept of what comes before a command has begun. */
const WORDS_MAX = 64 * 1024;

/**
 * Takes the marks out of the output as it comes, wherever they stand, and hands on everything else as it is. What comes before
 * the work has begun is not its output: words of the server, or of the user's shell.
 */
export class MarkReader {
  readonly seen: Marks = {};
  /** What came before the work had begun, up to 64 kB. */
  words: Buffer = Buffer.alloc(0);
  readonly #mark: Buffer;
  #held: Buffer = Buffer.alloc(0);

  constructor(mark: string) {
    this.#mark = Buffer.from(mark);
  }

  /** The output of the work in these bytes and those that were held back before. */
  read(bytes: Buffer): Buffer {
    let rest = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    const output: Buffer[] = [];
    const found = (part: Buffer): void => {
      if (this.seen.begun === undefined) this.addWords(part);
      else output.push(part);
    };
    for (;;) {
      const at = rest.indexOf(this.#mark);
      const end = at === -1 ? -1 : rest.indexOf(';', at);
      if (at === -1 || (end === -1 && rest.length - at <= this.#mark.length + TAIL_MAX)) break;
      const [, kind, number] =
        /^ ([be])(\d+)$/.exec(rest.toString('latin1', at + this.#mark.length, end)) ?? [];
      if (kind === undefined) {
        // It is in the output for another reason: somebody shows the command line.
        found(rest.subarray(0, at + this.#mark.length));
        rest = rest.subarray(at + this.#mark.length);
        continue;
      }
      found(rest.subarray(0, at));
      if (kind === 'b') this.seen.begun = Number(number);
      else this.seen.status = Number(number);
      rest = rest.subarray(end + 1);
    }
    const keep = this.#possible(rest);
    found(rest.subarray(0, rest.length - keep));
    this.#held = Buffer.from(rest.subarray(rest.length - keep));
    return output.length === 1 ? (output[0] as Buffer) : Buffer.concat(output);
  }

  /** What is left of the output when no more comes. */
  end(): Buffer {
    const rest = this.#held;
    this.#held = Buffer.alloc(0);
    if (this.seen.begun !== undefined) return rest;
    this.addWords(rest);
    return Buffer.alloc(0);
  }

  addWords(bytes: Buffer): void {
    if (this.words.length < WORDS_MAX) this.words = Buffer.concat([this.words, bytes]).subarray(0, WORDS_MAX);
  }

  /** How many bytes at the end may be the begin of a mark. */
  #possible(bytes: Buffer): number {
    const whole = bytes.indexOf(this.#mark);
    if (whole !== -1) return bytes.length - whole;
    for (let length = Math.min(this.#mark.length - 1, bytes.length); length > 0; length--) {
      if (this.#mark.subarray(0, length).equals(bytes.subarray(bytes.length - length))) return length;
    }
    return 0;
  }
}
