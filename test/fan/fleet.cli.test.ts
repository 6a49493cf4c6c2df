import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect } from 'vitest';
import type { ReloadAt, WhyAtHost } from '../../src/index.js';
import { run } from '../cli/holdfast.js';
import { expectNothingFailed } from '../keeper/reloads.js';
import { LIBRARY } from '../ports/told.js';
import { holdfast } from '../support/keeper.js';
import { testNeeding, whyMissingNeed } from '../support/needing.js';
import { type Started, start } from '../support/process.js';
import { onTerminal, shellWords } from '../support/shell.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { type Fleet, NEEDS, openFleet, serves, waits, writeProgram } from './fleet.js';

/** Those that have a keeper, h1 to h5. Behind h8 there is no machine. */
const KEPT = [1, 2, 3, 4, 5];
/** Its /usr/local/bin has nothing, and nobody listens there. */
const BARE = 'h6';

/** For several reloads after each other on a machine with much else to do. */
const LONG_MS = 240_000;

let fleet: Fleet;

beforeAll(async () => {
  if (!NEEDS.every((need) => whyMissingNeed(need) === undefined)) return;
  fleet = await openFleet(7, {
    6: {},
    // As one of a time to come may answer.
    7: { holdfast: '#!/bin/sh\necho \'{ "schema": 2, "port": 8080 }\'\nexit 1\n' },
  });
  for (const number of KEPT) fleet.host(number).writeServer(serves('first'));
  await Promise.all(KEPT.map((number) => fleet.host(number).keep()));
});

testNeeding(NEEDS)(
  'why --on: hosts that say the same are told together, and who says nothing is told why',
  async () => {
    const { code, stdout, stderr } = await fleet.holdfast('why', '8080', '--on', 'h[1-8]');
    expect(code).toBe(2);
    expect(stdout).toMatch(
      /^---- h\[1-5\] \(5\), pids and times of h1\nPort 8080 is held by the keeper "shop" and its server server\.js \(pid \d+\)/,
    );
    expect(stdout).toContain('\n  2. holdfast stop shop ');
    expect(stdout.match(/^----/gm)).toHaveLength(1);
    expect(stderr.trim().split('\n')).toEqual([
      expect.stringMatching(/^holdfast: h6: no holdfast there, .*--remote-holdfast .*holdfast: not found$/),
      'holdfast: h7: a holdfast of another version: exit 1 with an answer in another form',
      expect.stringMatching(/^holdfast: h8: not reached: .*Network is unreachable \[connect\]$/),
    ]);
  },
);

testNeeding(NEEDS)("why --on: the exit code is why's, with the worst news of any host", async () => {
  const free = await fleet.holdfast('why', '8081', '--on', 'h[1-3]', '-x', 'h3');
  expect(free).toMatchObject({ code: 0, stderr: '' });
  expect(free.stdout).toMatch(/^---- h\[1-2\] \(2\)\nPort 8081 is free: a bind is expected to succeed\.\n/);
  const several = await fleet.holdfast('why', '8079-8081', '127.0.0.1:80', '--no-probe', '--on', 'h1');
  expect(several.code).toBe(1);
  expect(several.stdout).toMatch(/^---- h1 \(1\)\nPort 8080 is held .*\n2 ports are free\.\n/s);
  expect(several.stdout).toContain('Port 80 on 127.0.0.1 is free, but this user may not bind it');
  const all = await fleet.holdfast('why', '--all', '--udp', '--on', 'h1');
  expect(all).toEqual({ code: 0, stdout: '---- h1 (1)\nno port is in use\n', stderr: '' });
  const wrong = await fleet.holdfast('why', '99999', '--on', 'h[1-8]');
  expect(wrong).toMatchObject({ code: 2, stdout: '' });
  expect(wrong.stderr).toMatch(
    /^holdfast: 99999: a port is a number from 1 to 65535.*\[ERR_HOLDFAST_ADDRESS\]\n$/,
  );
});

