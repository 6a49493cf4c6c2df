import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  begin,
  type Effect,
  type Lifecycle,
  type LifecycleEvent,
  type Policy,
  step,
  type TimerName,
  type WorkerEnd,
} from '../../src/keeper/lifecycle.js';

const policy: fc.Arbitrary<Policy> = fc.record({
  restart: fc.constantFrom('always', 'on-failure', 'never'),
  stopSignal: fc.constantFrom('SIGTERM', 'SIGINT', 'SIGQUIT'),
  stopTimeoutMs: fc.nat(20_000),
  maxBackoffMs: fc.constantFrom(0, 100, 10_000),
  firstBackoffMs: fc.constantFrom(0, 100),
});

const end: fc.Arbitrary<WorkerEnd> = fc.constantFrom(
  { code: 0, signal: null },
  { code: 3, signal: null },
  { code: null, signal: 'SIGKILL' },
  { code: null, signal: 'SIGTERM' },
);

const anyEvent: fc.Arbitrary<LifecycleEvent> = fc.oneof(
  fc.constantFrom<LifecycleEvent>(
    { type: 'listened' },
    { type: 'confirmed' },
    { type: 'steady' },
    { type: 'tree-gone' },
    { type: 'cleanup-timeout' },
    { type: 'renewal-requested' },
    { type: 'backoff-over' },
    { type: 'stop-timeout' },
  ),
  fc.record({
    type: fc.constant('root-ended' as const),
    end,
    left: fc.boolean(),
    serves: fc.boolean(),
  }),
  fc.record({ type: fc.constant('daemon-ended' as const), end, left: fc.boolean() }),
  fc.record({ type: fc.constant('stop-requested' as const), delivered: fc.boolean() }),
);

/** Which of the things that could happen next does happen. */
const choices = fc.array(fc.tuple(fc.nat(), end), { maxLength: 60 });

/** Of each property. */
const RUNS = Number(process.env.HOLDFAST_TEST_LIFECYCLES ?? 2_000);
const TEST_MS = 60_000 + RUNS;

test(
  'whatever happens in whatever order, ended is final and says so once',
  () => {
    fc.assert(
      fc.property(policy, fc.array(anyEvent, { maxLength: 40 }), (given, events) => {
        let { lifecycle } = begin(given);
        let ends = 0;
        for (const event of events) {
          const before = lifecycle;
          const after = step(Object.freeze(before), event);
          ends += after.effects.filter(({ type }) => type === 'end').length;
          if (before.phase === 'ended')
            expect(after).toMatchObject({ lifecycle: { phase: 'ended' }, effects: [] });
          else expect(after.lifecycle.phase === 'ended').toBe(ends === 1);
          lifecycle = after.lifecycle;
        }
        expect(ends).toBeLessThanOrEqual(1);
      }),
      { numRuns: RUNS },
    );
  },
  TEST_MS,
);

test(
  'a start comes only when nothing of the last worker lives and no timer of it runs',
  () => {
    fc.assert(
      fc.property(policy, choices, (given, happening) => {
        const world = new World(given);
        for (const [choice, how] of happening) world.happen(choice, how);
        expect(world.wrongs).toEqual([]);
      }),
      { numRuns: RUNS },
    );
  },
  TEST_MS,
);

test(
  'from everywhere a stop ends it all, and nothing is started after it',
  () => {
    fc.assert(
      fc.property(policy, choices, choices, (given, before, after) => {
        const world = new World(given);
        for (const [choice, how] of before) world.happen(choice, how);
        const starts = world.starts;
        world.take({ type: 'stop-requested', delivered: false });
        for (const [choice, how] of after) world.happen(choice, how);
        world.take({ type: 'stop-requested', delivered: false });
        for (let left = 10; left > 0; left--) world.die();
        expect(world.lifecycle.phase).toBe('ended');
        expect(world.starts).toBe(starts);
        expect(world.wrongs).toEqual([]);
      }),
      { numRuns: RUNS },
    );
  },
  TEST_MS,
);

