import { expect, test } from 'vitest';
import { essenceOf } from '../../src/diagnosis/essence.js';
import type { ProcessReport, SocketReport, WhyReport } from '../../src/index.js';

const LISTENER = {
  ...{ state: 'LISTEN', family: 'ipv6', local: '[::]:8080', peer: null, inode: 1, cookie: '1f', uid: 33 },
  ...{ user: 'www-data', device: null, acceptQueue: 0, ownerKind: 'process' },
  flags: { reuseaddr: true, reuseport: false, source: 'getsockopt', why: null },
} as unknown as SocketReport;

const SERVER = {
  ...{ pid: 100, startTicks: 5, cmdline: ['node', 'server.js'], cwd: '/srv', exe: '/usr/bin/node' },
  ...{ user: 'www-data', startedAt: '2026-01-01T00:00:00Z', unit: null, container: null, supervisor: null },
} as unknown as ProcessReport;

/** A connection of the server. */
const CONNECTION = { ...LISTENER, state: 'ESTABLISHED', peer: '10.0.0.9:50000' } as SocketReport;

const HELD = {
  ...{ schema: 1, port: 8080, protocol: 'tcp', host: null, at: '2026-01-01T00:00:01Z', kernel: '6.1' },
  ...{ netns: 1, verdict: 'held', summary: 'Port 8080 is held by node (pid 100).', groups: [] },
  ...{ sockets: [LISTENER], processes: [SERVER], bind: [], warnings: [], limits: { complete: true } },
  ...{ elsewhere: [], localhost: null, takeover: null },
  fixes: [{ id: 'end', text: 'kill 100', command: ['kill', '100'] }],
} as unknown as WhyReport;

const LEFT = {
  ...HELD,
  ...{ verdict: 'leftovers', sockets: [], processes: [] },
  groups: [{ kind: 'time-wait', local: '10.0.0.1:8080', count: 3, minExpiresMs: 1, maxExpiresMs: 2 }],
} as unknown as WhyReport;

const SAME: Readonly<Record<string, readonly [WhyReport, WhyReport]>> = {
  'other pids, times, kernels and counts': [
    HELD,
    {
      ...{ ...HELD, at: '2026-02-02T00:00:00Z', kernel: '6.18', netns: 7, summary: 'Port 8080 (pid 2).' },
      sockets: [{ ...LISTENER, inode: 9, cookie: '2', acceptQueue: 4, uid: 34 }],
      processes: [{ ...SERVER, pid: 2, startTicks: 9, startedAt: '2026-02-01T00:00:00Z' }],
      fixes: HELD.fixes.map((fix) => ({ ...fix, text: 'kill 2', command: ['kill', '2'] })),
    },
  ],
  'connections of a server': [
    HELD,
    { ...HELD, sockets: [LISTENER, CONNECTION, CONNECTION], groups: LEFT.groups },
  ],
  'one worker or two': [HELD, { ...HELD, processes: [SERVER, { ...SERVER, pid: 101 }] }],
  'how many connections are left': [
    LEFT,
    { ...LEFT, groups: LEFT.groups.map((group) => ({ ...group, count: 9 })) as WhyReport['groups'] },
  ],
};

for (const [what, [one, other]] of Object.entries(SAME)) {
  test(`${what}: the same answer`, () => {
    expect(essenceOf(other)).toBe(essenceOf(one));
  });
}

const OTHER: Readonly<Record<string, WhyReport>> = {
  'another verdict': { ...HELD, verdict: 'unknown' },
  'another program': { ...HELD, processes: [{ ...SERVER, cmdline: ['nginx'] }] },
  'another folder': { ...HELD, processes: [{ ...SERVER, cwd: '/srv/old' }] },
  'another address': { ...HELD, sockets: [{ ...LISTENER, local: '127.0.0.1:8080' }] },
  'another user': { ...HELD, sockets: [{ ...LISTENER, user: 'root' }] },
  'nobody at it': LEFT,
  'a container that has the port too': {
    ...HELD,
    elsewhere: [
      { netns: 5, label: 'shop', sockets: [{ state: 'LISTEN', local: '0.0.0.0:8080', pids: [7] }] },
    ],
  },
  'localhost that leads to two': {
    ...HELD,
    localhost: { order: ['127.0.0.1', '::1'], ipv4: 'cookie:1', ipv6: null },
  },
};

for (const [what, report] of Object.entries(OTHER)) {
  test(`${what}: another answer`, () => {
    expect(essenceOf(report)).not.toBe(essenceOf(HELD));
  });
}
