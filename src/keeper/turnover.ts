/**
 * How one generation takes over from another.
 *
 * `steady`: one generation, no reload. `emptying`: without overlap: the old one is being stopped first. `starting`: the
 * candidate starts and is not ready. `discarding`: it failed and is being ended. `draining`: it has taken over, the old
 * one finishes what it has. `parked`: the old one has nothing to do, and is kept for a way back. `retiring`: it is being
 * stopped. `releasing`: the server is being stopped so that somebody else can have its port. `released`: he can.
 * `stopping`: everything is being stopped; no reload any more.
 */
export type Stage =
  | 'steady'
  | 'emptying'
  | 'starting'
  | 'discarding'
  | 'draining'
  | 'parked'
  | 'retiring'
  | 'releasing'
  | 'released'
  | 'stopping';

/** Whether the server makes room for somebody else: it is not to be started before `take`. */
export function isReleased(stage: Stage): boolean {
  return stage === 'releasing' || stage === 'released';
}

/** A reload without a process in it. `turn` is its only way to change. */
export interface Turnover {
  readonly stage: Stage;
  /** One more reload was asked for and waits for the end of this one. Further requests join it. */
  readonly waiting: boolean;
  /** Whether old and new run at the same time in the reload that goes on. */
  readonly overlaps: boolean;
  /** Whether there was a way back, and it was taken: what it came from is not kept for another one. */
  readonly wentBack: boolean;
}

export type TurnoverEvent =
  /** `overlap`: both may run at once. `dead`: nobody of the present generation runs: there is nothing to overlap with. */
  | { readonly type: 'requested'; readonly overlap: boolean; readonly dead: boolean }
  | { readonly type: 'ready' }
  /** The candidate ended, listens elsewhere or is late. Not `started`: nothing of it could be started at all. */
  | { readonly type: 'failed'; readonly started: boolean }
  /** The old generation has finished what it had, or its time is over. `park`: it is to be kept for a while. */
  | { readonly type: 'drained'; readonly park: boolean }
  /** The old generation has been kept for long enough. */
  | { readonly type: 'park-over' }
  /** Back to the old generation, as long as it is not being stopped. */
  | { readonly type: 'back-requested' }
  /** The server is to make room for somebody else. */
  | { readonly type: 'release-requested' }
  /** Nothing of the old generation is left. */
  | { readonly type: 'old-ended' }
  /** Nothing of the failed candidate is left. */
  | { readonly type: 'candidate-ended' }
  | { readonly type: 'stop-requested' };

export type TurnoverEffect =
  /** A reload begins: whoever waited for it is to be told how it goes. */
  | { readonly type: 'begin' }
  | { readonly type: 'start-candidate' }
  /** Start the new generation with the sockets of the old one, which is gone. */
  | { readonly type: 'start-successor' }
  | { readonly type: 'discard-candidate' }
  /** New connections go to the candidate from now on. */
  | { readonly type: 'switch' }
  | { readonly type: 'drain-old' }
  /** Wait with its end; `park-over` when it comes. */
  | { readonly type: 'park-old' }
  /** The old generation is the active one again, and what was active is the old one. */
  | { readonly type: 'switch-back' }
  | { readonly type: 'stop-old' }
  /** Let go of the sockets: the port is free. */
  | { readonly type: 'let-go' }
  /** Tell those who asked for the reload how it went. */
  | { readonly type: 'answer'; readonly outcome: 'reloaded' | 'failed' | 'stopped' }
  /** Tell those who wait for the next one that there is none. */
  | { readonly type: 'turn-away' }
  /** The reload that waited may begin: request it. */
  | { readonly type: 'ask-again' };

export interface Turn {
  readonly turnover: Turnover;
  readonly effects: readonly TurnoverEffect[];
}

/** Before the first reload. */
export function steady(): Turnover {
  return { stage: 'steady', waiting: false, overlaps: true, wentBack: false };
}

