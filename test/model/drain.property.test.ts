import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type ConnectionHistory,
  type ConnectionSample,
  type ConnectionVerdict,
  judge,
  observe,
} from '../../src/model/drain.js';

const QUIET = { quietMs: 1_000, unclearQuietMs: 3_000 };
const TICK_MS = 4;

/** `request`: bytes come. `read`: the program takes them. `answer`: it writes. `arrive`: the peer acknowledges. */
type Happening = 'request' | 'read' | 'answer' | 'arrive';

const happening = fc.constantFrom<Happening>('request', 'read', 'answer', 'arrive');

/** A connection of which all is known. */
class Connection {
  #unread = 0;
  #unacknowledged = 0;
  #received = 0;
  #written = 0;
  #sentMs = 0;
  #receivedMs = 0;
  #isInputLast = false;

  happen(what: Happening, atMs: number): void {
    const tickMs = Math.floor(atMs / TICK_MS) * TICK_MS;
    if (what === 'request') {
      this.#received += 80;
      this.#unread += 80;
      this.#receivedMs = tickMs;
      this.#isInputLast = true;
    } else if (what === 'answer') {
      this.#written += 200;
      this.#unacknowledged += 200;
      this.#sentMs = tickMs;
      this.#isInputLast = this.#unread > 0;
    } else if (what === 'read') this.#unread = 0;
    else this.#unacknowledged = 0;
  }

  isOwed(): boolean {
    return this.#unread > 0 || this.#unacknowledged > 0 || this.#isInputLast;
  }

  sample(atMs: number): ConnectionSample {
    const tickMs = Math.floor(atMs / TICK_MS) * TICK_MS;
    return {
      state: 'ESTABLISHED',
      receiveQueue: this.#unread,
      sendQueue: this.#unacknowledged,
      bytesReceived: this.#received,
      bytesWritten: this.#written,
      lastDataSentMs: tickMs - this.#sentMs,
      lastDataReceivedMs: tickMs - this.#receivedMs,
      segmentsIn: 0,
      emptySegmentsOut: 0,
    };
  }
}

test('when a look follows everything that happens, owed is what is owed', () => {
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 30 }), (happenings) => {
      const connection = new Connection();
      let history = observe(undefined, connection.sample(0), 0);
      happenings.forEach((what, index) => {
        // Within one tick, so that only the looks tell the order.
        const atMs = index * 0.01;
        connection.happen(what, atMs);
        history = observe(history, connection.sample(atMs), atMs);
        expect(judge(history, atMs, QUIET).type === 'owed').toBe(connection.isOwed());
      });
    }),
    { numRuns: 2_000 },
  );
});

test('when everything that happens has a tick of its own, owed is what is owed, however rare the looks are', () => {
  const exchange = fc.constantFrom<readonly Happening[]>(['request', 'read'], ['answer', 'arrive']);
  fc.assert(
    fc.property(fc.array(fc.tuple(exchange, fc.boolean()), { maxLength: 30 }), (steps) => {
      const connection = new Connection();
      let history: ConnectionHistory | undefined;
      steps.forEach(([happenings, isLookedAt], index) => {
        const atMs = (index + 1) * TICK_MS;
        for (const what of happenings) connection.happen(what, atMs);
        if (!isLookedAt) return;
        history = observe(history, connection.sample(atMs), atMs);
        expect(judge(history, atMs, QUIET).type === 'owed').toBe(connection.isOwed());
      });
    }),
    { numRuns: 2_000 },
  );
});

const count = fc.nat(3);

const anySample: fc.Arbitrary<ConnectionSample> = fc.record({
  state: fc.constantFrom('ESTABLISHED', 'FIN_WAIT1', 'FIN_WAIT2', 'CLOSE_WAIT', 'LAST_ACK', 'CLOSING'),
  receiveQueue: count,
  sendQueue: count,
  bytesReceived: count,
  bytesWritten: count,
  lastDataSentMs: fc.nat(5_000),
  lastDataReceivedMs: fc.nat(5_000),
  segmentsIn: count,
  emptySegmentsOut: count,
});

/** Samples with the pauses before them, and the time after the last. */
const anyLooks = fc.tuple(
  fc.array(fc.tuple(anySample, fc.nat(600)), { minLength: 1, maxLength: 12 }),
  fc.nat(2_000),
);

