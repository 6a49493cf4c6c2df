import { closeSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { bodyOf } from '../support/http.js';
import { holdfast, type KeeperOptions, type RunningKeeper, startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { freePort } from '../support/ports.js';
import { listeners } from '../support/proc.js';
import { start } from '../support/process.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { expectNothingFailed, settled } from './reloads.js';

const EDITS = 5;
const RATE_PER_SECOND = 200;

test(`${EDITS} edits under load fail no client, and each is served`, async () => {
  const app = await startApp();
  const load = startLoad({ port: app.port, ratePerSecond: RATE_PER_SECOND });
  await until('answers', () => load.counts().ok > 20);
  for (let edit = 1; edit <= EDITS; edit++) {
    app.write(`edit ${edit}`);
    await app.serves(`edit ${edit}`);
  }
  await settled(app.keeper);
  await expectNothingFailed(load.stop());
  expect(app.keeper.process.lines(/^holdfast: server\.mjs has changed$/).length).toBeGreaterThanOrEqual(
    EDITS,
  );
}, 60_000);

test('an edit with an error leaves the old one, says why, and the next edit is served', async () => {
  const app = await startApp();
  app.write('broken', 'const = ;');
  await app.keeper.process.line(/the reload failed, the former server goes on: it exited with 1/);
  expect(app.keeper.process.stderr).toContain('SyntaxError');
  expect(await bodyOf(app.port)).toContain('first');
  app.write('mended');
  await app.serves('mended');
});

test('changes that come together, and those during a reload, are one reload each time', async () => {
  const app = await startApp(`console.log('loading'); await new Promise((go) => setTimeout(go, 1_000));`);
  for (const file of ['a.json', 'b.json', 'c.json']) writeFileSync(join(app.folder, file), '{}');
  await app.keeper.process.line(/^holdfast: a\.json, b\.json, c\.json have changed$/);
  // The next one has been read, and does not listen yet.
  await app.keeper.process.line(/^loading$/, { after: 1 });
  app.write('while it starts');
  app.write('while it starts, again');
  await app.serves('while it starts, again');
  await settled(app.keeper);
  expect(app.keeper.state().generation).toBe(3);
});

test('packages, dot files, logs and what no pattern names reload nothing', async () => {
  const app = await startApp('', ['--watch', '*.mjs', 'views/**']);
  const everything = await startApp();
  for (const { folder } of [app, everything]) {
    for (const name of ['node_modules/a', '.git']) {
      mkdirSync(join(folder, name), { recursive: true });
      writeFileSync(join(folder, name, 'index.js'), '');
    }
    for (const name of ['server.log', '.env', 'data.sqlite']) writeFileSync(join(folder, name), 'x');
  }
  writeFileSync(join(app.folder, 'notes.txt'), 'x');
  mkdirSync(join(app.folder, 'views/pages'), { recursive: true });
  // A change that counts comes last: nothing was told before it.
  writeFileSync(join(app.folder, 'views/pages/a.html'), 'x');
  await app.keeper.process.line(/^holdfast: views\/pages\/a\.html has changed$/);
  everything.write('second');
  await everything.keeper.process.line(/^holdfast: server\.mjs has changed$/);
  for (const { keeper } of [app, everything])
    expect(keeper.process.lines(/ (has|have) changed$/)).toHaveLength(1);
});

test('a file that a pattern names and that is made later reloads, by every change', async () => {
  const app = await startApp('', ['--watch', '*.mjs', 'settings.json']);
  for (let change = 0; change < 2; change++) {
    writeFileSync(join(app.folder, 'settings.json'), `${change}`);
    await app.keeper.process.line(/^holdfast: settings\.json has changed$/, { after: change });
    await settled(app.keeper);
  }
});

test('what the output goes to reloads nothing', async () => {
  const folder = temporaryFolder();
  const path = join(folder, 'out.txt');
  const out = openSync(path, 'a');
  onTestFinished(() => closeSync(out));
  const port = await freePort();
  const code = `require('node:http').createServer((_, r) => r.end()).listen(${port}, '127.0.0.1'); console.log('begins');`;
  const command = [...holdfast, 'run', '--name', 'app', '--watch', '--', process.execPath, '-e', code];
  const keeper = start(command, {
    cwd: folder,
    env: { HOLDFAST_STATE_DIR: temporaryFolder() },
    stdio: ['ignore', out, out],
  });
  const said = (pattern: RegExp): boolean => pattern.test(readFileSync(path, 'utf8'));
  await until('it is watched', () => said(/reloads when files change/));
  writeFileSync(join(folder, 'a.json'), '{}');
  await until('the second generation', () => said(/generation 2 has taken over/));
  await until('the end of the first', () => said(/exited|ended by/));
  writeFileSync(join(folder, 'a.json'), '[]');
  await until('the third generation', () => said(/generation 3 has taken over/));
  keeper.kill('SIGTERM');
  await keeper.end();
  expect(readFileSync(path, 'utf8')).not.toMatch(/out\.txt|generation 4/);
});

test('a file that is put in the place of another, as editors do, has changed', async () => {
  const app = await startApp();
  for (const text of ['second', 'third']) {
    writeFileSync(join(app.folder, 'server.mjs.new'), sourceOf(text, app.port));
    renameSync(join(app.folder, 'server.mjs.new'), join(app.folder, 'server.mjs'));
    await app.serves(text);
  }
});

test('an edit while paused is told, and served after the resume', async () => {
  const app = await startApp();
  await app.keeper.ask('pause', 'app');
  app.write('second');
  await app.keeper.process.line(/^holdfast: not reloaded: a reload needs .*: holdfast resume app$/);
  await app.keeper.ask('resume', 'app');
  await app.serves('second');
  expect(app.keeper.process.stderr).not.toContain('cannot watch');
  await settled(app.keeper);
  app.write('third');
  await app.serves('third');
});

test('an edit while released does not take the port back, and is served after the take', async () => {
  const app = await startApp();
  await app.keeper.ask('release', 'app');
  app.write('second');
  await app.keeper.process.line(/^holdfast: not reloaded: .* released: holdfast take app first$/);
  expect(listeners(app.port)).toEqual([]);
  expect((await app.keeper.ask('take', 'app')).exit).toEqual({ code: 0, signal: null });
  await app.serves('second');
  await app.keeper.ask('pause', 'app');
  await app.keeper.ask('resume', 'app');
  app.write('third');
  await app.serves('third');
  await settled(app.keeper);
  // That the first edit was refused has started nothing at the resume.
  expect(app.keeper.state().generation).toBe(3);
});

interface App {
  readonly folder: string;
  readonly port: number;
  readonly keeper: RunningKeeper;
  write(text: string, before?: string): void;
  serves(text: string): Promise<unknown>;
}

/** A server in a folder of its own, which answers with `first`, and with what is written later. */
async function startApp(before = '', watch: readonly string[] = ['--watch']): Promise<App> {
  const folder = temporaryFolder();
  const port = await freePort();
  const write = (text: string, first = before): void =>
    writeFileSync(join(folder, 'server.mjs'), sourceOf(text, port, first));
  write('first');
  const options: KeeperOptions = { cwd: folder, flags: ['--drain-quiet', '200ms', ...watch] };
  const keeper = startKeeper([process.execPath, 'server.mjs'], options);
  await keeper.holding();
  await keeper.process.line(/^holdfast: reloads when files change/);
  return {
    ...{ folder, port, keeper, write },
    serves: (text) =>
      until(`an answer of "${text}"`, async () => (await bodyOf(port)).includes(`says ${text}.`), {
        timeoutMs: 20_000,
      }),
  };
}

function sourceOf(text: string, port: number, before = ''): string {
  return `import { createServer } from 'node:http';
${before}
createServer((_, response) => response.end('pid ' + process.pid + '\\nsays ${text}.')).listen(${port}, '127.0.0.1');`;
}
