import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fanOut, type StartRemote } from '../../src/fan/fan.js';
import { foldHosts, parseHosts } from '../../src/fan/host-list.js';
import { run, runHoldfast } from '../cli/holdfast.js';
import { holdfast } from '../support/keeper.js';
import { temporaryFolder } from '../support/temporary.js';

const none = { file: () => '', group: () => undefined };
const HOSTS = parseHosts('node[0001-5000]', none);

test('5,000 hosts are run so many at a time, each once, and fold together again', async () => {
  let running = 0;
  let most = 0;
  const start: StartRemote = ({ name, take }) => {
    most = Math.max(most, ++running);
    const number = Number(name.slice(4));
    const ended = (async () => {
      await new Promise(setImmediate);
      await take('stdout', Buffer.from(number % 1_000 === 0 ? 'odd\n' : 'same\n'));
      running--;
      return { status: 0, error: null, closedFirst: false };
    })();
    return { ended, stop: () => undefined };
  };
  const before = process.memoryUsage().heapUsed;
  const groups = new Map<string, string[]>();
  const options = { hosts: HOSTS, command: ['true'], fanout: 64 };
  for await (const { host, stdout } of fanOut(options, start))
    groups.set(stdout.text(), [...(groups.get(stdout.text()) ?? []), host]);
  expect(most).toBe(64);
  expect(groups.get('same\n')).toHaveLength(4_995);
  expect(foldHosts(groups.get('odd\n') ?? [])).toBe('node[1000,2000,3000,4000,5000]');
  expect((process.memoryUsage().heapUsed - before) / 1e6).toBeLessThan(100);
});

test('--dry-run tells of 5,000 hosts which they are', async () => {
  const args = ['fan', '-w', 'node[0001-5000]', '-x', 'node0007', '--dry-run', '--', 'true'];
  expect(await runHoldfast(args)).toEqual({
    ...{ code: 0, stderr: '' },
    stdout: '4999 hosts: node[0001-0006,0008-5000]\n',
  });
});

/** Each is a process here, in the place of ssh. */
const COUNT = Number(process.env.HOLDFAST_TEST_FAN_MANY ?? 200);

test(
  `${COUNT} hosts by the command: all are done, in bounded memory, and what is the same is told once`,
  async () => {
    const folder = temporaryFolder();
    const ssh = join(folder, 'ssh');
    writeFileSync(ssh, '#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\nHOST=$1 exec /bin/sh -c "$2"\n');
    chmodSync(ssh, 0o755);
    const max = `console.error('grown to', Math.round(process.resourceUsage().maxRSS / 1024), 'MB')`;
    const hook = join(folder, 'hook.cjs');
    writeFileSync(hook, `process.on('exit', () => ${max});\n`);
    const command = `[ $HOST = n${COUNT} ] && echo last || echo same`;
    const { code, stdout, stderr } = await run(
      [...holdfast, 'fan', '-w', `n[1-${COUNT}]`, '--group', '--', command],
      {
        env: { PATH: `${folder}:${process.env.PATH}`, NODE_OPTIONS: `--require ${hook}` },
        timeoutMs: 60_000 + COUNT * 200,
      },
    );
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: `---- n[1-${COUNT - 1}] (${COUNT - 1})\nsame\n---- n${COUNT} (1)\nlast\n`,
    });
    const [, mb] = /grown to (\d+) MB/.exec(stderr) ?? [];
    expect(Number(mb)).toBeLessThan(250);
  },
  120_000 + COUNT * 200,
);