testNeeding(NEEDS)('why --on --json: an object for each host', async () => {
  const { code, stdout, stderr } = await fleet.holdfast('why', '8080', '--json', '--on', 'h[1,6-8]');
  expect({ code, stderr }).toEqual({ code: 2, stderr: '' });
  const told = objects<WhyAtHost>(stdout);
  expect(told.find(({ host }) => host === 'h1')).toMatchObject({
    ok: true,
    reports: [{ schema: 1, port: 8080, verdict: 'held' }],
  });
  const silent = told.flatMap((one) => (one.ok ? [] : [[one.host, one.reason]])).toSorted();
  expect(silent).toEqual([
    ['h6', 'no-holdfast'],
    ['h7', 'other-version'],
    ['h8', 'unreachable'],
  ]);
});

testNeeding(NEEDS)('--remote-holdfast is a path, beside which node is found, or a command line', async () => {
  const folder = temporaryFolder();
  symlinkSync(process.execPath, join(folder, 'node-of-this-folder'));
  writeProgram(join(folder, 'holdfast'), `#!/bin/sh\nexec node-of-this-folder ${holdfast[1]} "$@"\n`);
  const path = ['--remote-holdfast', join(folder, 'holdfast')];
  expect((await fleet.holdfast('why', '8080', ...path, '--on', BARE)).code).toBe(0);
  const bare = ['--remote-holdfast', 'env -u XDG_RUNTIME_DIR holdfast'];
  const lost = await fleet.holdfast('reload', 'shop', ...bare, '--on', 'h1');
  expect(lost.code).toBe(1);
  expect(lost.stderr).toMatch(
    /^h1: holdfast: holdfast failed: no keeper named "shop" runs; one has its state in \/run\/user\/4242\/holdfast; ask it with HOLDFAST_STATE_DIR=/,
  );
});

testNeeding(NEEDS)('fan runs why and reload as they are, without a terminal', async () => {
  const why = await fleet.holdfast('fan', '--json', '-w', 'h1', '--', 'holdfast', 'why', '8080', '--json');
  expect(why.code).toBe(1);
  const [{ status, stdout, stderr }] = objects<Record<string, string>>(why.stdout) as [
    Record<string, string>,
  ];
  expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
  expect(JSON.parse(stdout ?? '')).toMatchObject({ verdict: 'held', port: 8080 });
  const { generation } = fleet.host(1).state();
  const reload = await fleet.holdfast('fan', '-w', 'h1', '--', 'holdfast', 'reload', 'shop');
  expect(reload).toMatchObject({ code: 0, stderr: '' });
  expect(reload.stdout).toContain(`h1: generation ${generation + 1} has taken over after `);
});

testNeeding(NEEDS)('fan: Ctrl-C on a terminal tells how far it is, and no command ends by it', async () => {
  const command = 'echo begun; while [ ! -e /srv/fan ]; do sleep 0.1; done; echo over';
  const fan = startOnTerminal(fleet.line('fan', '-w', 'h1', '--', command));
  await fan.line(/h1: begun/);
  fan.child.stdin?.write('\x03');
  await fan.line(/0 of 1 done, 0 failed; running: h1 for .*; Ctrl-C again ends all/);
  expect((await run(fleet.host(1).asRoot(['touch', '/srv/fan']))).code).toBe(0);
  expect(await fan.end()).toMatchObject({ code: 0 });
  expect(fan.stdout).toContain('h1: over');
});

