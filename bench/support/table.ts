/** A Markdown table whose columns are aligned in the source too. Cells that start with a digit or a sign go right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const right = head.map((_, i) => i > 0 && rows.every((row) => NUMBER.test(row[i] ?? '')));
  const widths = head.map((title, i) =>
    Math.max(3, ...[title, ...rows.map((row) => row[i] ?? '')].map(widthOf)),
  );
  const line = (cells: readonly string[]): string => {
    const padded = widths.map((width, i) => pad(cells[i] ?? '', width, right[i] === true));
    return `| ${padded.join(' | ')} |`;
  };
  const rule = widths.map((width, i) => (right[i] ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}

const NUMBER = /^[-+]?[\d.]|^–$/;

function pad(text: string, width: number, right: boolean): string {
  const space = ' '.repeat(width - widthOf(text));
  return right ? space + text : text + space;
}

function widthOf(text: string): number {
  return [...text].length;
}
