import type { ReloadOutcome } from '../keeper/generations.js';
import { checkName } from '../keeper/state.js';
import { formatDuration } from '../model/duration.js';
import { defaultName } from '../model/keeper-name.js';
import { askNamed } from './ask-named.js';

/** `holdfast reload`: exit 0 when the new generation has taken over, 1 when it failed and the former one goes on. */
export async function reload(
  given: string | undefined,
  { newAddresses = false }: { readonly newAddresses?: boolean },
): Promise<void> {
  const name = checkName(given ?? defaultName(process.cwd()));
  tellOutcome(await askNamed(name, newAddresses ? '/reload?new-addresses' : '/reload', 0));
}

/** `holdfast restart`: exit 0 when the server serves again, 1 when it did not come up in time; it is tried on. */
export async function restart(given: string | undefined): Promise<void> {
  const name = checkName(given ?? defaultName(process.cwd()));
  tellOutcome(await askNamed(name, '/restart', 0));
}

/** `done`: what to say instead when nothing had to be reloaded. */
export function tellOutcome(answer: unknown, done?: string): void {
  const outcome = answer as ReloadOutcome;
  if (outcome.ok) {
    const took = `generation ${outcome.generation} has taken over after ${formatDuration(outcome.tookMs)}`;
    process.stdout.write(`${outcome.tookMs === 0 && done !== undefined ? done : took}\n`);
  } else {
    const so = outcome.goesOn ? 'the former server goes on' : 'the new one is started again as after a crash';
    process.stderr.write(`holdfast: the reload failed, ${so}: ${outcome.why}\n`);
    process.exitCode = 1;
  }
}
