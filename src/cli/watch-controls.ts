import { errorText } from '../errors.js';
import type { WatchFilter, WatchSnapshot } from '../watch/view.js';
import { type Line, linesOf, printable } from './watch-screen.js';

/** What a key is besides its character, as ink tells it. */
export interface Key {
  readonly upArrow: boolean;
  readonly downArrow: boolean;
  readonly pageUp: boolean;
  readonly pageDown: boolean;
  readonly return: boolean;
  readonly escape: boolean;
  readonly backspace: boolean;
  readonly delete: boolean;
  readonly ctrl: boolean;
}

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** What the keys lead to. */
export interface ControlEffects {
  /** The answer of `holdfast why`. */
  why(port: number): string;
  /** From now on the snapshots are of that. @throws {HoldfastError} there is no such thing. */
  choose(filter: WatchFilter): void;
  /** `interrupted`: by Ctrl-C, which is a key while the terminal is raw. */
  quit(interrupted: boolean): void;
}

type Field = 'port' | 'pid';

interface Typing {
  readonly field: Field;
  readonly text: string;
}

interface Answer {
  readonly lines: readonly string[];
  readonly first: number;
}

const LABELS: Readonly<Record<Field, string>> = { port: 'port', pid: 'pid of the process' };
const PAGE = 10;

/** What is on the screen, and what each key does to it. */
export class Controls {
  readonly #effects: ControlEffects;
  readonly #unicode: boolean;
  #snapshot: WatchSnapshot;
  #filter: WatchFilter;
  /** The port that is chosen, wherever it stands in the list; undefined: the first one. */
  #port: number | undefined;
  #typing: Typing | undefined;
  #notice: string | undefined;
  #answer: Answer | undefined;

  constructor(snapshot: WatchSnapshot, filter: WatchFilter, effects: ControlEffects, unicode: boolean) {
    this.#snapshot = snapshot;
    this.#filter = filter;
    this.#effects = effects;
    this.#unicode = unicode;
  }

  update(snapshot: WatchSnapshot): void {
    this.#snapshot = snapshot;
  }

  /** Keys that come together, as what is pasted does, have one `key`. */
  press(input: string, key: Key): void {
    const characters = [...input];
    if (characters.length <= 1) this.#pressOne(input, key);
    else for (const one of characters) this.#pressOne(one, { ...key, return: one === '\r' || one === '\n' });
  }

  #pressOne(input: string, key: Key): void {
    this.#notice = undefined;
    if (key.ctrl && input === 'c') this.#effects.quit(true);
    else if (this.#typing !== undefined) this.#type(this.#typing, input, key);
    else if (input === 'q') this.#effects.quit(false);
    else if (this.#answer !== undefined) this.#scroll(this.#answer, key);
    else if (key.upArrow) this.#move(-1);
    else if (key.downArrow) this.#move(1);
    else if (key.pageUp) this.#move(-PAGE);
    else if (key.pageDown) this.#move(PAGE);
    else if (key.return) this.#ask();
    else if (input === 'p') this.#typing = { field: 'port', text: '' };
    else if (input === 'i') this.#typing = { field: 'pid', text: '' };
    else if (input === 'a') this.#choose({});
  }

  lines({ columns, rows }: Size): readonly Line[] {
    if (this.#answer !== undefined) return answerLines(this.#answer, { columns, rows });
    const typing = this.#typing && { label: LABELS[this.#typing.field], text: this.#typing.text };
    return linesOf({
      ...{ snapshot: this.#snapshot, filter: this.#filter, chosen: this.#chosen(), columns, rows },
      ...{ typing, notice: this.#notice, unicode: this.#unicode },
    });
  }

  #chosen(): number {
    const at = this.#snapshot.ports.findIndex(({ port }) => port === this.#port);
    return Math.max(0, at);
  }

  #move(by: number): void {
    const { ports } = this.#snapshot;
    const at = Math.max(0, Math.min(ports.length - 1, this.#chosen() + by));
    this.#port = ports[at]?.port;
  }

  #ask(): void {
    const port = this.#snapshot.ports[this.#chosen()]?.port;
    if (port === undefined) return;
    this.#port = port;
    try {
      this.#answer = { lines: this.#effects.why(port).trimEnd().split('\n'), first: 0 };
    } catch (error) {
      this.#notice = errorText(error);
    }
  }

  #type({ field, text }: Typing, input: string, key: Key): void {
    if (key.escape) this.#typing = undefined;
    else if (key.backspace || key.delete) this.#typing = { field, text: text.slice(0, -1) };
    else if (key.return) {
      this.#typing = undefined;
      if (text !== '') this.#choose({ [field]: Number(text) });
    } else if (/^\d+$/.test(input)) this.#typing = { field, text: (text + input).slice(0, 10) };
  }

  #choose(filter: WatchFilter): void {
    try {
      this.#effects.choose(filter);
      this.#filter = filter;
      this.#port = undefined;
    } catch (error) {
      this.#notice = errorText(error);
    }
  }

  #scroll({ lines, first }: Answer, key: Key): void {
    const to = (line: number): void => {
      this.#answer = { lines, first: Math.max(0, Math.min(lines.length - 1, line)) };
    };
    if (key.escape || key.return) this.#answer = undefined;
    else if (key.upArrow) to(first - 1);
    else if (key.downArrow) to(first + 1);
    else if (key.pageUp) to(first - PAGE);
    else if (key.pageDown) to(first + PAGE);
  }
}

/** Words are broken where the terminal ends; the last row says how to go on. */
function answerLines({ lines, first }: Answer, { columns, rows }: Size): readonly Line[] {
  const shown = lines
    .slice(first)
    .flatMap((line) => broken(printable(line), columns))
    .slice(0, Math.max(0, rows - 2));
  return [
    ...shown.map((text) => [{ text }]),
    [{ text: 'arrows scroll  Esc back  q quit'.slice(0, columns), inverse: true }],
  ];
}

function broken(line: string, columns: number): readonly string[] {
  const characters = [...line];
  const parts: string[] = [];
  for (let at = 0; at < characters.length; at += columns)
    parts.push(characters.slice(at, at + columns).join(''));
  return parts.length === 0 ? [' '] : parts;
}
