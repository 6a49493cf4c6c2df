import { expect, test } from 'vitest';
import {
  type ConnectionHistory,
  type ConnectionSample,
  type ConnectionVerdict,
  judge,
  observe,
} from '../../src/model/drain.js';

const QUIET = { quietMs: 1_000, unclearQuietMs: 1_000 };

/** A connection on which nothing happened in the hour since it was made. */
const FRESH: ConnectionSample = {
  state: 'ESTABLISHED',
  receiveQueue: 0,
  sendQueue: 0,
  bytesReceived: 0,
  bytesWritten: 0,
  lastDataSentMs: 3_600_000,
  lastDataReceivedMs: 3_600_000,
  segmentsIn: 2,
  emptySegmentsOut: 1,
};

/** An answered request of an hour ago, both within one tick. */
const USED: ConnectionSample = { ...FRESH, bytesReceived: 80, bytesWritten: 200, segmentsIn: 4 };

type Change = Partial<ConnectionSample>;

/** What a row of looks makes of it, each with what is new in it, 20 ms apart, and a last one a time of quiet later. */
function verdictAfter(begin: ConnectionSample, ...changes: readonly Change[]): string {
  const looks = [begin, ...changes];
  let sample = begin;
  let history: ConnectionHistory | undefined;
  looks.forEach((change, index) => {
    sample = { ...sample, ...change };
    history = observe(history, sample, index * 20);
  });
  const { quietMs } = QUIET;
  const [lastDataSentMs, lastDataReceivedMs] = [
    sample.lastDataSentMs + quietMs,
    sample.lastDataReceivedMs + quietMs,
  ];
  const nowMs = (looks.length - 1) * 20 + quietMs;
  return inWords(
    judge(observe(history, { ...sample, lastDataSentMs, lastDataReceivedMs }, nowMs), nowMs, QUIET),
  );
}

function inWords(verdict: ConnectionVerdict): string {
  return verdict.type === 'owed' ? `owed: ${verdict.reason}` : verdict.type;
}

/** What comes and what goes within a look: both at its beginning, so that they are of one tick. */
const NOW = { lastDataReceivedMs: 16, lastDataSentMs: 16 };

