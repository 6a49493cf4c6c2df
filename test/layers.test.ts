import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

/** One import: `to` is a file of src/, or what the import names when that is no file. */
interface Arrow {
  readonly from: string;
  readonly to: string;
}

const source = fileURLToPath(new URL('../src/', import.meta.url));

/** Files at the root that every layer may import; they themselves import one another only. */
const FOR_ALL = ['errors.ts', 'platform.ts', 'version.ts', 'yaml-source.ts'];
/** What the package exports. */
const ENTRIES = ['index.ts', 'explain.ts', 'graceful.ts'];
/** Reads numbers of the system and nothing else. */
const SIGNALS: Arrow = { from: 'model/signals.ts', to: 'node:os' };

test('imports point down, and only the kernel layer calls the kernel', () => {
  const arrows = sourceFiles().flatMap((file) => arrowsOf(file, readFileSync(join(source, file), 'utf8')));
  expect(arrows.length).toBeGreaterThan(100);
  expect(arrows.map(faultOf).filter((fault) => fault !== undefined)).toEqual([]);
});

test('every relative import is a file of src', () => {
  const files = new Set(sourceFiles());
  const arrows = sourceFiles().flatMap((file) => arrowsOf(file, readFileSync(join(source, file), 'utf8')));
  const unknown = arrows.filter(({ to }) => /\.tsx?$/.test(to) && !files.has(to));
  expect(unknown).toEqual([]);
});

test('every form of import is read', () => {
  const text = `
    import { a } from './a.js';
    import type { B } from "../model/b.js";
    import {
      c,
      type D,
    } from '../kernel/c.js';
    export { e } from '../errors.js';
    export * from './f.js';
    import './g.js';
    const h = await import('../kernel/h.js');
    const thread = new Worker(new URL('./i.js', import.meta.url));
    const j = require('koffi');
    type K = import('./k.js').K;
    import koffi, { type L } from 'koffi';`;
  expect(arrowsOf('keeper/x.ts', text).map(({ to }) => to)).toEqual([
    ...['keeper/a.ts', 'model/b.ts', 'kernel/c.ts', 'errors.ts', 'keeper/f.ts', 'keeper/g.ts'],
    ...['kernel/h.ts', 'keeper/i.ts', 'koffi', 'keeper/k.ts', 'koffi'],
  ]);
});

const BAD: readonly Arrow[] = [
  { from: 'keeper/x.ts', to: 'cli/run.ts' },
  { from: 'keeper/x.ts', to: 'doctor/report.ts' },
  { from: 'doctor/x.ts', to: 'keeper/state.ts' },
  { from: 'keeper/x.ts', to: 'index.ts' },
  { from: 'kernel/x.ts', to: 'keeper/state.ts' },
  { from: 'kernel/x.ts', to: 'cli/failure.ts' },
  { from: 'model/x.ts', to: 'kernel/socket.ts' },
  { from: 'model/x.ts', to: 'keeper/lifecycle.ts' },
  { from: 'model/x.ts', to: 'node:fs' },
  { from: 'model/x.ts', to: 'node:os' },
  { from: 'model/x.ts', to: 'commander' },
  { from: 'errors.ts', to: 'model/address.ts' },
  { from: 'platform.ts', to: 'kernel/procfs.ts' },
  { from: 'keeper/x.ts', to: 'koffi' },
  { from: 'cli/x.ts', to: 'koffi' },
  { from: 'model/x.ts', to: 'koffi' },
  { from: 'index.ts', to: 'koffi' },
  { from: 'index.ts', to: 'cli/run.ts' },
  { from: 'explain.ts', to: 'cli/why.ts' },
  { from: 'closing/x.ts', to: 'diagnosis/why.ts' },
  { from: 'watch/x.ts', to: 'keeper/state.ts' },
  { from: 'watch/x.ts', to: 'cli/watch-terminal.tsx' },
  { from: 'diagnosis/x.ts', to: 'explain.ts' },
  { from: 'keeper/x.ts', to: '../test/support/ports.js' },
];

