import type { Load } from '../support/load.js';
import { until } from '../support/wait.js';

/** Requests on their way while a server keeps up with the load. */
const FEW = 10;
/** What the load must get from a server that keeps up. */
const ANSWERS = 40;

/**
 * Waits until the server has answered all who came while there was none, and some more. Whoever kills a server earlier
 * kills it before it can: on a busy machine more come during a start than are answered between two kills.
 */
export async function answersAll(load: Load): Promise<void> {
  await until('a server that keeps up', () => unanswered(load) <= FEW);
  const { ok } = load.counts();
  await until('more answers', () => load.counts().ok >= ok + ANSWERS);
}

function unanswered(load: Load): number {
  const { sent, ok, refused, reset, eof, hung, other } = load.counts();
  return sent - ok - refused - reset - eof - hung - other;
}
