import { type Batch, batches } from '../model/batch.js';
import { answerOf, holdfastCommand, type Silence } from './answer.js';
import type { FanResult } from './fan.js';

export interface RollingOptions {
  /** How many hosts at a time: a number, or a share of all as in `'10%'`. Default 1. */
  readonly batch?: Batch | undefined;
  /** When one fails no other is begun. Default false: the next batch follows all the same. */
  readonly stopOnFailure?: boolean | undefined;
  readonly onBatch?:
    | ((batch: { readonly number: number; readonly of: number; readonly hosts: readonly string[] }) => void)
    | undefined;
}

export interface ReloadWords {
  /** Of the keeper, at every host. */
  readonly name: string;
  readonly newAddresses?: boolean | undefined;
  /** How holdfast is called there. Default: `holdfast`, from the remote PATH. */
  readonly holdfast?: readonly string[] | undefined;
}

/** What became of the server of a host. */
export type ReloadAt =
  | { readonly host: string; readonly ok: true; readonly generation: number; readonly tookMs: number }
  | {
      readonly host: string;
      readonly ok: false;
      /** The new generation did not come up. */
      readonly reason: 'reload-failed';
      readonly text: string;
      /** Whether the former one serves as before. */
      readonly goesOn: boolean;
    }
  | Silence;

type Outcome =
  | { readonly ok: true; readonly generation: number; readonly tookMs: number }
  | { readonly ok: false; readonly why: string; readonly goesOn: boolean };

/**
 * Reloads at every host, a batch after the other, the next only when the one before is over. At the end come those that were
 * not begun. `run` is `fan` with all but hosts and command.
 */
export async function* rollOver(
  hosts: readonly string[],
  { batch = 1, stopOnFailure = false, onBatch }: RollingOptions,
  noMore: AbortSignal | undefined,
  run: (hosts: readonly string[], noMore: AbortSignal) => AsyncIterable<FanResult>,
): AsyncGenerator<ReloadAt> {
  const failed = new AbortController();
  const over = noMore === undefined ? failed.signal : AbortSignal.any([noMore, failed.signal]);
  const left = new Set(hosts);
  const all = batches(hosts, batch);
  for (const [index, some] of all.entries()) {
    if (over.aborted) break;
    onBatch?.({ number: index + 1, of: all.length, hosts: some });
    for await (const result of run(some, over)) {
      const at = reloadAt(result);
      left.delete(at.host);
      if (!at.ok && stopOnFailure) failed.abort();
      yield at;
    }
  }
  for (const host of left) yield { host, ok: false, reason: 'not-begun', text: 'not begun' };
}

/** The command that reloads at a host. */
export function reloadWords({ name, newAddresses, holdfast = ['holdfast'] }: ReloadWords): readonly string[] {
  return holdfastCommand(holdfast, [
    ...['reload', '--json', ...(newAddresses ? ['--new-addresses'] : []), name],
  ]);
}

function reloadAt(result: FanResult): ReloadAt {
  const read = answerOf(result, { statuses: [0, 1], read: outcomeIn });
  if (!read.ok) return read;
  const { host, answer } = read;
  if (answer.ok) return { host, ok: true, generation: answer.generation, tookMs: answer.tookMs };
  return { host, ok: false, reason: 'reload-failed', text: answer.why, goesOn: answer.goesOn };
}

function outcomeIn(json: unknown): Outcome | undefined {
  const { ok, generation, tookMs, why, goesOn } = Object(json) as Readonly<Record<string, unknown>>;
  if (ok === true && typeof generation === 'number' && typeof tookMs === 'number')
    return { ok, generation, tookMs };
  if (ok === false && typeof why === 'string' && typeof goesOn === 'boolean') return { ok, why, goesOn };
  return undefined;
}