/** What becomes of a reload by one event. The caller performs the effects in order. */
export function turn(before: Turnover, event: TurnoverEvent): Turn {
  switch (event.type) {
    case 'requested':
      return requested(before, event);
    case 'ready':
      if (before.stage !== 'starting') return unchanged(before);
      return before.overlaps
        ? {
            turnover: { ...before, stage: 'draining' },
            effects: [{ type: 'switch' }, { type: 'answer', outcome: 'reloaded' }, { type: 'drain-old' }],
          }
        : over(before, [{ type: 'answer', outcome: 'reloaded' }]);
    case 'failed':
      if (before.stage !== 'starting') return unchanged(before);
      if (before.overlaps) {
        return { turnover: { ...before, stage: 'discarding' }, effects: [{ type: 'discard-candidate' }] };
      }
      // There is nothing to go back to: the new one is started again as after any crash.
      return event.started
        ? over(before, [{ type: 'answer', outcome: 'failed' }])
        : {
            turnover: { ...before, stage: 'released', waiting: false },
            effects: [
              { type: 'answer', outcome: 'failed' },
              ...(before.waiting ? [{ type: 'ask-again' } as const] : []),
            ],
          };
    case 'candidate-ended':
      return before.stage === 'discarding'
        ? over(before, [{ type: 'answer', outcome: 'failed' }])
        : unchanged(before);
    case 'drained':
      if (before.stage !== 'draining') return unchanged(before);
      return event.park && !before.waiting && !before.wentBack
        ? { turnover: { ...before, stage: 'parked' }, effects: [{ type: 'park-old' }] }
        : retire(before);
    case 'park-over':
      return before.stage === 'parked' ? retire(before) : unchanged(before);
    case 'back-requested':
      if (before.wentBack || (before.stage !== 'draining' && before.stage !== 'parked'))
        return unchanged(before);
      return {
        turnover: { ...before, stage: 'draining', wentBack: true },
        effects: [{ type: 'switch-back' }, { type: 'drain-old' }],
      };
    case 'release-requested':
      return before.stage === 'steady'
        ? { turnover: { ...before, stage: 'releasing', overlaps: false }, effects: [{ type: 'stop-old' }] }
        : unchanged(before);
    case 'old-ended':
      return oldEnded(before);
    case 'stop-requested':
      return stopped(before);
  }
}

function retire(before: Turnover): Turn {
  return { turnover: { ...before, stage: 'retiring' }, effects: [{ type: 'stop-old' }] };
}

function oldEnded(before: Turnover): Turn {
  switch (before.stage) {
    case 'emptying':
      return { turnover: { ...before, stage: 'starting' }, effects: [{ type: 'start-successor' }] };
    case 'releasing': {
      const turnover: Turnover = { ...before, stage: 'released', waiting: false };
      const effects: readonly TurnoverEffect[] = [{ type: 'let-go' }];
      return { turnover, effects: before.waiting ? [...effects, { type: 'ask-again' }] : effects };
    }
    case 'draining':
    case 'parked':
    case 'retiring':
      return over(before, []);
    default:
      return unchanged(before);
  }
}

type Request = Extract<TurnoverEvent, { readonly type: 'requested' }>;

function requested(before: Turnover, request: Request): Turn {
  switch (before.stage) {
    case 'steady':
      return start(before, request);
    case 'released':
      // Nobody of it runs.
      return start(before, { ...request, dead: true });
    case 'parked': {
      // Whoever is kept for a way back stands in the way of the next.
      const { turnover, effects } = retire(before);
      return { turnover: { ...turnover, waiting: true }, effects };
    }
    case 'emptying':
    case 'starting':
    case 'discarding':
    case 'draining':
    case 'retiring':
    case 'releasing':
      return unchanged({ ...before, waiting: true });
    case 'stopping':
      return { turnover: before, effects: [{ type: 'turn-away' }] };
  }
}

function start(before: Turnover, { overlap, dead }: Request): Turn {
  const overlaps = overlap && !dead;
  const turnover: Turnover = { ...before, overlaps, stage: dead || overlaps ? 'starting' : 'emptying' };
  const first: TurnoverEffect = dead
    ? { type: 'start-successor' }
    : { type: overlaps ? 'start-candidate' : 'stop-old' };
  return { turnover, effects: [{ type: 'begin' }, first] };
}

function over(before: Turnover, effects: readonly TurnoverEffect[]): Turn {
  return {
    turnover: { ...before, stage: 'steady', waiting: false, wentBack: false },
    effects: before.waiting ? [...effects, { type: 'ask-again' }] : effects,
  };
}

function stopped(before: Turnover): Turn {
  const turnover: Turnover = { ...before, stage: 'stopping', waiting: false };
  const away: readonly TurnoverEffect[] = before.waiting ? [{ type: 'turn-away' }] : [];
  switch (before.stage) {
    case 'steady':
    case 'stopping':
    case 'retiring':
    case 'releasing':
    case 'released':
      return { turnover, effects: away };
    case 'emptying':
      return { turnover, effects: [{ type: 'answer', outcome: 'stopped' }, ...away] };
    case 'starting':
    case 'discarding':
      return {
        turnover,
        effects: [
          ...(before.overlaps ? [{ type: 'discard-candidate' } as const] : []),
          { type: 'answer', outcome: 'stopped' },
          ...away,
        ],
      };
    case 'draining':
    case 'parked':
      return { turnover, effects: [{ type: 'stop-old' }, ...away] };
  }
}

function unchanged(turnover: Turnover): Turn {
  return { turnover, effects: [] };
}
