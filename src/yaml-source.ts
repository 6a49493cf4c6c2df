import { type Document, LineCounter, type Node, parseDocument, type YAMLParseError } from 'yaml';

/** A place of a YAML text: a node, an offset, or else the beginning. */
export type YamlPlace = Node | number | null | undefined;

/** A YAML text that was read, and where its parts stand. */
export interface YamlSource {
  readonly document: Document.Parsed;
  /** Both from 1. */
  position(place: YamlPlace): { readonly line: number; readonly column: number };
  /** The first thing by which it is no YAML. */
  readonly problem: { readonly place: number; readonly text: string } | undefined;
}

/** Reads a YAML text. `merge`: whether `<<: *anchor` takes over the keys of another mapping; default false. */
export function readYaml(text: string, { merge = false }: { readonly merge?: boolean } = {}): YamlSource {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, merge, prettyErrors: false });
  const [problem] = document.errors;
  return {
    document,
    position: (place) => {
      const offset = typeof place === 'number' ? place : (place?.range?.[0] ?? 0);
      const { line, col } = lineCounter.linePos(offset);
      // An empty text has no line to its name.
      return { line: Math.max(1, line), column: Math.max(1, col) };
    },
    problem:
      problem === undefined
        ? undefined
        : { place: problem.pos[0], text: describe(problem, text.slice(problem.pos[0])) },
  };
}

/** `at`: the text from its place on. */
function describe({ code, message }: YAMLParseError, at: string): string {
  if (code !== 'DUPLICATE_KEY') return message;
  return `the key ${/^[^:\r\n]*/.exec(at)?.[0].trim()} is there twice`;
}
