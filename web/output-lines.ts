import { plainText } from './words.js';

const LINES_MAX = 500;
/** A server may write no newline for hours. */
const CHARACTERS_MAX = 200_000;

/** The last lines, without what is for terminals. */
export function lastLines(text: string): string {
  const lines = plainText(text).split('\n');
  // What ends with a newline has an empty piece after it.
  return lines
    .slice(-LINES_MAX - 1)
    .join('\n')
    .slice(-CHARACTERS_MAX);
}