/** Processes and timers as a keeper has them: does what the effects say, and lets happen what then can. */
class World {
  lifecycle: Lifecycle;
  starts = 0;
  readonly wrongs: string[] = [];
  readonly #timers = new Set<TimerName>();
  #root = false;
  /** Descendants of the first process live. */
  #rest = false;
  /** Somebody looks for the end of the whole tree. */
  #watched = false;

  constructor(given: Policy) {
    const first = begin(given);
    this.lifecycle = first.lifecycle;
    for (const effect of first.effects) this.#perform(effect);
  }

  take(event: LifecycleEvent): void {
    const { lifecycle, effects } = step(this.lifecycle, event);
    this.lifecycle = lifecycle;
    for (const effect of effects) this.#perform(effect);
  }

  happen(choice: number, how: WorkerEnd): void {
    const possible = this.#possible(how);
    possible[choice % possible.length]?.();
  }

  /** What SIGKILL brings about, one process after the other. */
  die(): void {
    const how: WorkerEnd = { code: null, signal: 'SIGKILL' };
    if (this.#root) this.#endRoot(how, this.#rest);
    else if (this.#rest) this.#endRest(how, false);
  }

  #possible(how: WorkerEnd): readonly (() => void)[] {
    const lives = this.#root || this.#rest;
    return [
      () => this.take({ type: 'stop-requested', delivered: how.code === 0 }),
      ...[...this.#timers].map((timer) => () => this.#fire(timer)),
      ...(lives ? [() => this.take({ type: 'listened' }), () => this.take({ type: 'confirmed' })] : []),
      ...(this.#root ? [() => this.#fork(), () => this.#endRoot(how, this.#rest)] : []),
      ...(this.#root && this.#rest ? [() => this.#endRoot(how, false)] : []),
      ...(!this.#root && this.#rest ? [() => this.#endRest(how, false), () => this.#endRest(how, true)] : []),
    ];
  }

  #perform(effect: Effect): void {
    switch (effect.type) {
      case 'spawn':
        if (this.#root || this.#rest) this.wrongs.push('started beside a living worker');
        if (this.#timers.size > 0) this.wrongs.push(`started while timers run: ${[...this.#timers].join()}`);
        this.#root = true;
        this.#watched = false;
        this.starts++;
        return;
      case 'signal-root':
        this.#watched ||= !this.#root;
        return;
      case 'signal-tree':
        this.#watched = true;
        return;
      case 'start-timer':
        this.#timers.add(effect.timer);
        return;
      case 'stop-timer':
        this.#timers.delete(effect.timer);
        return;
      case 'end':
        if (this.#root || this.#rest) this.wrongs.push('ended beside a living worker');
        this.#timers.clear();
        return;
      case 'follow-daemon':
      case 'close-entrance':
        return;
    }
  }

  #fire(timer: TimerName): void {
    this.#timers.delete(timer);
    this.take(TIMER_EVENTS[timer]);
  }

  #fork(): void {
    this.#rest = true;
  }

  #endRoot(how: WorkerEnd, left: boolean): void {
    this.#root = false;
    this.#rest = left;
    const serves = left && this.lifecycle.phase === 'serving';
    this.take({ type: 'root-ended', end: how, left, serves });
  }

  /** `left`: only the one that was followed as a daemon, or one of many, has ended. */
  #endRest(how: WorkerEnd, left: boolean): void {
    this.#rest = left;
    if (this.lifecycle.daemonized && this.lifecycle.phase !== 'stopping') {
      this.take({ type: 'daemon-ended', end: how, left });
    } else if (!left && this.#watched) {
      this.#watched = false;
      this.take({ type: 'tree-gone' });
    } else if (!left) {
      this.wrongs.push('nobody saw the end of the tree');
    }
  }
}

const TIMER_EVENTS: Readonly<Record<TimerName, LifecycleEvent>> = {
  steady: { type: 'steady' },
  cleanup: { type: 'cleanup-timeout' },
  backoff: { type: 'backoff-over' },
  stop: { type: 'stop-timeout' },
};
