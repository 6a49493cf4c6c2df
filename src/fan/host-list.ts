import { HoldfastError } from '../errors.js';

/** More hosts than this in one list are a mistake of a range. */
const HOSTS_MAX = 100_000;

/** What names in a list may stand for; each is asked when it is met. */
export interface HostSources {
  /** The list that a group's name stands for; undefined when there is none. */
  group(name: string): string | undefined;
  /** The text of a file with lists, a line each; `-` is the standard input. */
  file(path: string): string;
}

const NO_SOURCES: HostSources = {
  group: () => undefined,
  file: (path) => {
    throw new Error(`there is no file ${path} here`);
  },
};

/**
 * The hosts of a list, each once, in the order of the list: `web[01-20]`, `db[1,3-9/2]-[a,b]` with every combination, names
 * apart by commas, `@group`, `^file`. Sets: `,` both, `!` without, `&` in both, `^` in one of the two, from left to right.
 *
 * A range's numbers have the width that both its ends are written with, `01-20`; ends of two widths are an error unless the
 * shorter one has no leading zero.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_HOSTS: what is wrong and at which column.
 */
export function parseHosts(text: string, sources: HostSources = NO_SOURCES): readonly string[] {
  return [...new Parser(text, sources).list()];
}

type Operator = ',' | '!' | '&' | '^';

class Parser {
  readonly #text: string;
  readonly #sources: HostSources;
  readonly #within: readonly string[];
  #at = 0;

  constructor(text: string, sources: HostSources, within: readonly string[] = []) {
    this.#text = text;
    this.#sources = sources;
    this.#within = within;
  }

  list(): Set<string> {
    let hosts = new Set<string>();
    let operator: Operator = ',';
    for (;;) {
      this.#skipSpace();
      hosts = combine(hosts, operator, this.#term());
      if (hosts.size > HOSTS_MAX) throw this.#wrong(0, `it has more than ${HOSTS_MAX} hosts`);
      this.#skipSpace();
      const next = this.#text[this.#at];
      if (next === undefined) return hosts;
      if (!isOperator(next)) throw this.#wrong(this.#at, `"${next}" stands where a comma should`);
      operator = next;
      this.#at++;
    }
  }

  #term(): readonly string[] {
    const begin = this.#at;
    const mark = this.#text[begin];
    if (mark === '@' || mark === '^') {
      this.#at++;
      const name = this.#word();
      if (name === '')
        throw this.#wrong(begin, `${mark === '@' ? 'a group' : 'a file'} has a name after ${mark}`);
      return mark === '@' ? this.#group(name, begin) : this.#file(name, begin);
    }
    const hosts = this.#pattern();
    if (hosts.length === 1 && hosts[0] === '') throw this.#wrong(begin, 'there is no name');
    return hosts;
  }

  #group(name: string, begin: number): readonly string[] {
    if (this.#within.includes(`@${name}`)) throw this.#wrong(begin, `the group ${name} has itself in it`);
    const list = this.#sources.group(name);
    if (list === undefined) throw this.#wrong(begin, `there is no group ${name}`);
    return this.#nested(list, `@${name}`, `the group ${name}`);
  }

