import { useEffect, useMemo, useState } from 'preact/hooks';
import type { ScenarioRun } from '../src/watch/web/wire.js';
import { type Frame, framesOf } from './frames.js';

const STEP_MS = 1_400;

/** A scenario that is shown step by step. */
export interface Player {
  readonly run: ScenarioRun | undefined;
  readonly frames: readonly Frame[];
  readonly at: number;
  readonly frame: Frame | undefined;
  readonly isPlaying: boolean;
  readonly show: (run: ScenarioRun) => void;
  readonly goTo: (at: number) => void;
  readonly play: (isPlaying: boolean) => void;
  /** Back to the machine. */
  readonly leave: () => void;
}

export function usePlayer(): Player {
  const [run, setRun] = useState<ScenarioRun | undefined>(undefined);
  const [at, setAt] = useState(0);
  const [isPlaying, setPlaying] = useState(false);
  const frames = useMemo(() => (run === undefined ? [] : framesOf(run)), [run]);
  const isLast = at >= frames.length - 1;
  useEffect(() => {
    if (!isPlaying) return;
    if (isLast) return setPlaying(false);
    const timer = window.setTimeout(() => setAt(at + 1), STEP_MS);
    return () => window.clearTimeout(timer);
  }, [isPlaying, isLast, at]);
  return useMemo(
    () => ({
      ...{ run, frames, at, isPlaying, frame: frames[at] },
      show: (next) => {
        setRun(next);
        setAt(0);
        setPlaying(true);
      },
      goTo: (next) => {
        setPlaying(false);
        setAt(Math.max(0, Math.min(next, frames.length - 1)));
      },
      play: (next) => {
        if (next && isLast) setAt(0);
        setPlaying(next);
      },
      leave: () => {
        setRun(undefined);
        setPlaying(false);
      },
    }),
    [run, frames, at, isPlaying, isLast],
  );
}
