import { describe, expect, test } from 'vitest';
import {
  backoffMs,
  begin,
  CLEANUP_MS,
  type Effect,
  exitCodeOf,
  type Lifecycle,
  type LifecycleEvent,
  type Policy,
  type RestartPolicy,
  STEADY_MS,
  step,
  type WorkerEnd,
} from '../../src/keeper/lifecycle.js';

const POLICY: Policy = {
  restart: 'on-failure',
  stopSignal: 'SIGTERM',
  stopTimeoutMs: 10_000,
  maxBackoffMs: 10_000,
};

const OK: WorkerEnd = { code: 0, signal: null };
const FAILED: WorkerEnd = { code: 1, signal: null };
const KILLED: WorkerEnd = { code: null, signal: 'SIGKILL' };

const LISTENED: LifecycleEvent = { type: 'listened' };
const CONFIRMED: LifecycleEvent = { type: 'confirmed' };
const STEADY: LifecycleEvent = { type: 'steady' };
const GONE: LifecycleEvent = { type: 'tree-gone' };
const STOP: LifecycleEvent = { type: 'stop-requested', delivered: false };
const SERVES: readonly LifecycleEvent[] = [LISTENED, CONFIRMED];

test('the first thing is a start', () => {
  expect(begin(POLICY).effects).toEqual([{ type: 'spawn' }]);
  expect(begin(POLICY).lifecycle.phase).toBe('starting');
});

describe('when the server ends', () => {
  test.each<[RestartPolicy, WorkerEnd, boolean]>([
    ['always', OK, true],
    ['always', FAILED, true],
    ['always', KILLED, true],
    ['on-failure', OK, false],
    ['on-failure', FAILED, true],
    ['on-failure', KILLED, true],
    ['never', OK, false],
    ['never', FAILED, false],
    ['never', KILLED, false],
  ])('%s, after %o: started again %s', (restart, end, again) => {
    const { lifecycle, effects } = lived({ restart }, ...SERVES, ended(end));
    expect(lifecycle.phase).toBe(again ? 'starting' : 'ended');
    expect(effects).toContainEqual(again ? { type: 'spawn' } : { type: 'end', exitCode: exitCodeOf(end) });
  });

  test('one that never listened is no server: its end is the end, but under always', () => {
    expect(lived({}, ended(FAILED)).effects).toContainEqual({ type: 'end', exitCode: 1 });
    expect(lived({}, LISTENED, ended(FAILED)).lifecycle.phase).toBe('ended');
    expect(lived({ restart: 'always' }, ended(OK)).effects).toContainEqual({ type: 'spawn' });
  });

  test('a command that listened once is a server in later starts too', () => {
    expect(lived({}, ...SERVES, ended(KILLED), ended(FAILED)).lifecycle.phase).toBe('backing-off');
  });

  test('what it leaves behind gets the stop signal, and SIGKILL when the time is over', () => {
    const { lifecycle, effects } = lived({ stopSignal: 'SIGQUIT' }, ...SERVES, ended(KILLED, { left: true }));
    expect(lifecycle.phase).toBe('cleaning');
    expect(effects).toContainEqual({ type: 'signal-tree', signal: 'SIGQUIT' });
    expect(effects).toContainEqual({ type: 'start-timer', timer: 'cleanup', ms: CLEANUP_MS });
    const late = step(lifecycle, { type: 'cleanup-timeout' });
    expect(late.effects).toEqual([{ type: 'signal-tree', signal: 'SIGKILL' }]);
    expect(step(late.lifecycle, GONE).effects).toContainEqual({ type: 'spawn' });
  });

  test('nothing starts before its tree is gone', () => {
    const { effects } = lived({ restart: 'always' }, ...SERVES, ended(OK, { left: true }));
    expect(effects).not.toContainEqual({ type: 'spawn' });
  });
});

describe('backoff', () => {
  test('is 0 or the first one that is wanted, and doubles from 100 ms up to its limit', () => {
    expect([1, 2, 3, 4, 5, 8, 9, 10, 1_000].map((failures) => backoffMs(failures, POLICY))).toEqual([
      0, 100, 200, 400, 800, 6_400, 10_000, 10_000, 10_000,
    ]);
    expect(backoffMs(2, { maxBackoffMs: 50 })).toBe(50);
    expect(backoffMs(9, { maxBackoffMs: 0 })).toBe(0);
    expect([1, 2, 3].map((failures) => backoffMs(failures, { ...POLICY, firstBackoffMs: 150 }))).toEqual([
      150, 150, 200,
    ]);
  });

  test('grows with each failure in a row, and a start waits for its end', () => {
    const first = lived({}, ...SERVES, ended(KILLED));
    expect(first.effects).toContainEqual({ type: 'spawn' });
    const second = step(first.lifecycle, ended(FAILED));
    expect(second.effects).toContainEqual({ type: 'start-timer', timer: 'backoff', ms: 100 });
    expect(second.effects).not.toContainEqual({ type: 'spawn' });
    const third = step(step(second.lifecycle, { type: 'backoff-over' }).lifecycle, ended(FAILED));
    expect(third.effects).toContainEqual({ type: 'start-timer', timer: 'backoff', ms: 200 });
  });

  test('begins anew after a server that has served for a while, not after one that only listened', () => {
    const failing = [...SERVES, ended(KILLED), ended(FAILED), { type: 'backoff-over' }, LISTENED] as const;
    expect(lived({}, ...failing, ended(FAILED)).lifecycle.failures).toBe(3);
    expect(lived({}, ...failing, STEADY, ended(FAILED)).effects).toContainEqual({ type: 'spawn' });
  });

  test('a server that listens several times starts the time for being steady once', () => {
    expect(lived({}, LISTENED).effects).toEqual([{ type: 'start-timer', timer: 'steady', ms: STEADY_MS }]);
    expect(lived({}, LISTENED, LISTENED).effects).toEqual([]);
  });
});

