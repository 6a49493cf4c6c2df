// Keepers that are killed, and those that come after them.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KeeperState } from '../../src/index.js';
import { type RunningKeeper, startKeeper } from '../support/keeper.js';

/** What a keeper has written down, with what is for its successor, as far as tests look at that. */
export type WrittenState = KeeperState & { readonly recovery: Recovery };

interface Recovery {
  readonly holder: { readonly pid: number } | null;
  readonly notifiers: readonly { readonly lastId: { readonly bigint: string } }[];
  readonly generations: readonly {
    readonly workers: readonly { readonly failures: number }[];
    readonly sockets: readonly { readonly confirmed: boolean }[];
  }[];
}

export function stateFileOf({ env, name }: RunningKeeper): string {
  return join(env.HOLDFAST_STATE_DIR, `${name}.json`);
}

/** @throws ENOENT while it has written nothing */
export function stateOf(keeper: RunningKeeper): WrittenState {
  return keeper.state() as WrittenState;
}

/** Has a keeper that was killed have written something else for its successor, as one that had no time to write it. */
// biome-ignore lint/suspicious/noExplicitAny: it may be anything in there
export function rewriteRecovery(keeper: RunningKeeper, change: (recovery: any) => void): void {
  const state = stateOf(keeper);
  change(state.recovery);
  writeFileSync(stateFileOf(keeper), JSON.stringify(state));
}

/** Kills the keeper with SIGKILL once its holder is written down. */
export async function killed(keeper: RunningKeeper): Promise<void> {
  await keeper.untilState('a state with a holder', () => stateOf(keeper).recovery.holder !== null);
  await killedNow(keeper);
}

/** The same at once. */
export async function killedNow(keeper: RunningKeeper): Promise<void> {
  keeper.process.kill('SIGKILL');
  await keeper.process.exited;
}

/** Starts the next keeper of that name. */
export function successor(
  keeper: RunningKeeper,
  command: readonly string[],
  flags: readonly string[] = [],
): RunningKeeper {
  return startKeeper(command, { beside: keeper, flags });
}
