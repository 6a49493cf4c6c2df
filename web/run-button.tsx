import type { VNode } from 'preact';
import { useEffect, useState } from 'preact/hooks';

export interface RunButtonProps {
  readonly name: string;
  /** Since when it runs; undefined: it does not. */
  readonly sinceMs: number | undefined;
  readonly isDisabled: boolean;
  readonly run: () => void;
}

/** Plays a scenario, and tells for how long it has been at it. */
export function RunButton({ name, sinceMs, isDisabled, run }: RunButtonProps): VNode {
  const [nowMs, setNowMs] = useState(0);
  useEffect(() => {
    if (sinceMs === undefined) return;
    setNowMs(Date.now());
    const timer = window.setInterval(() => setNowMs(Date.now()), 1_000);
    return () => window.clearInterval(timer);
  }, [sinceMs]);
  const seconds = sinceMs === undefined ? 0 : Math.max(0, Math.round((nowMs - sinceMs) / 1_000));
  return (
    <button
      type="button"
      class="small"
      disabled={isDisabled}
      aria-label={`run ${name}`}
      data-action="run"
      onClick={run}
    >
      {sinceMs === undefined ? 'run' : `running, ${seconds} s`}
    </button>
  );
}
