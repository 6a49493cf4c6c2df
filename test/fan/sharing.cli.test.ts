import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect } from 'vitest';
import { testNeeding, whyMissingNeed } from '../support/needing.js';
import { isAlive } from '../support/proc.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { type Bed, NEEDS, openBed } from './bed.js';
import { startLibrary, told } from './library.js';
import { must } from './machines.js';

let bed: Bed;

beforeAll(async () => {
  if (NEEDS.every((need) => whyMissingNeed(need) === undefined)) bed = await openBed(3);
});

interface Shared {
  readonly ok: number;
  readonly wrong: unknown[];
}

const COUNT = `const count = async (options) => {
  const all = { ok: 0, wrong: [] };
  for await (const { status, stdout, stderr, error } of fan({ command: ['cat /etc/hostname; echo'], ...options })) {
    if (status === 0 && stderr.bytes === 0 && stdout.bytes > 0) all.ok++;
    else all.wrong.push([status, error, stderr.text()]);
  }
  return all;
};`;

/** How many connections the client has opened so far. @see ActiveOpens in /proc/net/snmp */
function connections(): number {
  const [names = [], values = []] = must(bed.client(['cat', '/proc/net/snmp']))
    .split('\n')
    .filter((line) => line.startsWith('Tcp:'))
    .map((line) => line.split(' '));
  return Number(values[names.indexOf('ActiveOpens')]);
}

async function many(
  count: number,
  args: readonly string[] = [],
  temporary = temporaryFolder(),
): Promise<Shared> {
  const ssh = JSON.stringify(['-F', bed.sshConfig, ...args]);
  const code = `${COUNT} tell(await count({ hosts: Array(${count}).fill('h1'), fanout: 12, sshArguments: ${ssh} }));`;
  const library = startLibrary(bed, code, { TMPDIR: temporary });
  const all = (await told(library)) as Shared;
  await library.end();
  return all;
}

testNeeding(NEEDS)('commands at one host share connections, of which nothing is left', async () => {
  const before = connections();
  const temporary = temporaryFolder();
  expect(await many(24, [], temporary)).toEqual({ ok: 24, wrong: [] });
  // Of 12 at a time 9 have room in one of them.
  expect(connections() - before).toBe(2);
  expect(readdirSync(temporary)).toEqual([]);
});

testNeeding(NEEDS)(
  'a shared connection ends with the last command of its host, or when others need its place',
  async () => {
    const before = connections();
    const count = `ps -eo args | grep -c "${bed.sshConfig}.* exec ca[t]"`;
    const options = { sshArguments: ['-F', bed.sshConfig], command: [count] };
    const code = `
    const masters = async (hosts) => {
      const all = [];
      const options = { ...${JSON.stringify(options)}, fanout: 1, hosts };
      for await (const { host, status, stdout } of fan(options)) all.push([host, status, Number(stdout.text())]);
      return all;
    };
    tell([await masters(['h1', 'h1', 'h2', 'h2']), await masters(['h1', 'h2', 'h1', 'h2'])]);`;
    const library = startLibrary(bed, code);
    const [inOrder, inTurns] = (await told(library)) as [unknown, unknown];
    await library.end();
    // Each sees its own and no other.
    expect(inOrder).toEqual(['h1', 'h1', 'h2', 'h2'].map((host) => [host, 0, 1]));
    // With one at a time there is one connection.
    expect(inTurns).toEqual(['h1', 'h2', 'h1', 'h2'].map((host) => [host, 0, 1]));
    expect(connections() - before).toBeGreaterThan(0);
  },
);

testNeeding(NEEDS)('a host that is named once has its connection alone', async () => {
  const before = connections();
  expect(await many(1)).toEqual({ ok: 1, wrong: [] });
  expect(connections() - before).toBe(1);
});

testNeeding(NEEDS)(
  'a server that lets a connection have one session is asked for more connections',
  async () => {
    const options = ['-p', '2226', '-o', 'MaxSessions=1'];
    const sshd = start(
      bed.server([binaryOf('sshd'), '-D', '-e', '-f', join(bed.folder, 'sshd.conf'), ...options]),
    );
    await sshd.listening(2226);
    const before = connections();
    expect(await many(5, ['-p', '2226', '-oStrictHostKeyChecking=no'])).toEqual({ ok: 5, wrong: [] });
    expect(connections() - before).toBe(6);
  },
);

