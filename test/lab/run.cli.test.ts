import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { builtInScenarios } from '../../src/lab/library.js';
import type { ScenarioResult } from '../../src/lab/play.js';
import { ordinaryUser } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { temporaryFolder } from '../support/temporary.js';
import { runLab } from './lab.js';

interface RunReport {
  readonly results: readonly ScenarioResult[];
  readonly notRun: readonly string[];
}

/** A file of one's own with these scenarios. */
function ownFile(text: string): string {
  const file = join(temporaryFolder(), 'own.yaml');
  writeFileSync(file, text);
  return file;
}

function scenario(id: string, ...steps: readonly string[]): string {
  return [
    `- id: ${id}`,
    '  title: mine',
    '  source: me',
    '  steps:',
    ...steps.map((step) => `    - ${step}`),
    '',
  ].join('\n');
}

const SOCKET = 'a = socket tcp4';

testNeeding('netns')(
  'an ordinary user plays what needs no other user, and is told what was left out',
  async () => {
    const { code, stdout } = await runLab(['run', 'S2', 'S21', 'E1', '--json'], ordinaryUser);
    const { results, notRun } = JSON.parse(stdout) as RunReport;
    expect(results.map(({ id, agrees, asExpected }) => ({ id, agrees, asExpected }))).toEqual([
      { id: 'S2', agrees: true, asExpected: true },
      { id: 'E1', agrees: true, asExpected: true },
    ]);
    expect(notRun).toEqual(['S21']);
    expect(code).toBe(0);
  },
);

testNeeding('netns')(
  'a wrong expectation in a file of one’s own exits 1 and says what was seen',
  async () => {
    const own = ownFile(
      scenario('own', SOCKET, 'a.bind 127.0.0.1:P -> EADDRINUSE', 'a.state is LISTEN', 'a.listen'),
    );
    const { code, stdout, stderr } = await runLab(['run', own]);
    expect(stderr).toBe('');
    expect(stdout.split('\n')).toEqual([
      'own: mine',
      '  not as expected',
      expect.stringMatching(/^ {4}a\.bind 127\.0\.0\.1:P: ok \[port-free: .*\], expected EADDRINUSE$/),
      '    a.state is LISTEN: CLOSE, expected ok',
      expect.stringMatching(
        /^1 scenarios on Linux .*: model and kernel disagree in 0, 1 came out other than on the verified kernel$/,
      ),
      '',
    ]);
    expect(code).toBe(1);
  },
);

