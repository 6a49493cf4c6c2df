import { binaryOf } from './requirement.js';

/** The words as a shell reads them back. */
export function shellWords(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
}

/**
 * The command that runs shell text on a terminal of its own. The shell is /bin/sh whatever SHELL says: after Ctrl-C,
 * dash ends by SIGINT and bash does not, so text that is to give its program's exit begins with `exec`.
 */
export function onTerminal(text: string): string[] {
  return ['env', 'SHELL=/bin/sh', binaryOf('script'), '-qefc', text, '/dev/null'];
}
