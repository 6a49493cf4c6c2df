import { expect, test } from 'vitest';
import { HoldfastError } from '../../src/errors.js';
import { parseScenarios } from '../../src/lab/scenario.js';

const FILE = 'mine.yaml';

/** A scenario that is right, with these steps. */
function withSteps(...steps: readonly string[]): string {
  return ['id: mine', 'title: t', 'source: s', 'steps:', ...steps.map((step) => `  - ${step}`)].join('\n');
}

function withSysctl(line: string): string {
  return `id: mine\ntitle: t\nsource: s\nsysctls:\n  ${line}\nsteps: [wait 1ms]`;
}

const SOCKET = 'a = socket tcp4';

const WRONG: readonly (readonly [what: string, text: string, line: number, says: RegExp])[] = [
  ['that is no YAML', 'id: mine\ntitle: [t\nsource: s\n', 3, /\S/],
  ['with a key twice', 'id: mine\nid: other\n', 2, /the key id is there twice/],
  ['without a scenario', '', 1, /there is no scenario; a scenario has id, title, source and steps/],
  ['that is one word', 'mine', 1, /a scenario is a mapping with id, title, source/],
  [
    'with a word in the list',
    '- id: mine\n  title: t\n  source: s\n  steps: [wait 1ms]\n- mine',
    5,
    /mapping/,
  ],
  ['without an id', `title: t\nsource: s\nsteps: [${SOCKET}]`, 1, /"id" is missing or no text/],
  ['without a title', `id: mine\nsource: s\nsteps: [${SOCKET}]`, 1, /"title" is missing or no text/],
  ['without a source', `id: mine\ntitle: t\nsteps: [${SOCKET}]`, 1, /"source" is missing or no text/],
  [
    'with a title that is a list',
    'id: mine\nsource: s\ntitle: [t]\nsteps: [wait 1ms]',
    3,
    /"title" is missing or no text/,
  ],
  [
    'with a bad id',
    `id: my scenario\ntitle: t\nsource: s\nsteps: [${SOCKET}]`,
    1,
    /letters, digits.*"my scenario"/,
  ],
  ['without steps', 'id: mine\ntitle: t\nsource: s', 1, /"steps" is a list of lines/],
  ['with no step', 'id: mine\ntitle: t\nsource: s\nsteps: []', 4, /"steps" is a list of lines/],
  ['without a case', 'id: mine\ntitle: t\nsource: s\ncases: []', 4, /"cases" is a list of lines/],
  [
    'with an unknown key',
    `id: mine\ntitle: t\nsource: s\nstep: []\nsteps: [${SOCKET}]`,
    4,
    /no "step"; it has id, title/,
  ],
  [
    'with an unknown key in a case',
    'id: mine\ntitle: t\nsource: s\ncases:\n  - if: x\n    steps: []',
    5,
    /a case has no "if"; it has when, sysctls, steps/,
  ],
  [
    'with an unknown key in a repetition',
    withSteps('{ repeat: 2, times: 3, steps: [wait 1ms] }'),
    5,
    /no "times"; it has repeat, steps/,
  ],
  ['with a step that is a number', withSteps(SOCKET, '7'), 6, /a step is one line such as "server.bind/],
  [
    'with an unknown call',
    withSteps(SOCKET, 'a.open 127.0.0.1:P'),
    6,
    /"a.open 127.0.0.1:P": a step is one of NAME = socket tcp4\|tcp6/,
  ],
  [
    'with an unknown kind of socket',
    withSteps('a = socket sctp4'),
    5,
    /a step is one of NAME = socket tcp4\|tcp6/,
  ],
  ['with a bad name', withSteps('1st = socket tcp4'), 5, /a step is one of/],
  ['with an unknown option', withSteps(SOCKET, 'a.set SO_REUSE'), 6, /there is no option SO_REUSE/],
  ['with a bad value', withSteps(SOCKET, 'a.set SO_REUSEADDR=2'), 6, /SO_REUSEADDR is 0 or 1/],
  ['with a bad time to linger', withSteps(SOCKET, 'a.set SO_LINGER=5'), 6, /SO_LINGER is 0 .* or off/],
  [
    'with a bad range',
    withSteps(SOCKET, 'a.set IP_LOCAL_PORT_RANGE=7000'),
    6,
    /IP_LOCAL_PORT_RANGE is two port numbers, LOW-HIGH/,
  ],
  [
    'with a range that ends before it begins',
    withSteps(SOCKET, 'a.set IP_LOCAL_PORT_RANGE=7003-7000'),
    6,
    /LOW not above HIGH, or none/,
  ],
  [
    'with a bad address',
    withSteps(SOCKET, 'a.bind localhost:P'),
    6,
    /an address is 127.0.0.1:P or \[::1\]:P, not localhost:P/,
  ],
  [
    'with a bad port',
    withSteps(SOCKET, 'a.bind 127.0.0.1:8080'),
    6,
    /a port is a letter such as P, P\+1, @NAME .* not 8080/,
  ],
  [
    'with a bad outcome',
    withSteps(SOCKET, 'a.bind 127.0.0.1:P -> EADDRINUS'),
    6,
    /after "->" stands ok or an error such as EADDRINUSE, not "EADDRINUS"/,
  ],
  ['with a bad claim', withSteps(SOCKET, 'a.bind 127.0.0.1:P -> ok, claimed fine'), 6, /not "fine"/],
  [
    'with a bad repetition',
    withSteps('{ repeat: 0, steps: [wait 1ms] }'),
    5,
    /repeat is a number from 1 to 10000/,
  ],
  [
    'with an endless repetition',
    withSteps('{ repeat: 10001, steps: [wait 1ms] }'),
    5,
    /repeat is a number from 1 to 10000/,
  ],
  ['with a repetition of nothing', withSteps('{ repeat: 2, steps: [] }'), 5, /"steps" is a list of lines/],
  [
    'with a bad step in a repetition',
    withSteps('repeat: 2', '  steps: [wait long]').replace('  -   steps', '    steps'),
    6,
    /"wait long": a step is one of/,
  ],
  [
    'with sysctls that are a list',
    'id: mine\ntitle: t\nsource: s\nsysctls: [a]\nsteps: [wait 1ms]',
    4,
    /sysctls is a mapping such as \{ tcp_tw_reuse: 1 \}/,
  ],
  [
    'with a sysctl without a value',
    'id: mine\ntitle: t\nsource: s\nsysctls:\n  tcp_tw_reuse:\nsteps: [wait 1ms]',
    5,
    /the sysctl tcp_tw_reuse has no number or text/,
  ],
  [
    'with an unknown sysctl',
    withSysctl('tcp_nonsense: 1'),
    5,
    /the lab sets no sysctl tcp_nonsense; it sets ip_/,
  ],
  ['with a switch that is a word', withSysctl('tcp_timestamps: on'), 5, /tcp_timestamps is 0 or 1, not on/],
  ['with a switch that is true', withSysctl('bindv6only: true'), 5, /bindv6only has no number or text/],
  ['with a switch that is 2', withSysctl("ip_nonlocal_bind: '2'"), 5, /ip_nonlocal_bind is 0 or 1, not 2/],
  [
    'with a number that is a word',
    withSysctl('tcp_fin_timeout: soon'),
    5,
    /tcp_fin_timeout is a whole number/,
  ],
  ['with half a range', withSysctl('ip_local_port_range: P'), 5, /is two ports such as "P P\+7", not "P"/],
  ['with a range of no ports', withSysctl('ip_local_port_range: low high'), 5, /low is no port such as P/],
];

test.each(WRONG)(
  'a file %s is refused with its line and with what was expected',
  (_what, text, line, says) => {
    const error = refusalOf(text);
    expect(error.code).toBe('ERR_HOLDFAST_SCENARIO');
    expect(error.message).toMatch(new RegExp(`^${FILE}:${line}: .`));
    expect(error.message).toMatch(says);
  },
);

test('the second scenario of a list is refused with the line in the file', () => {
  const text = `- ${withSteps(SOCKET).replaceAll('\n', '\n  ')}\n- id: other\n  title: t\n  source: s\n  steps:\n    - nonsense`;
  expect(refusalOf(text).message).toMatch(/^mine\.yaml:10: "nonsense": a step is one of/);
});

test('a scenario has its texts, its steps and what is expected of each', () => {
  const text = `
id: S1
title: A title
source: bind(2)
claim: It fails.
why: Somebody has it.
depends: the address
sysctls: { tcp_tw_reuse: 0, ip_local_port_range: P P+3 }
steps:
  - a = socket tcp4   # a comment
  - a.bind 127.0.0.1:P -> EADDRINUSE, claimed ok
  - a.listen
`;
  expect(parseScenarios(text, FILE)).toEqual([
    {
      id: 'S1',
      title: 'A title',
      source: 'bind(2)',
      claim: 'It fails.',
      why: 'Somebody has it.',
      depends: 'the address',
      slow: false,
      cases: [
        {
          when: '',
          sysctls: { tcp_tw_reuse: 0, ip_local_port_range: 'P P+3' },
          sysctlsAt: `${FILE}:8`,
          steps: [
            {
              line: 'a = socket tcp4',
              at: `${FILE}:10`,
              action: { do: 'socket', name: 'a', protocol: 'tcp', family: 'ipv4', uid: 0, process: 'p' },
              expected: 'ok',
            },
            {
              line: 'a.bind 127.0.0.1:P -> EADDRINUSE, claimed ok',
              at: `${FILE}:11`,
              action: { do: 'bind', name: 'a', host: '127.0.0.1', port: P, unprivileged: false },
              expected: 'EADDRINUSE',
              claimed: 'ok',
            },
            {
              line: 'a.listen',
              at: `${FILE}:12`,
              action: { do: 'listen', name: 'a', backlog: 8 },
              expected: 'ok',
            },
          ],
        },
      ],
    },
  ]);
});

const P = { letter: 'P', plus: 0 };

test.each<[line: string, action: object]>([
  [
    'a = socket udp6 uid=1000 in child',
    { do: 'socket', protocol: 'udp', family: 'ipv6', uid: 1000, process: 'child' },
  ],
  ['a.set SO_REUSEADDR', { do: 'set', name: 'a', option: 'SO_REUSEADDR', value: true }],
  ['a.set IPV6_V6ONLY=0', { option: 'IPV6_V6ONLY', value: false }],
  ['a.set SO_LINGER=0', { option: 'SO_LINGER', value: true }],
  ['a.set SO_LINGER=off', { option: 'SO_LINGER', value: false }],
  ['a.set SO_BINDTODEVICE=lo', { option: 'SO_BINDTODEVICE', value: 'lo' }],
  ['a.set SO_BINDTODEVICE=none', { option: 'SO_BINDTODEVICE', value: '' }],
  [
    'a.set IP_LOCAL_PORT_RANGE=7000-7003',
    { option: 'IP_LOCAL_PORT_RANGE', value: { low: 7000, high: 7003 } },
  ],
  ['a.set IP_LOCAL_PORT_RANGE=none', { option: 'IP_LOCAL_PORT_RANGE', value: null }],
  ['a.bind 0.0.0.0:0', { do: 'bind', host: '0.0.0.0', port: 0 }],
  [
    'a.bind [::ffff:127.0.0.1]:Q+12',
    { do: 'bind', host: '::ffff:127.0.0.1', port: { letter: 'Q', plus: 12 } },
  ],
  ['a.bind 10.9.0.1:P unprivileged', { do: 'bind', unprivileged: true }],
  ['a.connect [::1]:@server', { do: 'connect', host: '::1', port: { of: 'server' } }],
  ['a.listen 1', { do: 'listen', backlog: 1 }],
  ['b = a.accept in child', { do: 'accept', name: 'a', as: 'b', process: 'child' }],
  ['a.send 100', { do: 'send', bytes: 100 }],
  ['a.receive', { do: 'receive', bytes: 1 }],
  ['a.shutdown both', { do: 'shutdown', how: 'both' }],
  ['a.disconnect', { do: 'disconnect', name: 'a' }],
  ['a.close in child', { do: 'close', process: 'child' }],
  ['a.share with child', { do: 'share', process: 'child' }],
  ['kill child', { do: 'exit', process: 'child' }],
  ['destroy TIME_WAIT P', { do: 'destroy-time-wait', port: P }],
  ['wait 3ms', { do: 'wait', ms: 3 }],
  ['wait 61s', { do: 'wait', ms: 61_000 }],
  ['a.state is TIME_WAIT', { do: 'see', what: 'state', name: 'a', value: 'TIME_WAIT' }],
  ['a.address is [::1]:P', { do: 'see', what: 'address', value: '[::1]:P' }],
  ['a.v6only is on', { do: 'see', what: 'v6only', value: 'on' }],
  ['count FIN_WAIT2 P is 2', { do: 'count', state: 'FIN_WAIT2', port: P, value: 2 }],
])('"%s" is a step', (line, action) => {
  const [scenario] = parseScenarios(withSteps(line), FILE);
  expect(scenario?.cases[0]?.steps[0]).toMatchObject({ line, action, expected: 'ok' });
});

test('in a repetition # stands for the number of the round', () => {
  const text = `
id: many
title: t
source: s
steps:
  - server = socket tcp4
  - repeat: 3
    steps:
      - c# = socket tcp4
      - c#.bind 127.0.0.1:P+# -> ok, claimed EADDRINUSE
  - server.close
`;
  const [scenario] = parseScenarios(text, FILE);
  const steps = scenario?.cases[0]?.steps ?? [];
  expect(steps.map(({ line }) => line)).toEqual([
    'server = socket tcp4',
    ...['c1 = socket tcp4', 'c1.bind 127.0.0.1:P+1 -> ok, claimed EADDRINUSE'],
    ...['c2 = socket tcp4', 'c2.bind 127.0.0.1:P+2 -> ok, claimed EADDRINUSE'],
    ...['c3 = socket tcp4', 'c3.bind 127.0.0.1:P+3 -> ok, claimed EADDRINUSE'],
    'server.close',
  ]);
  expect(steps[4]).toMatchObject({ action: { port: { letter: 'P', plus: 2 } }, claimed: 'EADDRINUSE' });
});

test('each case has its own sysctls and steps; a file may be a list', () => {
  const text = `
- id: 1a
  title: t
  source: s
  slow: true
  cases:
    - when: off
      sysctls: { tcp_tw_reuse: 0 }
      steps: [wait 1ms]
    - when: on
      steps: [wait 2ms, wait 3ms]
- id: 2
  title: t
  source: s
  steps: [wait 4ms]
`;
  const scenarios = parseScenarios(text, FILE);
  expect(scenarios.map(({ id, slow }) => ({ id, slow }))).toEqual([
    { id: '1a', slow: true },
    { id: '2', slow: false },
  ]);
  expect(scenarios[0]?.cases.map(({ when, sysctls, steps }) => [when, sysctls, steps.length])).toEqual([
    ['off', { tcp_tw_reuse: 0 }, 1],
    ['on', {}, 2],
  ]);
});

function refusalOf(text: string): HoldfastError {
  try {
    parseScenarios(text, FILE);
  } catch (error) {
    if (error instanceof HoldfastError) return error;
    throw error;
  }
  throw new Error('it was taken');
}
