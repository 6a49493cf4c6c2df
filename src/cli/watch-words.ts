import type { Transition } from '../watch/view.js';

const TOLD = 6;

/** The most frequent ones, in words: `12 ESTABLISHED -> FIN_WAIT1 (active)`. */
export function describeTransitions(transitions: readonly Transition[]): readonly string[] {
  const words = transitions.slice(0, TOLD).map(({ from, to, closing, count }) => {
    const what =
      from === null && to === null
        ? 'came and ended'
        : to === null
          ? `${from} ended`
          : `${from ?? 'new'} -> ${to}`;
    return `${count} ${what}${closing === null ? '' : ` (${closing})`}`;
  });
  const left = transitions.length - words.length;
  return left > 0 ? [...words, `${left} other ways`] : words;
}
