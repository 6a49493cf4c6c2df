import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { MarkReader, type Marks } from '../../src/fan/marks.js';
import { COMMAND_LINE, newMark, programFor, type Work } from '../../src/fan/remote-command.js';
import { testNeeding } from '../support/needing.js';
import { isAlive } from '../support/proc.js';
import { binaryOf } from '../support/requirement.js';
import { until } from '../support/wait.js';

interface Told extends Marks {
  readonly output: string;
  readonly errors: string;
}

function serve(shell: string, work: Work, mark: string, detached: boolean): ChildProcessWithoutNullStreams {
  const env = { ...process.env, SHELL: shell };
  const child = spawn(shell, ['-c', COMMAND_LINE], { stdio: 'pipe', detached, env });
  onTestFinished(() => void child.kill('SIGKILL'));
  child.stdin.on('error', () => undefined);
  child.stdin.write(programFor(work, mark));
  return child;
}

/** Runs the work as a server of ssh or rsh does: by a user's shell, the leader of a session unless `detached` is false. */
async function runBy(shell: string, work: Work, input?: string, detached = true): Promise<Told> {
  const mark = newMark();
  const child = serve(shell, work, mark, detached);
  const reader = new MarkReader(mark);
  const output: Buffer[] = [];
  let errors = '';
  child.stdout.on('data', (bytes: Buffer) => output.push(reader.read(bytes)));
  child.stderr.on('data', (bytes: Buffer) => {
    errors += bytes;
  });
  if (input !== undefined) child.stdin.end(input);
  // As the other side does, so that nothing waits for it.
  child.once('exit', () => child.stdin.end());
  await once(child, 'close');
  output.push(reader.end());
  return { ...reader.seen, output: Buffer.concat(output).toString(), errors };
}

const words = (...command: string[]): Work => ({ command, takesInput: false });
const sh = '/bin/sh';

test('a group of their own is made for the command and what it has started where the server makes none', async () => {
  const command = 'sleep 1000 & echo $!; kill -TERM 0';
  for (const detached of [true, false]) {
    const { output, status } = await runBy(sh, words(command), undefined, detached);
    expect(status).toBe(143);
    await until('no sleep any more', () => !isAlive(Number(output)));
  }
});

test('the status and the output are those of the command', async () => {
  expect(await runBy(sh, words('echo', 'one', 'two'))).toEqual({
    ...{ output: 'one two\n', errors: '', status: 0, begun: expect.any(Number) },
  });
  expect(await runBy(sh, words('exit 5'))).toMatchObject({ status: 5, output: '' });
  expect(await runBy(sh, words('(exit 5)'))).toMatchObject({ status: 5 });
  expect(await runBy(sh, words('kill -9 $$'))).toMatchObject({ status: 137 });
  expect(await runBy(sh, words('echo no newline | tr -d "\\n"; exit 1'))).toMatchObject({
    ...{ status: 1, output: 'no newline' },
  });
  expect(await runBy(sh, words('no-such-program', 'x'))).toMatchObject({ status: 127 });
  expect(await runBy(sh, words('echo wrong >&2'))).toMatchObject({ status: 0, errors: 'wrong\n' });
});

const ODD = [
  `it's`,
  '$HOME `id` "q"',
  'a\\b\\\\c\\',
  '!!',
  '',
  '*',
  '-n',
  ' x ',
  'tab\there',
  'ü€',
  ';&|<>(){}[]~#%^',
];

for (const shell of ['bash', 'zsh', 'fish'] as const) {
  testNeeding(shell)(`arguments arrive as they are by ${shell}`, async () => {
    const { output } = await runBy(binaryOf(shell), words('printf', '<%s>\n', ...ODD));
    expect(output).toBe(ODD.map((word) => `<${word}>\n`).join(''));
  });
}

test('arguments with a line break arrive as they are', async () => {
  const { output } = await runBy(sh, words('printf', '<%s>', 'two\nlines\n'));
  expect(output).toBe('<two\nlines\n>');
});