test('whatever the looks saw, nothing has moved for the time of quiet when a connection is idle, and the queues are empty', () => {
  fc.assert(
    fc.property(anyLooks, ([looks, afterMs]) => {
      const { verdict, nowMs, seen } = judged(looks, afterMs);
      if (verdict.type !== 'idle') return;
      const last = seen.at(-1)?.sample;
      expect(last?.sendQueue).toBe(0);
      expect(last?.receiveQueue).toBeLessThanOrEqual(last?.state === 'CLOSE_WAIT' ? 1 : 2);
      const recent = seen.filter(({ atMs }) => atMs > nowMs - QUIET.quietMs);
      for (const { sample } of recent) expect(countsOf(sample)).toEqual(countsOf(last as ConnectionSample));
    }),
    { numRuns: 5_000 },
  );
});

test('looking once more without anything new changes nothing', () => {
  fc.assert(
    fc.property(anyLooks, ([looks, afterMs]) => {
      const { history, verdict, nowMs, seen } = judged(looks, afterMs);
      const again = observe(history, seen.at(-1)?.sample as ConnectionSample, nowMs);
      expect(judge(again, nowMs, QUIET)).toEqual(verdict);
    }),
    { numRuns: 2_000 },
  );
});

test('what waits in a queue, or was never answered, is owed whatever was before', () => {
  fc.assert(
    fc.property(anyLooks, ([looks, afterMs]) => {
      const { verdict, seen } = judged(looks, afterMs);
      const last = seen.at(-1)?.sample as ConnectionSample;
      const fin = ['CLOSE_WAIT', 'LAST_ACK', 'CLOSING'].includes(last.state) ? 1 : 0;
      const isNeverAnswered = last.bytesReceived > fin && last.bytesWritten === 0;
      if (last.receiveQueue > fin || last.sendQueue > 0 || isNeverAnswered) expect(verdict.type).toBe('owed');
    }),
    { numRuns: 2_000 },
  );
});

test('that the client has closed its side changes nothing in what is owed', () => {
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 12 }), fc.boolean(), (happenings, isSeen) => {
      const connection = new Connection();
      let history: ConnectionHistory | undefined;
      happenings.forEach((what, index) => {
        connection.happen(what, index);
        history = observe(history, connection.sample(index), index);
      });
      const sample = connection.sample(happenings.length);
      const closed: ConnectionSample = {
        ...sample,
        state: 'CLOSE_WAIT',
        bytesReceived: sample.bytesReceived + 1,
        // The program has seen it only when it has read everything before it.
        receiveQueue: sample.receiveQueue + (isSeen && sample.receiveQueue === 0 ? 0 : 1),
      };
      const verdict = judge(observe(history, closed, happenings.length), happenings.length, QUIET);
      expect(verdict.type === 'owed').toBe(connection.isOwed());
    }),
    { numRuns: 2_000 },
  );
});

test('times are compared with one another only', () => {
  fc.assert(
    fc.property(anyLooks, fc.nat(1_000_000), ([looks, afterMs], shiftMs) => {
      const { verdict } = judged(looks, afterMs);
      const shifted = judged(looks, afterMs, shiftMs).verdict;
      if (verdict.type === 'owed') expect(shifted).toEqual(verdict);
      else expect(shifted).toEqual({ ...verdict, sinceMs: verdict.sinceMs + shiftMs });
    }),
    { numRuns: 2_000 },
  );
});

interface Judged {
  readonly history: ConnectionHistory;
  readonly verdict: ConnectionVerdict;
  readonly nowMs: number;
  readonly seen: readonly { readonly sample: ConnectionSample; readonly atMs: number }[];
}

function judged(
  looks: readonly (readonly [ConnectionSample, number])[],
  afterMs: number,
  beginMs = 0,
): Judged {
  let atMs = beginMs;
  const seen = looks.map(([sample, pauseMs]) => {
    atMs += pauseMs;
    return { sample, atMs };
  });
  let history: ConnectionHistory | undefined;
  for (const look of seen) history = observe(history, look.sample, look.atMs);
  const nowMs = atMs + afterMs;
  return {
    history: history as ConnectionHistory,
    verdict: judge(history as ConnectionHistory, nowMs, QUIET),
    nowMs,
    seen,
  };
}

function countsOf({
  state,
  receiveQueue,
  sendQueue,
  bytesReceived,
  bytesWritten,
}: ConnectionSample): unknown {
  return { state, receiveQueue, sendQueue, bytesReceived, bytesWritten };
}
