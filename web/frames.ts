import { ofStates } from '../src/watch/apply.js';
import type { ScenarioRun, ScenarioStep, StageSocket } from '../src/watch/web/wire.js';
import type { Edge } from './edges.js';
import { litBetween } from './lit.js';
import type { NodeCounts } from './states.js';

/** A step of a scenario that has been played, as the diagram shows it. */
export interface Frame {
  /** Which case, from 1, of how many. */
  readonly case: number;
  readonly cases: number;
  readonly when: string;
  readonly holds: boolean | null;
  /** Which step of its case, from 1, of how many. */
  readonly number: number;
  readonly steps: number;
  readonly step: ScenarioStep;
  /** Edges that were taken since the step before. */
  readonly lit: ReadonlySet<Edge>;
}

/** All steps of all cases. Each case begins without sockets. */
export function framesOf({ cases }: ScenarioRun): readonly Frame[] {
  return cases.flatMap(({ when, holds, steps }, at) =>
    steps.map((step, index) => ({
      ...{ case: at + 1, cases: cases.length, when, holds, number: index + 1, steps: steps.length, step },
      lit: litBetween(steps[index - 1]?.sockets ?? [], step.sockets),
    })),
  );
}

/** Accept queues of a scenario are not counted. */
export function stageCounts(sockets: readonly StageSocket[]): NodeCounts {
  const counts = ofStates((state) => sockets.filter((socket) => socket.state === state).length);
  return { ...counts, ACCEPT_QUEUE: undefined };
}

/** `lab: X-a, case 1 of 2, step 3 of 12` */
export function describeFrame(id: string, frame: Frame): string {
  const part = frame.cases === 1 ? '' : `case ${frame.case} of ${frame.cases}, `;
  return `lab: ${id}, ${part}step ${frame.number} of ${frame.steps}`;
}