for (const arrow of BAD) {
  test(`an import of ${arrow.to} in ${arrow.from} is a fault`, () => {
    expect(faultOf(arrow)).toContain(`${arrow.from} imports ${arrow.to}: `);
  });
}

const GOOD: readonly Arrow[] = [
  { from: 'cli/x.ts', to: 'keeper/state.ts' },
  { from: 'cli/x.ts', to: 'kernel/procfs.ts' },
  { from: 'cli/x.ts', to: 'model/address.ts' },
  { from: 'cli/x.ts', to: 'cli/failure.ts' },
  { from: 'keeper/x.ts', to: 'kernel/socket.ts' },
  { from: 'keeper/x.ts', to: 'version.ts' },
  { from: 'kernel/x.ts', to: 'model/address.ts' },
  { from: 'kernel/x.ts', to: 'koffi' },
  { from: 'kernel/x.ts', to: 'node:fs' },
  { from: 'cli/x.ts', to: 'index.ts' },
  { from: 'cli/x.tsx', to: 'watch/sampler.ts' },
  { from: 'index.ts', to: 'keeper/keeper.ts' },
  { from: 'explain.ts', to: 'diagnosis/explain.ts' },
  { from: 'graceful.ts', to: 'closing/watch.ts' },
  { from: 'platform.ts', to: 'errors.ts' },
  SIGNALS,
];

for (const arrow of GOOD) {
  test(`an import of ${arrow.to} in ${arrow.from} is none`, () => {
    expect(faultOf(arrow)).toBeUndefined();
  });
}

/** What is wrong with an import; undefined when nothing is. */
function faultOf({ from, to }: Arrow): string | undefined {
  const why = /\.tsx?$/.test(to) && !to.startsWith('..') ? whyNotFile(from, to) : whyNotPackage(from, to);
  return why === undefined ? undefined : `${from} imports ${to}: ${why}`;
}

function whyNotFile(from: string, to: string): string | undefined {
  const [own, other] = [folderOf(from), folderOf(to)];
  if (FOR_ALL.includes(to) || (own === other && own !== '')) return undefined;
  if (FOR_ALL.includes(from)) return 'it is for all layers and stands on none';
  if (rankOf(from) > rankOf(to)) return undefined;
  return rankOf(from) === rankOf(to) ? 'it points sideways' : 'it points up';
}

function whyNotPackage(from: string, to: string): string | undefined {
  if (to.startsWith('.')) return 'it leaves src';
  if (to === 'koffi') return folderOf(from) === 'kernel' ? undefined : 'only src/kernel calls the kernel';
  if (folderOf(from) !== 'model' || (from === SIGNALS.from && to === SIGNALS.to)) return undefined;
  return builtinModules.includes(to.replace(/^node:/, ''))
    ? 'the model does no I/O'
    : 'the model needs nothing but itself';
}

/** Higher may import lower. Every folder that is not named is a feature. */
function rankOf(file: string): number {
  if (ENTRIES.includes(file)) return 3;
  switch (folderOf(file)) {
    case 'cli':
      return 4;
    case 'kernel':
      return 1;
    case 'model':
      return 0;
    default:
      return 2;
  }
}

/** `keeper` of `keeper/state.ts`; '' at the root. */
function folderOf(file: string): string {
  return file.includes('/') ? (file.split('/')[0] ?? '') : '';
}

function sourceFiles(): readonly string[] {
  return readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) => /\.tsx?$/.test(file));
}

/** Static, dynamic and type imports, exports from, and files that a thread runs. */
function arrowsOf(file: string, text: string): readonly Arrow[] {
  const imports = /(?:\bfrom|\bimport|\brequire|\bnew URL)\s*\(?\s*(['"])(?<name>[^'"\n]+)\1/g;
  return [...text.matchAll(imports)].map(({ groups }) => ({
    from: file,
    to: targetOf(file, groups?.name ?? ''),
  }));
}

function targetOf(file: string, name: string): string {
  if (!name.startsWith('.')) return name;
  const path = normalize(join(dirname(file), name));
  if (path.startsWith('..')) return path;
  return path.replace(/\.js$/, existsSync(join(source, path.replace(/\.js$/, '.tsx'))) ? '.tsx' : '.ts');
}
