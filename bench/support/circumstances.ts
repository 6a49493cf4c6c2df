import type { Requirement } from '../../scripts/requirements.js';
import type { Circumstances } from './docs.js';
import { machine, programs } from './machine.js';

/** What the work measures, with what it depends on; `names` are the programs that take part. */
export async function withCircumstances<F extends object>(
  names: readonly Requirement[],
  work: () => Promise<F>,
): Promise<F & Circumstances> {
  const startMs = performance.now();
  const measuredAt = new Date().toISOString();
  const figures = await work();
  return {
    measuredAt,
    tookSeconds: Math.round((performance.now() - startMs) / 1_000),
    machine: machine(),
    programs: programs(names),
    ...figures,
  };
}
