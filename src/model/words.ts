/** Why a line is no plain command. */
export interface NoWords {
  readonly why: string;
}

const EXPANDS = new Set(['$', '`']);
const OPERATORS = new Set(['|', '&', ';', '<', '>', '(', ')', ...EXPANDS]);
const USE_A_SHELL = 'there is no shell here: quote it, or write the list ["sh", "-c", "..."]';

/**
 * Splits a line into words as a shell does: at white space, with '...', "..." and \. Nothing else means anything, and what
 * a shell would act upon (`|`, `&`, `;`, `<`, `>`, parentheses, `$`, backquotes, `NAME=value` before the program) is refused
 * unless it is quoted.
 */
export function splitWords(line: string): readonly string[] | NoWords {
  const words: string[] = [];
  let word: string | undefined;
  let quote: "'" | '"' | undefined;
  let isQuoted = false;
  for (let at = 0; at < line.length; at++) {
    const character = line[at] as string;
    const next = line[at + 1];
    if (quote === undefined && /\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (quote === undefined && (character === "'" || character === '"')) {
      quote = character;
      isQuoted ||= words.length === 0;
      word ??= '';
    } else if (character === quote) {
      quote = undefined;
    } else if (character === '\\' && (quote === undefined || (quote === '"' && /["\\$`]/.test(next ?? '')))) {
      if (next === undefined) return { why: 'a \\ at the end quotes nothing' };
      word = (word ?? '') + next;
      at++;
    } else if ((quote === undefined ? OPERATORS : EXPANDS).has(character) && quote !== "'") {
      return { why: `"${character}" is for a shell, and ${USE_A_SHELL}` };
    } else {
      word = (word ?? '') + character;
    }
  }
  if (quote !== undefined) return { why: `a ${quote} is not closed` };
  if (word !== undefined) words.push(word);
  const [first] = words;
  if (first === undefined || first === '') return { why: 'it names no program' };
  if (!isQuoted && /^[A-Za-z_]\w*=/.test(first)) {
    return { why: `"${first}" is for a shell; put it under env` };
  }
  return words;
}