  #file(path: string, begin: number): readonly string[] {
    if (this.#within.includes(`^${path}`)) throw this.#wrong(begin, `the file ${path} has itself in it`);
    let text: string;
    try {
      text = this.#sources.file(path);
    } catch (error) {
      throw this.#wrong(begin, `${path} cannot be read: ${(error as Error).message}`, error);
    }
    const lines = text.split('\n').map((line) => line.replace(/(^|\s)#.*/, '').trim());
    return lines.flatMap((line, index) =>
      line === '' ? [] : this.#nested(line, `^${path}`, `${path}, line ${index + 1}`),
    );
  }

  #nested(list: string, mark: string, where: string): readonly string[] {
    try {
      return [...new Parser(list, this.#sources, [...this.#within, mark]).list()];
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      throw new HoldfastError('ERR_HOLDFAST_HOSTS', `in ${where}: ${error.message}`, error);
    }
  }

  /** A name with brackets: every combination of what they stand for. */
  #pattern(): readonly string[] {
    let hosts: readonly string[] = [''];
    for (;;) {
      const word = this.#word();
      const next = this.#text[this.#at];
      hosts = hosts.map((host) => host + word);
      if (next === ']') throw this.#wrong(this.#at, 'there is no [ before this ]');
      if (next !== '[') return hosts;
      const values = this.#bracket();
      if (hosts.length * values.length > HOSTS_MAX)
        throw this.#wrong(0, `it has more than ${HOSTS_MAX} hosts`);
      hosts = hosts.flatMap((host) => values.map((value) => host + value));
    }
  }

  #word(): string {
    const begin = this.#at;
    while (this.#at < this.#text.length && !/[[\],!&^\s]/.test(this.#text[this.#at] ?? '')) this.#at++;
    return this.#text.slice(begin, this.#at);
  }

  #bracket(): readonly string[] {
    const begin = this.#at + 1;
    const end = this.#text.indexOf(']', begin);
    if (end === -1) throw this.#wrong(begin - 1, 'this [ has no ]');
    this.#at = end + 1;
    const values: string[] = [];
    let at = begin;
    for (const part of this.#text.slice(begin, end).split(',')) {
      values.push(...this.#range(part, at));
      at += part.length + 1;
    }
    return values;
  }

  #range(part: string, at: number): readonly string[] {
    const {
      from = '',
      to,
      step,
    } = /^(?<from>[^-/]*)(?:-(?<to>[^/]*))?(?:\/(?<step>.*))?$/.exec(part)?.groups ?? {};
    if (to === undefined && step === undefined && /^[\w.]+$/.test(from)) return [from];
    if (from === '' && to === undefined) throw this.#wrong(at, 'there is nothing in these brackets');
    if (!/^\d+$/.test(from))
      throw this.#wrong(at, `a range goes from a number to a number, as in [1-9], not ${part}`);
    if (to === undefined || !/^\d+$/.test(to)) throw this.#wrong(at, `this range has no end: ${part}`);
    if (step !== undefined && !/^[1-9]\d{0,5}$/.test(step))
      throw this.#wrong(at, `a step is a number from 1: ${part}`);
    const [first, last] = [Number(from), Number(to)];
    if (first > last) throw this.#wrong(at, `this range ends before it begins: ${part}`);
    const padded = from.startsWith('0') || to.startsWith('0');
    if (padded && from.length !== to.length && first !== last && from !== '0') {
      throw this.#wrong(at, `the ends of this range are written with two widths: ${part}`);
    }
    const by = Number(step ?? 1);
    const count = Math.floor((last - first) / by) + 1;
    if (count > HOSTS_MAX) throw this.#wrong(at, `this range has more than ${HOSTS_MAX} numbers: ${part}`);
    const width = from.length === to.length ? from.length : 0;
    return Array.from({ length: count }, (_, index) => `${first + index * by}`.padStart(width, '0'));
  }

  #skipSpace(): void {
    while (/\s/.test(this.#text[this.#at] ?? '')) this.#at++;
  }

  #wrong(at: number, what: string, cause?: unknown): HoldfastError {
    const text = `hosts "${shortened(this.#text)}", column ${at + 1}: ${what}`;
    return new HoldfastError('ERR_HOLDFAST_HOSTS', text, cause);
  }
}

function isOperator(text: string): text is Operator {
  return text === ',' || text === '!' || text === '&' || text === '^';
}

function combine(hosts: Set<string>, operator: Operator, others: readonly string[]): Set<string> {
  const second = new Set(others);
  const without = (one: Set<string>, other: Set<string>): string[] =>
    [...one].filter((host) => !other.has(host));
  switch (operator) {
    case ',':
      return new Set([...hosts, ...second]);
    case '!':
      return new Set(without(hosts, second));
    case '&':
      return new Set([...hosts].filter((host) => second.has(host)));
    case '^':
      return new Set([...without(hosts, second), ...without(second, hosts)]);
  }
}

function shortened(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

/** A series of hosts that differ in one number. */
interface Series {
  readonly before: string;
  readonly after: string;
  readonly numbers: string[];
}

/**
 * A list that stands for the hosts, which are all different: `web[01-03,07],db1`. A series stands where the first of its
 * hosts does, with its numbers sorted.
 */
export function foldHosts(hosts: readonly string[]): string {
  const parts = hosts.map((host) => {
    const groups = /^(?<before>.*?)(?<number>\d{1,15})(?<after>\D*)$/.exec(host)?.groups;
    return { host, ...groups } as { host: string; before?: string; number?: string; after?: string };
  });
  const padded = new Set(
    parts.flatMap(({ before, number, after }) =>
      number !== undefined && hasPadding(number) ? [keyOf(before, after, number.length)] : [],
    ),
  );
  const all = new Map<string, Series>();
  for (const { host, before = host, number, after = '' } of parts) {
    const width = number?.length ?? 0;
    const isPadded = padded.has(keyOf(before, after, width));
    const key = number === undefined ? host : keyOf(before, after, isPadded ? width : 0);
    const series = all.get(key) ?? { before, after, numbers: [] };
    all.set(key, series);
    if (number !== undefined) series.numbers.push(number);
  }
  return [...all.values()].map(folded).join(',');
}

function hasPadding(number: string): boolean {
  return number.length > 1 && number.startsWith('0');
}

/** Numbers of one series are all of one width, or none has leading zeros: then `width` is 0. */
function keyOf(before: string | undefined, after: string | undefined, width: number): string {
  return `${before}[${width}]${after}`;
}

function folded({ before, after, numbers }: Series): string {
  if (numbers.length === 0) return before;
  const ranges: [string, string][] = [];
  for (const number of [...numbers].sort((a, b) => Number(a) - Number(b))) {
    const last = ranges.at(-1);
    if (last !== undefined && Number(number) === Number(last[1]) + 1) last[1] = number;
    else ranges.push([number, number]);
  }
  const text = ranges.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(',');
  return /[-,]/.test(text) ? `${before}[${text}]${after}` : `${before}${text}${after}`;
}