testNeeding(NEEDS)(
  'reload --on: batches after each other, and no request fails',
  async () => {
    for (const number of KEPT) fleet.host(number).writeServer(serves('second'));
    const load = await fleet.load(KEPT);
    const { code, stdout, stderr } = await fleet.holdfast(
      'reload',
      'shop',
      '--on',
      'h[1-5]',
      '--batch',
      '40%',
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const text = stdout.split('\n').map((line) => line.replace(/: generation \d+ has .*/, ''));
    expect([
      text[0],
      text.slice(1, 3).toSorted(),
      text[3],
      text.slice(4, 6).toSorted(),
      ...text.slice(6),
    ]).toEqual([
      ...['batch 1 of 3: h[1-2]', ['h1', 'h2'], 'batch 2 of 3: h[3-4]', ['h3', 'h4']],
      ...['batch 3 of 3: h5', 'h5', 'reloaded at 5 hosts', ''],
    ]);
    expect(await fleet.answers(KEPT)).toEqual(KEPT.map(() => 'second'));
    for (const result of await load.stop()) await expectNothingFailed(Promise.resolve(result));
  },
  LONG_MS,
);

testNeeding(NEEDS)(
  'reload --on --stop-on-failure: a host that fails in the middle halts it, the rest is untouched, and no request fails',
  async () => {
    for (const number of KEPT) fleet.host(number).writeServer(serves('third'));
    fleet.host(3).writeServer('process.exit(3)');
    const untouched = fleet.host(5).state();
    const load = await fleet.load(KEPT);
    const args = ['shop', '--on', 'h[1-5]', '--batch', '2', '--stop-on-failure'];
    const { code, stdout, stderr } = await fleet.holdfast('reload', ...args);
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^batch 1 of 3: h\[1-2\]\n(h[12]: generation .*\n){2}batch 2 of 3: h\[3-4\]\nh4: generation .*\n$/,
    );
    const [why, summary] = stderr.trimEnd().split('\n');
    expect(why).toMatch(
      /^h3: holdfast: the reload failed, the former server goes on: .* exited with 3 before it was ready/,
    );
    expect(summary).toBe('holdfast: reloaded at 3 of 5 hosts; failed: h3; not touched: h5');
    expect(await fleet.answers(KEPT)).toEqual(['third', 'third', 'second', 'third', 'second']);
    expect(fleet.host(5).state().generation).toBe(untouched.generation);
    for (const result of await load.stop()) await expectNothingFailed(Promise.resolve(result));
  },
  LONG_MS,
);

testNeeding(NEEDS)('reload --on --json: an object for each host; it goes on when one fails', async () => {
  fleet.host(2).writeServer('process.exit(3)');
  fleet.host(3).writeServer(serves('third'));
  const { code, stdout, stderr } = await fleet.holdfast('reload', 'shop', '--json', '--on', 'h[2-3,6-8]');
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
  const told = objects<ReloadAt>(stdout);
  expect(told.map((one) => [one.host, one.ok || one.reason])).toEqual([
    ...[
      ['h2', 'reload-failed'],
      ['h3', true],
      ['h6', 'no-holdfast'],
    ],
    ...[
      ['h7', 'other-version'],
      ['h8', 'unreachable'],
    ],
  ]);
  expect(told[0]).toMatchObject({ goesOn: true, text: expect.stringContaining('exited with 3') });
  expect(told[1]).toMatchObject({ generation: expect.any(Number), tookMs: expect.any(Number) });
  fleet.host(2).writeServer(serves('third'));
  const halted = await fleet.holdfast('reload', 'shop', '--json', '--stop-on-failure', '--on', 'h[8,1-2]');
  expect(objects<ReloadAt>(halted.stdout)).toEqual([
    { host: 'h8', ok: false, reason: 'unreachable', text: expect.any(String) },
    ...['h1', 'h2'].map((host) => ({ host, ok: false, reason: 'not-begun', text: 'not begun' })),
  ]);
});

