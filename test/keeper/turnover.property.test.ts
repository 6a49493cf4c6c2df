import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  steady,
  type Turnover,
  type TurnoverEffect,
  type TurnoverEvent,
  turn,
} from '../../src/keeper/turnover.js';

const anyEvent: fc.Arbitrary<TurnoverEvent> = fc.oneof(
  fc.record({ type: fc.constant('requested' as const), overlap: fc.boolean(), dead: fc.boolean() }),
  fc.constantFrom<TurnoverEvent>(
    { type: 'ready' },
    { type: 'failed', started: true },
    { type: 'failed', started: false },
    { type: 'drained', park: false },
    { type: 'drained', park: true },
    { type: 'park-over' },
    { type: 'back-requested' },
    { type: 'release-requested' },
    { type: 'old-ended' },
    { type: 'candidate-ended' },
    { type: 'stop-requested' },
  ),
);

/** The generations that are alive, as whoever performs the effects has them, and who waits for an answer. */
interface World {
  readonly active: boolean;
  readonly candidate: boolean;
  readonly old: boolean;
  /** Requests that wait for the present reload, and for the next. */
  readonly asked: number;
  readonly waiting: number;
}

const RUNS = Number(process.env.HOLDFAST_TEST_TURNOVERS ?? 20_000);

test('whatever happens in whatever order, a generation serves, and every request is answered once', () => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 60 }), (events) => {
      let turnover = steady();
      let world: World = { active: true, candidate: false, old: false, asked: 0, waiting: 0 };
      for (const event of events) {
        const possible = whatHappens(turnover, world, event);
        if (possible === undefined) continue;
        [turnover, world] = play(turnover, possible.world, possible.event);
        expectSound(turnover, world);
      }
      // Everything that is on its way comes to an end.
      [turnover, world] = play(turnover, world, { type: 'stop-requested' });
      expect([turnover.stage, world.asked, world.waiting]).toEqual(['stopping', 0, 0]);
    }),
    { numRuns: RUNS },
  );
}, 600_000);

/** Only what can happen: an event of a generation that is not there comes from nobody. */
function whatHappens(
  { stage, overlaps }: Turnover,
  world: World,
  event: TurnoverEvent,
): { readonly world: World; readonly event: TurnoverEvent } | undefined {
  switch (event.type) {
    case 'requested':
      return { world: { ...world, waiting: world.waiting + 1 }, event };
    case 'ready':
    case 'failed': {
      if (stage !== 'starting' || !(overlaps ? world.candidate : world.active)) return undefined;
      const isNothing = event.type === 'failed' && !event.started && !overlaps;
      return { world: isNothing ? { ...world, active: false } : world, event };
    }
    case 'candidate-ended':
      return world.candidate && stage === 'discarding'
        ? { world: { ...world, candidate: false }, event }
        : undefined;
    case 'drained':
    case 'park-over':
      return world.old ? { world, event } : undefined;
    case 'old-ended':
      if (world.old) return { world: { ...world, old: false }, event };
      return stage === 'emptying' || stage === 'releasing'
        ? { world: { ...world, active: false }, event }
        : undefined;
    case 'back-requested':
    case 'release-requested':
    case 'stop-requested':
      return { world, event };
  }
}

function play(turnover: Turnover, world: World, event: TurnoverEvent): [Turnover, World] {
  const { turnover: next, effects } = turn(Object.freeze(turnover), event);
  return effects.reduce(perform, [next, world]);
}

function perform([turnover, world]: [Turnover, World], effect: TurnoverEffect): [Turnover, World] {
  switch (effect.type) {
    case 'begin':
      // Nobody is forgotten for the next.
      expect(world.asked).toBe(0);
      return [turnover, { ...world, asked: world.waiting, waiting: 0 }];
    case 'start-candidate':
      expect([world.candidate, world.old]).toEqual([false, false]);
      return [turnover, { ...world, candidate: true }];
    case 'start-successor':
      expect([world.candidate, world.old]).toEqual([false, false]);
      return [turnover, { ...world, active: true }];
    case 'discard-candidate':
      expect(world.candidate).toBe(true);
      return [turnover, world];
    case 'switch':
      expect([world.candidate, world.old]).toEqual([true, false]);
      return [turnover, { ...world, candidate: false, old: true }];
    case 'drain-old':
    case 'park-old':
    case 'switch-back':
      expect(world.old).toBe(true);
      return [turnover, world];
    case 'let-go':
      expect([world.active, world.candidate, world.old]).toEqual([false, false, false]);
      return [turnover, world];
    case 'stop-old':
      expect(world.old || turnover.stage === 'emptying' || turnover.stage === 'releasing').toBe(true);
      return [turnover, world];
    case 'answer':
      return [turnover, { ...world, asked: 0 }];
    case 'turn-away':
      return [turnover, { ...world, waiting: 0 }];
    case 'ask-again':
      expect(world.waiting).toBeGreaterThan(0);
      return play(turnover, world, { type: 'requested', overlap: true, dead: false });
  }
}

function expectSound({ stage, waiting, overlaps }: Turnover, world: World): void {
  // The one that serves is never let go of but to start its successor.
  if (overlaps && stage !== 'stopping') expect(world.active).toBe(true);
  if (stage === 'parked') expect([world.old, waiting]).toEqual([true, false]);
  if (stage === 'steady') expect([world.candidate, world.old, world.asked]).toEqual([false, false, 0]);
  if (stage !== 'stopping') expect(waiting).toBe(world.waiting > 0);
  else expect([world.asked, world.waiting]).toEqual([0, 0]);
}