test('one word is a line for the shell', async () => {
  expect(await runBy(sh, words('echo a b | tr a-z A-Z; echo $((1+1))'))).toMatchObject({
    output: 'A B\n2\n',
  });
});

test('a script runs with its arguments, by the interpreter that it names, and is gone afterwards', async () => {
  const work = { command: ['one', 'two words'], takesInput: false };
  const script = '#!/bin/sh\necho "$0" "$2"; exit 3\n';
  const { output, status } = await runBy(sh, { ...work, script });
  const [, file = '', rest] = /^(\S+) (.*)\n$/.exec(output) ?? [];
  expect([rest, status]).toEqual(['two words', 3]);
  const after = await runBy(sh, words('test', '-e', file));
  expect(after.status).toBe(1);
});

test('without input the command has none, and with it the whole of it', async () => {
  expect(await runBy(sh, words('cat'))).toMatchObject({ output: '', status: 0 });
  const text = 'x'.repeat(300_000);
  expect(await runBy(sh, { command: ['cat'], takesInput: true }, text)).toMatchObject({
    output: text,
    status: 0,
  });
});

for (const detached of [true, false]) {
  const where = detached ? 'leads a session' : 'does not lead one';
  test(`the command and what it has started end with the connection when the shell ${where}`, async () => {
    const mark = newMark();
    const work = words('sleep 1000 & echo $!; trap "" TERM; sleep 1000; sleep 1000');
    const child = serve(sh, work, mark, detached);
    const reader = new MarkReader(mark);
    let output = '';
    child.stdout.on('data', (bytes: Buffer) => {
      output += reader.read(bytes);
    });
    const background = Number(await until('a pid', () => /^\d+\n/.exec(output)?.[0]));
    const { begun = 0 } = reader.seen;
    expect([isAlive(begun), isAlive(background)]).toEqual([true, true]);
    expect(process.kill(-begun, 0)).toBe(true);
    child.stdin.end();
    await once(child, 'close');
    await until('nobody of its group', () => !isAlive(begun) && !isAlive(background));
  });
}

test('a script is gone when its connection ends, too', async () => {
  const mark = newMark();
  const script = '#!/bin/sh\necho "$0"; sleep 1000\n';
  const child = serve(sh, { command: [], script, takesInput: false }, mark, true);
  const reader = new MarkReader(mark);
  let output = '';
  child.stdout.on('data', (bytes: Buffer) => {
    output += reader.read(bytes);
  });
  const file = await until('its name', () => /^(.*)\n/.exec(output)?.[1]);
  expect(existsSync(file)).toBe(true);
  child.stdin.end();
  await until('it to be gone', () => !existsSync(file));
});

test('marks are found however the output is cut, and nothing else is', () => {
  const mark = 'holdfast-0123';
  const piece = fc.oneof(
    fc.constantFrom(`${mark} b12;`, `${mark} e3;`, mark, 'holdfast-', 'h', `${mark} x1;`, ';', ' b1;'),
    fc.string({ maxLength: 5 }),
  );
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 12 }),
      fc.array(fc.nat(200), { maxLength: 12 }),
      (pieces, cuts) => {
        const bytes = Buffer.from(pieces.join(''));
        const reader = new MarkReader(mark);
        const at = [
          0,
          ...cuts.map((cut) => Math.min(cut, bytes.length)).toSorted((a, b) => a - b),
          bytes.length,
        ];
        const parts = at.slice(1).map((end, index) => reader.read(bytes.subarray(at[index], end)));
        const output = Buffer.concat([...parts, reader.end()]).toString();
        const [words = '', ...rest] = bytes.toString().split(/(?<=holdfast-0123 b\d+;)/);
        const without = (text: string): string => text.replace(/holdfast-0123 [be]\d+;/g, '');
        expect(output).toBe(without(rest.join('')));
        expect(reader.words.toString()).toBe(without(words));
      },
    ),
    { numRuns: 2_000 },
  );
});