testNeeding('netns')(
  'a file of one’s own that is right exits 0 and is told step by step on demand',
  async () => {
    const own = ownFile(
      scenario(
        'own',
        SOCKET,
        'a.bind 127.0.0.1:P',
        'a.listen',
        'b = socket tcp4',
        'b.bind 127.0.0.1:P -> EADDRINUSE',
      ),
    );
    const { code, stdout } = await runLab(['run', own, '--verbose']);
    expect(code).toBe(0);
    expect(stdout).toContain('own: mine\n  as expected\n');
    expect(stdout).toMatch(/^ {4}b\.bind 127\.0\.0\.1:P: EADDRINUSE \[address-in-use: /m);
    // Before the step that decides.
    expect(stdout).toMatch(
      /^ {4}before:\n {6}LISTEN 127\.0\.0\.1:\d+\n {4}after:\n {6}LISTEN 127\.0\.0\.1:\d+$/m,
    );
  },
);

testNeeding('netns')('claims are judged: they hold, do not hold here, or depend', async () => {
  const at = (when: string, claimed: string): string =>
    `    - when: ${when}\n      steps: [${SOCKET}, "a.bind 127.0.0.1:P -> ok, claimed ${claimed}"]\n`;
  const claim = (id: string, ...cases: readonly string[]): string =>
    `- id: ${id}\n  title: t\n  source: me\n  claim: I say so.\n  depends: the weather\n  cases:\n${cases.join('')}`;
  const own = ownFile(
    claim('right', at('one', 'ok')) +
      claim('wrong', at('one', 'EADDRINUSE')) +
      claim('both', at('one', 'ok'), at('two', 'EADDRINUSE')),
  );
  const { code, stdout } = await runLab(['run', own]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^right: I say so\.\n {2}holds\n/m);
  expect(stdout).toMatch(/^wrong: I say so\.\n {2}does not hold here\n/m);
  expect(stdout).toMatch(/^both: I say so\.\n {2}depends on the weather\n/m);
});

testNeeding('netns')('--quick leaves out what takes minutes, and nothing else', async () => {
  const slow = scenario('slow', SOCKET, 'wait 60s').replace('  steps:', '  slow: true\n  steps:');
  const own = ownFile(slow + scenario('quick', SOCKET));
  const { code, stdout } = await runLab(['run', own, '--quick', '--json']);
  expect(code).toBe(0);
  expect((JSON.parse(stdout) as RunReport).results.map(({ id }) => id)).toEqual(['quick']);
});

testNeeding('netns')('of two scenarios with one id none is lost', async () => {
  const own = ownFile(
    scenario('own', SOCKET, 'a.bind 127.0.0.1:P -> EADDRINUSE') + scenario('own', 'wait 300ms', SOCKET),
  );
  // Whether it is refused or played: the wrong one must show.
  expect((await runLab(['run', own])).code).not.toBe(0);
});

testNeeding('netns')('a switch given as text is the same as one given as a number', async () => {
  const steps = ['a = socket tcp6', 'a.v6only is on'];
  const own = ownFile(
    ['1', "'1'"]
      .map((value, index) =>
        scenario(`own${index}`, ...steps).replace(
          '  steps:',
          `  sysctls: { bindv6only: ${value} }\n  steps:`,
        ),
      )
      .join(''),
  );
  const { code, stdout } = await runLab(['run', own]);
  expect(stdout).toContain('disagree in 0, 0 came out other');
  expect(code).toBe(0);
});

testNeeding('netns')('a host in another spelling is the same host', async () => {
  const own = ownFile(scenario('own', 'a = socket tcp6', 'a.bind [0:0:0::0001]:P', 'a.address is [::1]:P'));
  const { code, stdout } = await runLab(['run', own]);
  expect(stdout).toContain('own: mine\n  as expected\n');
  expect(code).toBe(0);
});

const WRONG: readonly (readonly [what: string, text: string, line: number, says: RegExp])[] = [
  [
    'an unknown sysctl',
    scenario('own', SOCKET).replace('  steps:', '  sysctls:\n    tcp_nonsense: 1\n  steps:'),
    5,
    /tcp_nonsense/,
  ],
  [
    'a value that a sysctl does not take',
    scenario('own', SOCKET).replace('  steps:', '  sysctls:\n    tcp_tw_reuse: 7\n  steps:'),
    5,
    /tcp_tw_reuse/,
  ],
  [
    'a name of two sockets',
    scenario('own', SOCKET, SOCKET),
    6,
    /there is a socket a already; close it first, or take another name/,
  ],
  [
    'a name of an accepted socket that another has',
    scenario('own', SOCKET, 'a.bind 127.0.0.1:P', 'a.listen', 'a = a.accept -> EAGAIN'),
    8,
    /there is a socket a already/,
  ],
  ['a socket that nobody made', scenario('own', SOCKET, 'b.listen'), 6, /b\.listen/],
  ['a host that is none', scenario('own', SOCKET, 'a.bind 1.2.3:P'), 6, /1\.2\.3/],
  ['a process that has no such socket', scenario('own', SOCKET, 'a.close in q'), 6, /a\.close in q/],
];

for (const [what, text, line, says] of WRONG) {
  testNeeding('netns')(`${what} is refused with file, line and what was expected`, async () => {
    const file = ownFile(text);
    const { code, stdout, stderr } = await runLab(['run', file]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(`holdfast: ${file}:${line}: `);
    expect(stderr).toMatch(says);
    expect(stderr).toMatch(/\[ERR_HOLDFAST_SCENARIO\]\n$/);
  });
}

test('lab show tells what a scenario does, with its source', async () => {
  const { code, stdout, stderr } = await runLab(['show', 's1', 'Q-a']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^S1: SO_REUSEADDR on the new server is not enough/);
  expect(stdout).toMatch(/^ {2}source: inet_bind_conflict\(\)/m);
  expect(stdout).toMatch(/^ {4}new\.bind 0\.0\.0\.0:P -> EADDRINUSE$/m);
  expect(stdout).toMatch(/^Q-a: .*\n {2}source: .*\n {2}claim: /m);
});

test('lab show --json prints the scenario as it is read', async () => {
  const { code, stdout } = await runLab(['show', 'S11', '--json']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual(builtInScenarios().filter(({ id }) => id === 'S11'));
});

test('lab list has a line for each scenario', async () => {
  const { code, stdout } = await runLab(['list']);
  expect(code).toBe(0);
  const scenarios = builtInScenarios();
  const lines = stdout.trimEnd().split('\n');
  expect(lines.map((line) => line.split(' ')[0])).toEqual(scenarios.map(({ id }) => id));
  const slow = lines.filter((line) => line.endsWith('(takes minutes)')).map((line) => line.split(' ')[0]);
  expect(slow).toEqual(scenarios.filter((one) => one.slow).map(({ id }) => id));
});

test('lab list --json tells id, title, source, claim and whether it is slow', async () => {
  const { code, stdout } = await runLab(['list', '--json']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual(
    builtInScenarios().map(({ id, title, source, claim = null, slow }) => ({
      id,
      title,
      source,
      claim,
      slow,
    })),
  );
});

for (const command of ['run', 'show']) {
  test(`lab ${command} of an unknown name exits 2 and names the way to the others`, async () => {
    expect(await runLab([command, 'S1', 'S99'])).toEqual({
      code: 2,
      stdout: '',
      stderr:
        'holdfast: there is no scenario "S99"; holdfast lab list shows them, a file is named with .yaml [ERR_HOLDFAST_SCENARIO]\n',
    });
  });
}

test('a bad line in a file of one’s own exits 2 with file and line', async () => {
  const file = ownFile(scenario('own', SOCKET, 'a.open'));
  for (const command of ['run', 'show']) {
    const { code, stdout, stderr } = await runLab([command, file]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(`holdfast: ${file}:6: "a.open": a step is one of `);
  }
});

test('without a name lab run exits 2', async () => {
  const { code, stderr } = await runLab(['run']);
  expect(code).toBe(2);
  expect(stderr).toContain("missing required argument 'name'");
});
