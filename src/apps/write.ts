import { Document, isMap, isSeq, type Node } from 'yaml';
import type { WrittenApp } from './schema.js';

/** An app that is to be written. */
export interface Draft {
  readonly name: string;
  readonly app: WrittenApp;
  /** What whoever reads the file should know of it. */
  readonly notes: readonly string[];
}

/** A file of these apps. `schema`: where the JSON schema is; `notes`: on all of it. */
export function writeApps(
  drafts: readonly Draft[],
  { schema, notes }: { readonly schema: string; readonly notes: readonly string[] },
): string {
  const document = new Document({ apps: Object.fromEntries(drafts.map(({ name, app }) => [name, app])) });
  document.commentBefore = comment([`yaml-language-server: $schema=${schema}`, ...notes]);
  for (const { name, notes: own } of drafts) {
    const app = document.getIn(['apps', name], true) as Node | undefined;
    if (app === undefined) continue;
    if (own.length > 0) app.commentBefore = comment(own);
    if (!isMap(app)) continue;
    for (const { value } of app.items) if (isSeq(value)) value.flow = true;
  }
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}

/** Names of which no two are equal: a second `shop` is `shop-2`. */
export function distinctNames(names: readonly string[]): readonly string[] {
  const given = new Set<string>();
  return names.map((name) => {
    let own = name;
    for (let number = 2; given.has(own); number++) own = `${name.slice(0, 60)}-${number}`;
    given.add(own);
    return own;
  });
}

function comment(lines: readonly string[]): string {
  return lines.map((line) => ` ${line.replace(/\s*\n\s*/g, ' ')}`).join('\n');
}