testNeeding(NEEDS)('where the user shares connections in a way of his own, that is done', async () => {
  const own = join(temporaryFolder(), 'own');
  const temporary = temporaryFolder();
  const args = ['-oControlMaster=auto', `-oControlPath=${own}`, '-oControlPersist=30'];
  // The first opens it, so that the others find it.
  expect(await many(1, args, temporary)).toMatchObject({ ok: 1 });
  expect(existsSync(own)).toBe(true);
  const before = connections();
  expect(await many(6, args, temporary)).toEqual({ ok: 6, wrong: [] });
  expect(connections()).toBe(before);
  expect(readdirSync(temporary)).toEqual([]);
  must(bed.client(['ssh', '-F', bed.sshConfig, `-oControlPath=${own}`, '-O', 'exit', 'h1']));
});

testNeeding(NEEDS)('a folder whose path is too long for a socket is not used', async () => {
  const temporary = join(temporaryFolder(), 'x'.repeat(100));
  await start(['mkdir', temporary]).end();
  const before = connections();
  expect(await many(4, [], temporary)).toEqual({ ok: 4, wrong: [] });
  expect(connections() - before).toBe(1);
});

testNeeding(NEEDS)('who stops while a shared connection is made does not wait for it', async () => {
  const silent = 'require("net").createServer((s) => s.resume()).listen(2227, () => console.log("listens"))';
  await start(bed.server([process.execPath, '-e', silent])).line(/^listens$/);
  const options = { sshArguments: ['-F', bed.sshConfig, '-p', '2227'], connectTimeoutMs: 600_000 };
  const temporary = temporaryFolder();
  const code = `
    const stopping = new AbortController();
    let begun = 0;
    const onStart = () => { if (++begun === 2) setTimeout(() => stopping.abort(), 500); };
    const phases = [];
    const options = { ...${JSON.stringify(options)}, hosts: ['h1', 'h1'], command: ['true'], onStart, signal: stopping.signal };
    for await (const { error } of fan(options)) phases.push(error.phase);
    tell(phases);`;
  const library = startLibrary(bed, code, { TMPDIR: temporary });
  expect(await told(library)).toEqual(['stopped', 'stopped']);
  await library.end();
  expect(readdirSync(temporary)).toEqual([]);
});

const ENDS = { 'is killed': 'SIGKILL', 'leaves the loop': undefined } as const;
for (const [how, signal] of Object.entries(ENDS)) {
  testNeeding(NEEDS)(
    `when the program ${how} its shared connections end, and the commands with them`,
    async () => {
      const temporary = temporaryFolder();
      const seconds = signal === undefined ? 9771 : 9772;
      const code = `
      const hosts = Array(4).fill('h1');
      const options = { sshArguments: ['-F', ${JSON.stringify(bed.sshConfig)}], keepsOutput: false };
      let up = 0;
      const run = async () => {
        for await (const _ of fan({ ...options, hosts, command: ['echo up; sleep ${seconds}'],
          onOutput: () => { if (++up === 4) tell(process.pid); } })) break;
      };
      await run();
      process.exit(0);`;
      const library = startLibrary(bed, code, { TMPDIR: temporary });
      const pid = (await told(library)) as number;
      const ssh = must(['pgrep', '-P', `${pid}`, 'ssh'])
        .trim()
        .split('\n')
        .map(Number);
      // Four commands and their connection.
      expect(ssh).toHaveLength(5);
      const [sleeping] = bed.running(`sleep ${seconds}`);
      if (sleeping === undefined) throw new Error('no command runs');
      process.kill(signal === undefined ? sleeping : pid, signal ?? 'SIGKILL');
      await library.exited;
      await until('no ssh any more', () => ssh.every((one) => !isAlive(one)));
      await until('no sleep any more', () => bed.running(`sleep ${seconds}`).length === 0);
      // Who is killed leaves an empty folder.
      expect(readdirSync(temporary, { recursive: true })).toHaveLength(signal === undefined ? 0 : 1);
    },
  );
}