describe('daemons', () => {
  test('a first process that exits with 0 while its children serve, or may yet, is followed', () => {
    const serving = lived({}, ...SERVES, ended(OK, { left: true, serves: true }));
    const starting = lived({}, ended(OK, { left: true }));
    for (const { lifecycle, effects } of [serving, starting]) {
      expect(lifecycle.daemonized).toBe(true);
      expect(effects).toEqual([{ type: 'follow-daemon' }]);
    }
  });

  test('a first process that fails is none, whoever serves', () => {
    expect(lived({}, ...SERVES, ended(FAILED, { left: true, serves: true })).lifecycle).toMatchObject({
      phase: 'cleaning',
      daemonized: false,
    });
  });

  test('its children that never served after it did are none', () => {
    expect(lived({}, ...SERVES, ended(OK, { left: true })).lifecycle.daemonized).toBe(false);
  });

  test('the end of one is the end of the server', () => {
    const followed = [...SERVES, ended(OK, { left: true, serves: true })] as const;
    const killed: LifecycleEvent = { type: 'daemon-ended', end: KILLED, left: false };
    expect(lived({}, ...followed, killed).effects).toContainEqual({ type: 'spawn' });
    expect(lived({ restart: 'never' }, ...followed, killed).effects).toContainEqual({
      type: 'end',
      exitCode: 137,
    });
    expect(lived({}, ...followed, { type: 'daemon-ended', end: OK, left: false }).lifecycle.phase).toBe(
      'ended',
    );
  });
});

describe('stop', () => {
  test('closes the entrance, then asks the server, and kills it when the time is over', () => {
    const { lifecycle, effects } = lived({ stopSignal: 'SIGQUIT', stopTimeoutMs: 5 }, ...SERVES, STOP);
    expect(lifecycle.phase).toBe('stopping');
    expect(effects).toContainEqual({ type: 'start-timer', timer: 'stop', ms: 5 });
    const order = effects.map(({ type }) => type);
    expect(order.indexOf('close-entrance')).toBeLessThan(order.indexOf('signal-root'));
    expect(effects).toContainEqual({ type: 'signal-root', signal: 'SIGQUIT' });
    const late = step(lifecycle, { type: 'stop-timeout' });
    expect(late.effects).toEqual([{ type: 'signal-tree', signal: 'SIGKILL' }]);
    expect(step(late.lifecycle, ended(KILLED)).effects).toContainEqual({ type: 'end', exitCode: 137 });
  });

  test('passes on the signal that it was asked by, unless the terminal has', () => {
    const asked: LifecycleEvent = { type: 'stop-requested', signal: 'SIGINT', delivered: false };
    expect(signalled(lived({}, ...SERVES, asked).effects)).toEqual(['SIGINT']);
    expect(signalled(lived({}, ...SERVES, { ...asked, delivered: true }).effects)).toEqual([]);
  });

  test('asked for twice, kills at once', () => {
    expect(lived({}, ...SERVES, STOP, STOP).effects).toEqual([{ type: 'signal-tree', signal: 'SIGKILL' }]);
  });

  test('what the first process leaves behind is asked too, and waited for', () => {
    const { lifecycle, effects } = lived({}, ...SERVES, STOP, ended(OK, { left: true }));
    expect(effects).toEqual([{ type: 'signal-tree', signal: 'SIGTERM' }]);
    expect(step(lifecycle, GONE).effects).toContainEqual({ type: 'end', exitCode: 0 });
  });

  test('never starts anything, whatever the policy', () => {
    expect(lived({ restart: 'always' }, ...SERVES, STOP, ended(KILLED)).lifecycle.phase).toBe('ended');
    expect(
      lived({ restart: 'always' }, ...SERVES, ended(KILLED, { left: true }), STOP, GONE).lifecycle.phase,
    ).toBe('ended');
  });

  test('between two starts is the end, with the last exit code', () => {
    const { lifecycle, effects } = lived({}, ...SERVES, ended(KILLED), ended(FAILED), STOP);
    expect(lifecycle.phase).toBe('ended');
    expect(effects).toContainEqual({ type: 'stop-timer', timer: 'backoff' });
    expect(effects).toContainEqual({ type: 'end', exitCode: 1 });
  });
});

test('exit codes are spelled as a shell does', () => {
  expect([OK, FAILED, KILLED, null].map(exitCodeOf)).toEqual([0, 1, 137, 0]);
  expect(exitCodeOf({ code: null, signal: 'SIGTERM' })).toBe(143);
});

function ended(end: WorkerEnd, { left = false, serves = false } = {}): LifecycleEvent {
  return { type: 'root-ended', end, left, serves };
}

/** The lifecycle after these events, and the effects of the last one. */
function lived(
  policy: Partial<Policy>,
  ...events: readonly LifecycleEvent[]
): { readonly lifecycle: Lifecycle; readonly effects: readonly Effect[] } {
  return events.reduce(({ lifecycle }, event) => step(lifecycle, event), begin({ ...POLICY, ...policy }));
}

function signalled(effects: readonly Effect[]): string[] {
  return effects.flatMap((effect) => ('signal' in effect ? [effect.signal] : []));
}
