import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isAlive } from './proc.js';
import { start } from './process.js';
import { temporaryFolder } from './temporary.js';
import { until } from './wait.js';

test('a line is found whether it comes before or after it is asked for', async () => {
  const shell = start(['sh', '-c', 'echo one 1; echo two 2 >&2; read x; echo one 3'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  expect((await shell.line(/^one (\d)$/))[1]).toBe('1');
  expect((await shell.line(/^two (\d)$/))[1]).toBe('2');
  const second = shell.line(/^one (\d)$/, { after: 1 });
  shell.child.stdin?.end('\n');
  expect((await second)[1]).toBe('3');
  expect(await shell.end()).toEqual({ code: 0, signal: null });
  expect(shell.stdout).toBe('one 1\none 3\n');
});

test('a line that can no longer come fails at once, with all output', async () => {
  const shell = start(['sh', '-c', 'echo hello; printf trouble >&2; exit 3']);
  await expect(shell.line(/ready/)).rejects.toThrow(/ended with 3.*hello.*trouble/s);
});

test('the last line counts without its newline', async () => {
  expect((await start(['printf', 'a\\nb']).line(/^b$/))[0]).toBe('b');
});

test('all output is there at the end, even when somebody else keeps the pipe open', async () => {
  const shell = start(['sh', '-c', 'sleep 600 & seq 100000']);
  await shell.end();
  expect(shell.stdout).toMatch(/\n100000\n$/);
});

test('a program that does not exist is an error of whoever waits', async () => {
  const none = start(['/nonexistent/program']);
  await expect(none.end()).rejects.toThrow('ENOENT');
  expect(() => none.pid).toThrow('did not start');
});

test('stop kills what the process left behind', async () => {
  const file = join(temporaryFolder(), 'pid');
  const shell = start(['sh', '-c', `setsid sh -c 'echo $$ > ${file}; exec sleep 600' & exit 0`]);
  await shell.end();
  const orphan = await until('the pid of the orphan', () => {
    try {
      return Number(readFileSync(file, 'utf8'));
    } catch {
      return undefined; // not written yet
    }
  });
  expect(isAlive(orphan)).toBe(true);
  await shell.stop();
  expect(isAlive(orphan)).toBe(false);
});

test('stop kills descendants that lost the environment', async () => {
  const shell = start(['sh', '-c', 'env -i /bin/sleep 600 & echo "sleep $!"; wait']);
  const sleeper = Number((await shell.line(/^sleep (\d+)$/))[1]);
  await shell.stop();
  expect(isAlive(sleeper)).toBe(false);
  expect(shell.exit).toEqual({ code: null, signal: 'SIGKILL' });
});

test('a server that fails before it listens is told with its output, at once', async () => {
  const failing = start(['sh', '-c', 'echo no such file >&2; exit 1']);
  await expect(failing.listening(1)).rejects.toThrow(/it failed: .*ended with 1.*no such file/s);
});

test('nobody is signalled after the end', async () => {
  const done = start(['true']);
  await done.end();
  expect(done.kill('SIGKILL')).toBe(false);
});
