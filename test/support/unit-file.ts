/** What a unit file says: of each section the assignments, in order. */
export type Unit = Readonly<Record<string, readonly (readonly [key: string, value: string])[]>>;

/** Reads a unit file as systemd.syntax(7) tells. Without lines that go on in the next. */
export function readUnit(text: string): Unit {
  const unit: Record<string, [string, string][]> = {};
  let section = '';
  for (const line of text.split('\n')) {
    if (line === '' || /^[#;]/.test(line)) continue;
    if (line.endsWith('\\')) throw new Error(`it goes on in the next line: ${line}`);
    const [, name] = /^\[(.*)\]$/.exec(line) ?? [];
    if (name !== undefined) {
      section = name;
      continue;
    }
    const [, key, value] = /^(\w+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (key === undefined || value === undefined) throw new Error(`no assignment: ${line}`);
    unit[section] = [...(unit[section] ?? []), [key, value]];
  }
  return unit;
}

/** Every value of a key, in order. */
export function allOf(unit: Unit, section: string, key: string): readonly string[] {
  return (unit[section] ?? []).filter(([name]) => name === key).map(([, value]) => value);
}

/** The last value of a key, with its specifiers as they are: only `%%` is known. */
export function lastOf(unit: Unit, section: string, key: string): string | undefined {
  return allOf(unit, section, key).at(-1)?.replace(/%(.?)/g, percent);
}

/** The files in what `holdfast systemd` prints, by name. */
export function readPrinted(text: string): Readonly<Record<string, string>> {
  const parts = text.split(/^# (\S+\.(?:service|socket))$/m).slice(1);
  return Object.fromEntries(
    parts.flatMap((part, index) => (index % 2 === 0 ? [[part, (parts[index + 1] ?? '').slice(1)]] : [])),
  );
}

/**
 * The words of ExecStart=, as systemd.service(5), "COMMAND LINES", and systemd.syntax(7), "QUOTING", tell: quotes, C's
 * escapes, then specifiers, then variables, which no word of ours may have.
 */
export function readCommand(text: string): readonly string[] {
  return readWords(text).map((word) => word.replace(/\$(.?)/gs, dollar));
}

/** The words of Environment=: there `$` is a character like others. */
export function readWords(text: string): readonly string[] {
  const words: string[] = [];
  for (let at = 0; at < text.length; ) {
    if (/\s/.test(text[at] ?? '')) {
      at++;
      continue;
    }
    let word = '';
    let quote = '';
    while (at < text.length && (quote !== '' || !/\s/.test(text[at] ?? ''))) {
      const character = text[at] ?? '';
      if (character === '\\') {
        const { value, length } = escapeAt(text, at);
        word += value;
        at += length;
        continue;
      }
      if (character === quote) quote = '';
      else if (quote === '' && /["']/.test(character)) quote = character;
      else word += character;
      at++;
    }
    if (quote !== '') throw new Error(`an open quote: ${text}`);
    if (word === ';' && text[at - 1] === ';') throw new Error(`it separates two commands: ${text}`);
    words.push(word.replace(/%(.?)/gs, percent));
  }
  return words;
}

const ESCAPES: Readonly<Record<string, string>> = {
  ...{ a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v', s: ' ' },
  ...{ '\\': '\\', '"': '"', "'": "'" },
};

function escapeAt(text: string, at: number): { readonly value: string; readonly length: number } {
  const [, hex] = /^\\x([0-9a-f]{2})/i.exec(text.slice(at)) ?? [];
  if (hex !== undefined) return { value: String.fromCharCode(Number.parseInt(hex, 16)), length: 4 };
  const value = ESCAPES[text[at + 1] ?? ''];
  if (value === undefined) throw new Error(`an unknown escape: ${text.slice(at, at + 4)}`);
  return { value, length: 2 };
}

function percent(text: string, next: string): string {
  if (next !== '%') throw new Error(`a specifier: ${text}`);
  return '%';
}

function dollar(text: string, next: string): string {
  if (next !== '$') throw new Error(`a variable: ${text}`);
  return '$';
}
