import { expect, test } from 'vitest';
import { ofStates } from '../../src/watch/apply.js';
import { describeFilter, filterOf, queryOf, targetOf } from '../../web/address.js';
import { chosenRows } from '../../web/bind-rows.js';
import { describeDrain, drainOf } from '../../web/drain.js';
import { lastLines } from '../../web/output-lines.js';
import { describeMark, summaryOf } from '../../web/series.js';
import { accessibleName } from '../../web/states.js';
import {
  describeUnclosed,
  describeUnseen,
  formatSpan,
  formatTimer,
  ownerOf,
  plainText,
} from '../../web/words.js';

const programs = new Map([[12, 'server.js']]);

test('the address of the page keeps what is watched', () => {
  for (const filter of [{}, { port: 8080 }, { pid: 12 }, { keeper: 'my shop' }]) {
    expect(filterOf(`#${queryOf(filter)}`)).toEqual(filter);
  }
  expect(filterOf('#port=abc&pid=-1&keeper=')).toEqual({});
  expect(describeFilter({})).toBe('the whole machine');
  expect(describeFilter({ port: 80 })).toBe('port 80');
});

test('a target is written as the command takes it', () => {
  expect(targetOf('', '80')).toBe('80');
  expect(targetOf('any', ' 80 ')).toBe('80');
  expect(targetOf('127.0.0.1', '80')).toBe('127.0.0.1:80');
  expect(targetOf('::1', '80')).toBe('[::1]:80');
  expect(targetOf('[::1]', '80')).toBe('[::1]:80');
});

test('who forgets to close is named with who waits', () => {
  expect(describeUnclosed({ pid: 12, closeWait: 3, finWait2: 2 }, programs)).toBe(
    'server.js (pid 12) keeps 3 connections in CLOSE_WAIT: it does not close them; 2 sockets of this machine wait in FIN_WAIT2 for it.',
  );
  expect(describeUnclosed({ pid: null, closeWait: 1, finWait2: 0 }, programs)).toBe(
    'A process that cannot be seen keeps 1 connection in CLOSE_WAIT: it does not close it.',
  );
  expect(describeUnclosed({ pid: null, closeWait: 0, finWait2: 1 }, programs)).toContain(
    '1 socket of this machine waits',
  );
});

test('who has a socket is told in words when no process is known', () => {
  expect(ownerOf({ pid: 12, ownership: 'process', state: 'LISTEN' }, programs)).toBe('server.js (pid 12)');
  expect(ownerOf({ pid: 13, ownership: 'process', state: 'LISTEN' }, programs)).toBe('pid 13');
  const queued = { pid: null, ownership: 'queue' } as const;
  expect(ownerOf({ ...queued, state: 'ESTABLISHED' }, programs)).toBe('nobody yet: it waits to be accepted');
  expect(ownerOf({ ...queued, state: 'SYN_RECV' }, programs)).toBe('nobody yet: its handshake is not done');
  expect(describeUnseen({ sockets: 0, processes: 4 })).toBeUndefined();
  expect(describeUnseen({ sockets: 1, processes: 1 })).toContain('The owner of 1 socket');
  expect(accessibleName('ESTABLISHED', 12)).toBe('ESTABLISHED 12 sockets');
  expect(accessibleName('LISTEN', 1)).toBe('LISTEN 1 listener');
});

test('times are short', () => {
  const minute = 60_000;
  expect([400, 9_400, 5 * minute, 185 * minute, 49 * 60 * minute].map(formatSpan)).toEqual([
    ...['0 s', '9 s', '5 min', '3 h 5 min', '2 d 1 h'],
  ]);
  expect(formatTimer({ kind: 'keepalive', firesAtMs: 12_000 }, 0)).toBe('keepalive, 12 s');
  expect(formatTimer(null, 0)).toBe('');
});

test('TIME_WAIT drains to nothing', () => {
  expect(drainOf([2, 0, 3])).toEqual({ all: 5, inOne: 2, inTen: 5, seconds: 3, left: [3, 3, 0] });
  expect(describeDrain([0, 0])).toBe('There is no entry in TIME_WAIT.');
  expect(describeDrain([1])).toBe('Of 1 entry, 1 end within 1 s, 1 within 10 s, and the last in 1 s.');
});

test('the rows of the chosen options come first', () => {
  const row = {
    address: '0.0.0.0:80',
    expected: 'ok',
    probed: null,
    rule: null,
    says: null,
    cause: null,
    because: [],
  } as const;
  const rows = [
    { ...row, options: [] },
    { ...row, options: ['SO_REUSEADDR'] },
    { ...row, options: ['SO_REUSEADDR', 'SO_REUSEPORT'] },
  ] as const;
  const { chosen, others } = chosenRows(rows, { reuseaddr: true, reuseport: false });
  expect(chosen).toEqual([rows[1]]);
  expect(others).toEqual([rows[0], rows[2]]);
});

test('output is text without what is for terminals, and the last 500 lines of it', () => {
  expect(plainText('\x1b[1;31mred\x1b[0m \x1b]0;title\x07<b>\r\n\x1b(B\ttab\b')).toBe('red <b>\n\ttab');
  const lines = Array.from({ length: 600 }, (_, at) => `line ${at}\n`).join('');
  expect(lastLines(lines).split('\n')).toHaveLength(501);
  expect(lastLines(lines).startsWith('line 100\n')).toBe(true);
});

test('the timeline is told in words', () => {
  const counts = { ...ofStates(() => [0, 0]), ESTABLISHED: [3, 5] };
  expect(summaryOf({ atMs: [0, 60_000], counts, acceptQueue: [0, 0] })).toBe(
    'In the last 60 s: ESTABLISHED from 3 to 5, now 5.',
  );
  expect(describeMark({ atMs: 0, keeper: 'shop', kind: 'restarted', generation: 2, pid: 7 })).toBe(
    'shop: restarted after a crash, generation 2, pid 7',
  );
});
