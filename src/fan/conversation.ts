import { MarkReader } from './marks.js';
import type { Failure, RemoteEnd, RemoteJob } from './remote.js';

/** What one command at one host writes, and how it ends: the same over ssh and over rsh. */
export class Conversation {
  /** Whether this side has closed the connection first. */
  closedFirst = false;
  readonly #job: RemoteJob;
  readonly #marks: MarkReader;
  readonly #close: () => void;
  #unclosed: NodeJS.Timeout | undefined;

  /** @param close ends a connection that the other side has not ended in its time. */
  constructor(job: RemoteJob, mark: string, close: () => void) {
    this.#job = job;
    this.#marks = new MarkReader(mark);
    this.#close = close;
  }

  /** The process group of the command, once it has begun. */
  get group(): number | undefined {
    return this.#marks.seen.begun;
  }

  get isOver(): boolean {
    return this.#marks.seen.status !== undefined;
  }

  /** Takes what came on the stream that has the marks. */
  async output(bytes: Buffer): Promise<void> {
    const rest = this.#marks.read(bytes);
    await this.#tellWords();
    if (rest.length > 0) await this.#job.take('stdout', rest);
    if (this.isOver) this.expectClose();
  }

  /** From now on the other side has its time to close, when all that have the connection are gone; then this one does. */
  expectClose(): void {
    this.#unclosed ??= setTimeout(() => this.#closeFirst(), this.#job.closeTimeoutMs);
  }

  /** Takes what came beside it. */
  async errors(bytes: Buffer): Promise<void> {
    if (this.group === undefined) this.#marks.addWords(bytes);
    else await this.#job.take('stderr', bytes);
  }

  /**
   * When no more comes. A status that was told counts, whatever came after it.
   *
   * @param refusal what it means that the command has not begun, from the words that came in the place of its output.
   */
  async end(
    refusal: (words: string) => Failure,
    lost = 'the connection ended before the command',
  ): Promise<RemoteEnd> {
    clearTimeout(this.#unclosed);
    const rest = this.#marks.end();
    if (rest.length > 0) await this.#job.take('stdout', rest);
    const { closedFirst } = this;
    const { begun, status } = this.#marks.seen;
    if (status !== undefined) return { status, error: null, closedFirst };
    const error =
      begun === undefined
        ? refusal(this.#marks.words.toString().trim())
        : { phase: 'lost' as const, text: lost };
    return { status: null, error, closedFirst };
  }

  /** What came before the command had begun is not its output, but may be of interest. */
  async #tellWords(): Promise<void> {
    const { words } = this.#marks;
    if (this.group === undefined || words.length === 0) return;
    this.#marks.words = Buffer.alloc(0);
    await this.#job.take('stderr', words);
  }

  #closeFirst(): void {
    this.closedFirst = true;
    this.#close();
  }
}
