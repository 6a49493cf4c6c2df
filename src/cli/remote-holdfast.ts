import { HoldfastError } from '../errors.js';
import { foldHosts } from '../fan/host-list.js';
import type { NoAnswer, Silence } from '../index.js';

/** The words of `--remote-holdfast`: a program, or a command line without quotes such as `sudo -n holdfast`. */
export function remoteHoldfast(text = 'holdfast'): readonly string[] {
  const words = text.split(/\s+/).filter((word) => word !== '');
  if (words.length > 0) return words;
  throw new HoldfastError('ERR_HOLDFAST_OPTION', '--remote-holdfast says how holdfast is called there');
}

const WORDS: Readonly<Record<NoAnswer, string>> = {
  unreachable: 'not reached',
  lost: 'the connection was lost',
  'timed-out': 'no answer in time',
  stopped: 'not waited for',
  'not-begun': 'not begun',
  'no-holdfast': 'no holdfast there, or no node; --remote-holdfast says how it is called',
  'other-version': 'a holdfast of another version',
  failed: 'holdfast failed',
};

/** Why a host has not answered, in a line. */
export function describeSilence({ reason, text }: Silence): string {
  return reason === 'stopped' ? WORDS[reason] : `${WORDS[reason]}: ${text}`;
}

/** Says on stderr which hosts have not answered, those with the same words together. */
export function tellSilent(silent: readonly Silence[]): void {
  for (const some of groupBy(silent, describeSilence).values()) {
    const [first] = some as [Silence];
    process.stderr.write(`holdfast: ${foldHosts(some.map(({ host }) => host))}: ${describeSilence(first)}\n`);
  }
}

/** In the order of the first of each. */
export function groupBy<T>(all: readonly T[], keyOf: (one: T) => string): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const key = keyOf(one);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return groups;
}
