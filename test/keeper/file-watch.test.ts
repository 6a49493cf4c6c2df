import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { scopeOf } from '../../src/keeper/file-watch.js';

test('without a pattern everything is meant but packages, dot files, logs and databases', () => {
  const meant = filesMeant([], '/home/.me/app');
  const sources = ['server.js', 'src/a.ts', 'dist/b.js', 'views/c.html', 'log/e.js', 'catalog.json'];
  expect(meant(...sources)).toEqual(sources);
  const noise = [
    ...[
      'node_modules/a/index.js',
      'src/node_modules/b.js',
      '.git/HEAD',
      '.env',
      'src/.cache/x.js',
      'coverage/x.js',
    ],
    ...['app.log', 'logs/app.log.1', 'data.db', 'data.sqlite3-wal', 'server.pid', 'a.js~', '4913', '#a.js#'],
  ];
  expect(meant(...noise)).toEqual([]);
});

test('a pattern means what it matches', () => {
  const meant = filesMeant(['src/**/*.{js,ts}', 'config.json'], '/app');
  expect(meant('src/a.js', 'src/b/c.ts', 'config.json')).toEqual(['src/a.js', 'src/b/c.ts', 'config.json']);
  expect(meant('src/a.css', 'lib/a.js', 'src/config.json', 'src/node_modules/a.js')).toEqual([]);
});

test('a pattern may name packages, and folders elsewhere', () => {
  const meant = filesMeant(['node_modules/mine/**', '../shared/*.js'], '/srv/app');
  expect(meant('node_modules/mine/a.js', '../shared/b.js')).toEqual([
    'node_modules/mine/a.js',
    '../shared/b.js',
  ]);
  expect(meant('node_modules/other/a.js', '../shared/b.css', 'a.js')).toEqual([]);
  expect(scopeOf('/srv/app', ['../shared/*.js', 'src/*.js']).roots).toEqual(['/srv/shared', '/srv/app/src']);
});

/** Which of the files are watched: none of the folders from a root down to it is ignored, nor itself. */
function filesMeant(globs: readonly string[], directory: string): (...files: string[]) => readonly string[] {
  const { roots, ignores } = scopeOf(directory, globs);
  return (...files) =>
    files.filter((file) => {
      const path = resolve(directory, file);
      const root = roots.find((one) => path === one || path.startsWith(`${one}/`));
      if (root === undefined) return false;
      const parts = path
        .slice(root.length + 1)
        .split('/')
        .slice(0, -1);
      const folders = parts.map((_, index) => [root, ...parts.slice(0, index + 1)].join('/'));
      return !folders.some((folder) => ignores(folder, false)) && !ignores(path, true);
    });
}
