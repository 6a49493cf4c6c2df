import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { start } from '../support/process.js';

const MODULE = JSON.stringify(fileURLToPath(new URL('../../dist/kernel/affinity.js', import.meta.url)));

test('a pinned thread is on the CPU with that number of those that it may use, counted round and round', async () => {
  const all = cpusOf(readFileSync('/proc/thread-self/status', 'utf8'));
  for (const number of [0, 1, all.length - 1, all.length, 3 * all.length + 1]) {
    const { main } = await pinned([number]);
    expect(main, `number ${number}`).toEqual([all[number % all.length]]);
  }
});

test('a thread that is pinned stays where it is, whatever number it is given next', async () => {
  const all = cpusOf(readFileSync('/proc/thread-self/status', 'utf8'));
  const last = all.length - 1;
  expect((await pinned([last, 0])).main).toEqual([all[last]]);
});

test('the other threads of the process keep their CPUs', async () => {
  const all = cpusOf(readFileSync('/proc/thread-self/status', 'utf8'));
  const { others } = await pinned([0]);
  expect(others.length).toBeGreaterThan(0);
  for (const cpus of others) expect(cpus).toEqual(all);
});

/** The CPUs that the threads of a process may use, after its main thread was pinned to these numbers one by one. */
async function pinned(
  numbers: readonly number[],
): Promise<{ readonly main: readonly number[]; readonly others: readonly (readonly number[])[] }> {
  const code = `
    import { readdirSync, readFileSync } from 'node:fs';
    import { pinThread } from ${MODULE};
    for (const number of ${JSON.stringify(numbers)}) pinThread(number);
    const status = (tid) => readFileSync('/proc/self/task/' + tid + '/status', 'utf8');
    const tids = readdirSync('/proc/self/task').filter((tid) => Number(tid) !== process.pid);
    console.log(JSON.stringify({ main: status(process.pid), others: tids.map(status) }));`;
  const child = start([process.execPath, '--input-type=module', '-e', code]);
  const told = JSON.parse((await child.line(/^\{.*\}$/))[0]) as { main: string; others: string[] };
  return { main: cpusOf(told.main), others: told.others.map(cpusOf) };
}

/** The CPUs of Cpus_allowed_list, such as `0-2,5`. */
function cpusOf(status: string): readonly number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? '';
  return list.split(',').flatMap((part) => {
    const [from = 0, to = from] = part.split('-').map(Number);
    return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  });
}
