import type { ComponentType, VNode } from 'preact';
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type uPlot from 'uplot';
import type { KeeperMark, WatchHistory } from '../src/watch/view.js';
import { chartOf, dataOf } from './chart.js';
import { memo } from './memo.js';
import { DASHES, describeMark, SHOWN_AT_FIRST, summaryOf, valuesOf } from './series.js';
import { formatCount, NODES, type NodeId, titleOf } from './states.js';

export interface TimelineProps {
  readonly history: WatchHistory;
  readonly marks: readonly KeeperMark[];
}

const MARKS_LISTED = 5;
/** In five minutes a second is hardly wider than a pixel, and drawing them is most of the work of an update. */
const DRAWN_EVERY_MS = 2_900;

/** Counts of the last minutes, and what keepers did meanwhile. */
export const Timeline: ComponentType<TimelineProps> = memo(({ history, marks }: TimelineProps): VNode => {
  const [shown, setShown] = useState(SHOWN_AT_FIRST);
  const [isLog, setLog] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const now = useRef({ history, marks, shown });
  now.current = { history, marks, shown };
  const chart = useChart(box, isLog, now);
  const drawn = useRef(history);
  // In the frame in which the rest is drawn.
  useLayoutEffect(() => {
    const sinceMs = (history.atMs.at(-1) ?? 0) - (drawn.current.atMs.at(-1) ?? 0);
    if (sinceMs >= 0 && sinceMs < DRAWN_EVERY_MS) return;
    drawn.current = history;
    chart.current?.setData(dataOf(history));
  }, [chart, history]);
  const toggle = useCallback(
    (id: NodeId): void => {
      const next = new Set(now.current.shown);
      if (!next.delete(id)) next.add(id);
      setShown(next);
      chart.current?.setSeries(NODES.indexOf(id) + 1, { show: next.has(id) });
    },
    [chart],
  );
  return (
    <>
      <p class="hidden">{summaryOf(history)}</p>
      <div class="chart" ref={box} aria-hidden="true" />
      <div class="legend">
        {NODES.map((id) => (
          <LegendButton
            key={id}
            id={id}
            isOn={shown.has(id)}
            value={valuesOf(history, id).at(-1) ?? 0}
            toggle={toggle}
          />
        ))}
        <button type="button" class="scale" aria-pressed={isLog} onClick={() => setLog(!isLog)}>
          log scale
        </button>
      </div>
      {marks.length > 0 && (
        <ol class="marks" aria-label="What keepers did">
          {marks
            .slice(-MARKS_LISTED)
            .reverse()
            .map((mark) => (
              <li key={`${mark.atMs} ${mark.keeper} ${mark.kind}`}>
                <time>{new Date(mark.atMs).toTimeString().slice(0, 8)}</time> {describeMark(mark)}
              </li>
            ))}
        </ol>
      )}
    </>
  );
});

interface Shown extends TimelineProps {
  readonly shown: ReadonlySet<NodeId>;
}

/** Drawn anew for other colours and another scale, and as wide as its box. */
function useChart(
  box: { readonly current: HTMLElement | null },
  isLog: boolean,
  now: { readonly current: Shown },
): { readonly current: uPlot | undefined } {
  const chart = useRef<uPlot | undefined>(undefined);
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const draw = (): void => {
      chart.current?.destroy();
      const { history, shown } = now.current;
      chart.current = chartOf({ box: element, shown, isLog, marks: () => now.current.marks }, history);
    };
    draw();
    const dark = window.matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', draw);
    const observer = new ResizeObserver(() => {
      const { current } = chart;
      const width = element.clientWidth;
      if (current !== undefined && width > 0 && width !== current.width) {
        current.setSize({ width, height: current.height });
      }
    });
    observer.observe(element);
    return () => {
      dark.removeEventListener('change', draw);
      observer.disconnect();
      chart.current?.destroy();
      chart.current = undefined;
    };
  }, [box, isLog, now]);
  return chart as { readonly current: uPlot | undefined };
}

interface LegendButtonProps {
  readonly id: NodeId;
  readonly isOn: boolean;
  readonly value: number;
  readonly toggle: (id: NodeId) => void;
}

const LegendButton = memo(({ id, isOn, value, toggle }: LegendButtonProps) => (
  <button type="button" aria-pressed={isOn} data-series={id} onClick={() => toggle(id)}>
    <svg width="26" height="8" aria-hidden="true" data-of={id}>
      <line x1="0" y1="4" x2="26" y2="4" stroke-dasharray={DASHES[id].join(' ') || undefined} />
    </svg>
    {titleOf(id)} <b>{formatCount(value)}</b>
  </button>
));
