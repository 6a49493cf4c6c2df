/**
 * The text as one word of a command line, whatever POSIX shell, csh or fish reads it. Within single quotes csh looks for !
 * and fish for backslashes, so these stand outside of them.
 */
export function quote(text: string): string {
  return `'${text.replace(/['\\!]/g, (mark) => `'\\${mark}'`)}'`;
}