const ROWS: readonly [situation: string, verdict: string, begin: ConnectionSample, ...Change[]][] = [
  ['kept alive after an answer', 'idle', USED],
  ['preconnected, nothing sent', 'idle', FRESH],
  [
    'preconnected over TLS: the server has said something, and that last',
    'idle',
    { ...USED, lastDataSentMs: 20 },
  ],
  [
    'a slow request on a used connection',
    'owed: unanswered',
    USED,
    { bytesReceived: 160, lastDataReceivedMs: 4 },
  ],
  [
    'the same, its tick too coarse to tell',
    'owed: unanswered',
    { ...USED, ...NOW },
    { bytesReceived: 160, lastDataReceivedMs: 16, lastDataSentMs: 36 },
    NOW,
  ],
  [
    'a slow request in a look of which the tick tells the order',
    'owed: unanswered',
    { ...USED, lastDataReceivedMs: 0, lastDataSentMs: 4 },
  ],
  ['a first request right after connecting', 'owed: never-answered', { ...FRESH, ...NOW, bytesReceived: 80 }],
  ['half a request on a fresh connection', 'owed: never-answered', FRESH, { ...NOW, bytesReceived: 30 }],
  [
    'half a request on a used connection',
    'owed: unanswered',
    USED,
    { bytesReceived: 110, lastDataReceivedMs: 16 },
  ],
  [
    'an upload that pauses',
    'owed: unanswered',
    USED,
    { bytesReceived: 1_000, lastDataReceivedMs: 16 },
    {},
    {},
  ],
  [
    'an answered upload',
    'idle',
    USED,
    { bytesReceived: 1_000, lastDataReceivedMs: 16 },
    { bytesWritten: 230, ...NOW },
  ],
  [
    'a stream that pauses',
    'idle',
    USED,
    { bytesReceived: 160, ...NOW },
    { bytesWritten: 400, lastDataSentMs: 3 },
    { bytesWritten: 450, lastDataSentMs: 3 },
  ],
  ['100-continue that waits for the body', 'idle', USED, { bytesReceived: 160, bytesWritten: 225, ...NOW }],
  [
    '100-continue and a part of the body',
    'owed: unanswered',
    USED,
    { bytesReceived: 160, bytesWritten: 225, ...NOW },
    { bytesReceived: 200 },
  ],
  [
    'a big answer that the client does not read',
    'owed: unacknowledged',
    USED,
    { bytesReceived: 160, bytesWritten: 4_000_000, sendQueue: 3_800_000, ...NOW },
  ],
  [
    'an answer on its way',
    'owed: unacknowledged',
    USED,
    { bytesReceived: 160, bytesWritten: 400, sendQueue: 200, ...NOW },
  ],
  [
    'an answer that has arrived',
    'idle',
    USED,
    { bytesReceived: 160, bytesWritten: 400, sendQueue: 200, ...NOW },
    { sendQueue: 0 },
  ],
  [
    'a request that the program has not read',
    'owed: unread',
    USED,
    { bytesReceived: 160, receiveQueue: 80, ...NOW },
  ],
  [
    'a request that it has read, beside an answer to an earlier one',
    'owed: unanswered',
    USED,
    { bytesReceived: 240, receiveQueue: 80, bytesWritten: 400, ...NOW },
    { receiveQueue: 0 },
  ],
  [
    'a request that waits for its turn to be sent an answer',
    'idle',
    USED,
    { bytesReceived: 160, bytesWritten: 400, sendQueue: 200, lastDataReceivedMs: 4 },
    { sendQueue: 0, lastDataReceivedMs: 24, lastDataSentMs: 10 },
  ],
  [
    'a quick answer and then a slow request, all in one look',
    'owed: unanswered',
    USED,
    { bytesReceived: 240, bytesWritten: 400, ...NOW },
    {},
    { emptySegmentsOut: 2 },
  ],
  [
    'the same when a segment asked for the acknowledgement',
    'idle',
    USED,
    { bytesReceived: 240, bytesWritten: 400, ...NOW },
    { emptySegmentsOut: 2, segmentsIn: 5 },
  ],
  [
    'the same when it may be a keepalive probe',
    'idle',
    USED,
    { bytesReceived: 240, bytesWritten: 400, ...NOW },
    { lastDataReceivedMs: 1_000, lastDataSentMs: 1_000 },
    { emptySegmentsOut: 2 },
  ],
  [
    'the first look at a slow request after a quick answer',
    'owed: unanswered',
    { ...USED, ...NOW },
    { emptySegmentsOut: 2 },
  ],
  [
    'an acknowledgement when output is known to be last',
    'idle',
    USED,
    { bytesReceived: 160, ...NOW },
    { bytesWritten: 400, lastDataSentMs: 3 },
    { emptySegmentsOut: 2 },
  ],
  ['closed by the client while idle', 'idle', USED, { state: 'CLOSE_WAIT', bytesReceived: 81 }],
  [
    'the same, the program has not seen it',
    'idle',
    USED,
    { state: 'CLOSE_WAIT', bytesReceived: 81, receiveQueue: 1 },
  ],
  ['closed by the client before it said anything', 'idle', FRESH, { state: 'CLOSE_WAIT', bytesReceived: 1 }],
  [
    'the same, and that is acknowledged a moment later',
    'idle',
    { ...FRESH, ...NOW },
    { state: 'CLOSE_WAIT', bytesReceived: 1, emptySegmentsOut: 0 },
    { emptySegmentsOut: 1 },
  ],
  [
    'half-closed by the client after a request',
    'owed: unanswered',
    USED,
    { state: 'CLOSE_WAIT', bytesReceived: 161, lastDataReceivedMs: 4 },
  ],
  [
    'half-closed by the server, its output on its way',
    'owed: unacknowledged',
    USED,
    { state: 'FIN_WAIT1', sendQueue: 1 },
  ],
  [
    'half-closed by the server',
    'idle',
    USED,
    { state: 'FIN_WAIT1', sendQueue: 1 },
    { state: 'FIN_WAIT2', sendQueue: 0 },
  ],
  [
    'a message that asks for no answer',
    'owed: unanswered',
    USED,
    { bytesReceived: 90, lastDataReceivedMs: 4 },
    {},
    {},
  ],
];

test.each(ROWS)('%s: %s', (_situation, verdict, begin, ...changes) => {
  expect(verdictAfter(begin, ...changes)).toBe(verdict);
});

test('whatever moves begins the time of quiet anew', () => {
  for (const change of [
    { bytesWritten: 210 },
    { sendQueue: 10 },
    { receiveQueue: 1 },
    { state: 'CLOSE_WAIT', bytesReceived: 81 },
  ] as const) {
    const first = observe(undefined, USED, 0);
    expect(observe(first, USED, 500).movedAtMs).toBe(0);
    expect(observe(first, { ...USED, ...change }, 500).movedAtMs).toBe(500);
  }
});

test('a connection is moving until it has been quiet since a look, however old its last byte is', () => {
  const first = observe(undefined, USED, 100);
  expect(judge(first, 1_099, QUIET)).toEqual({ type: 'moving', sinceMs: 100 });
  expect(judge(first, 1_100, QUIET)).toEqual({ type: 'idle', sinceMs: 100 });
});

test('an unclear connection has to be quiet for longer, from its last byte on', () => {
  const quiet = { quietMs: 1_000, unclearQuietMs: 10_000 };
  const verdict = (lastDataMs: number, change: Change = {}): string => {
    const sample = { ...USED, lastDataReceivedMs: lastDataMs, lastDataSentMs: lastDataMs, ...change };
    return inWords(judge(observe(undefined, sample, 0), 1_000, quiet));
  };
  expect(verdict(9_999)).toBe('moving');
  expect(verdict(10_000)).toBe('idle');
  // It said something much later than it heard something: that was an answer.
  expect(verdict(9_999, { lastDataSentMs: 9_900 })).toBe('idle');
  // Nothing ever came.
  expect(verdict(100, { bytesReceived: 0 })).toBe('idle');
});