testNeeding(NEEDS)(
  'reload --on: Ctrl-C begins no other host and lets those that run end; a second one does not wait, and they go on',
  async () => {
    for (const number of KEPT) fleet.host(number).writeServer(waits(serves('fourth')));
    const before = KEPT.map((number) => fleet.host(number).state());
    const generation = (index: number): number => before[index]?.generation ?? 0;
    const args = ['shop', '--on', 'h[1-4]', '--batch', '2'];
    const once = startOnTerminal(fleet.line('reload', ...args));
    await reloading(1, 2);
    once.child.stdin?.write('\x03');
    await once.line(/no other host is begun; waiting for h\[1-2\]; once more ends the wait/);
    for (const number of [1, 2]) fleet.host(number).open();
    expect(await once.end(60_000)).toMatchObject({ code: 1 });
    expect(once.stdout).toContain('holdfast: reloaded at 2 of 4 hosts; not touched: h[3-4]');

    const twice = startOnTerminal(fleet.line('reload', 'shop', '--on', 'h[3-5]', '--batch', '2'));
    await reloading(3, 4);
    twice.child.stdin?.write('\x03');
    await twice.line(/no other host is begun/);
    twice.child.stdin?.write('\x03');
    expect(await twice.end(60_000)).toMatchObject({ code: 1 });
    expect(twice.stdout).toContain('holdfast: reloaded at 0 of 3 hosts; failed: h[3-4]; not touched: h5');
    expect(twice.stdout).toContain('h3: holdfast: not waited for; the reload goes on there if it has begun');
    for (const number of [3, 4]) fleet.host(number).open();
    await until('all four have it', async () =>
      (await fleet.answers([1, 2, 3, 4])).every((answer) => answer === 'fourth'),
    );
    const after = KEPT.map((number) => fleet.host(number).state());
    expect(after.map((state) => state.generation)).toEqual(
      [1, 1, 1, 1, 0].map((more, index) => generation(index) + more),
    );
  },
  LONG_MS,
);

testNeeding(NEEDS)('by rsh, where nothing of a login is set, the same', async () => {
  await fleet.host(1).serveRsh();
  const rsh = ['--rsh', '-l', 'holdfast', '--on', 'h1'];
  const why = await run(fleet.client([...holdfast, 'why', '8080', '--json', ...rsh]));
  expect(why).toMatchObject({ code: 1, stderr: '' });
  expect(objects<WhyAtHost>(why.stdout)).toMatchObject([
    { host: 'h1', ok: true, reports: [{ verdict: 'held' }] },
  ]);
  const bare = await run(fleet.client([...holdfast, 'reload', 'shop', ...rsh]));
  expect(bare).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('/run/user/4242/holdfast; ask it with'),
  });
  const state = ['--remote-holdfast', 'env HOLDFAST_STATE_DIR=/run/user/4242/holdfast holdfast'];
  const reload = await run(fleet.client([...holdfast, 'reload', 'shop', ...state, ...rsh]));
  expect(reload).toMatchObject({ code: 0, stderr: '' });
  expect(reload.stdout).toMatch(/^h1: generation \d+ has taken over after .*\nreloaded at 1 host\n$/);
});

testNeeding(NEEDS)('whyOn and reloadOn give what the commands print', async () => {
  const ssh = fleet.line('');
  const sshArguments = ssh.flatMap((word, index) => (ssh[index - 1] === '--ssh-arg' ? [word] : []));
  const program = `
    const { reloadOn, whyOn } = await import(${JSON.stringify(LIBRARY)});
    const reach = { hosts: ['h1', 'h6'], user: 'holdfast', port: 2222, sshArguments: ${JSON.stringify(sshArguments)} };
    const told = [];
    for await (const at of whyOn({ ...reach, ports: [8080] })) told.push([at.host, at.ok ? at.reports[0].verdict : at.reason]);
    for await (const at of reloadOn({ ...reach, hosts: ['h6', 'h1'], name: 'shop', stopOnFailure: true })) told.push([at.host, at.ok || at.reason]);
    console.log('told ' + JSON.stringify(told));`;
  const child = start(fleet.client([process.execPath, '--input-type=module', '-e', program]));
  const told = JSON.parse((await child.line(/^told (.*)$/))[1] ?? '') as [string, string][];
  expect(told.slice(0, 2).toSorted()).toEqual([
    ['h1', 'held'],
    ['h6', 'no-holdfast'],
  ]);
  expect(told.slice(2)).toEqual([
    ['h6', 'no-holdfast'],
    ['h1', 'not-begun'],
  ]);
});

function objects<T>(text: string): readonly T[] {
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as T);
}

/** On a terminal of its own, where Ctrl-C reaches everything in the foreground. */
function startOnTerminal(command: readonly string[]): Started {
  return start(onTerminal(`exec ${shellWords(command)}`), { stdio: ['pipe', 'pipe', 'pipe'] });
}

async function reloading(...numbers: readonly number[]): Promise<void> {
  for (const number of numbers)
    await until(`a reload at h${number}`, () => fleet.host(number).state().reload !== 'steady');
}
