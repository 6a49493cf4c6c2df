import uPlot from 'uplot';
import type { KeeperMark, WatchHistory } from '../src/watch/view.js';
import { DASHES, valuesOf } from './series.js';
import { NODES, type NodeId, titleOf } from './states.js';

const HEIGHT = 230;
/** Of a linear scale up to here when all counts are small. */
const TOP_MIN = 5;
const FLAG_ROWS = 3;

export interface ChartOptions {
  readonly box: HTMLElement;
  readonly shown: ReadonlySet<NodeId>;
  /** Draws small counts beside large ones. */
  readonly isLog: boolean;
  readonly marks: () => readonly KeeperMark[];
}

/** A chart in the colours that the page has now. */
export function chartOf(options: ChartOptions, history: WatchHistory): uPlot {
  const { box, shown, isLog, marks } = options;
  const color = colorsOf(box);
  const font = '11px monospace';
  const axis = {
    stroke: color('--ink-soft'),
    font,
    ticks: { stroke: color('--line') },
    grid: { stroke: color('--line') },
  };
  return new uPlot(
    {
      width: Math.max(200, box.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: {
        x: { time: true },
        y: isLog
          ? { distr: 4, range: (_, __, max) => [0, Math.max(TOP_MIN, max * 1.2)] }
          : { range: (_, __, max) => [0, Math.max(TOP_MIN, max * 1.08)] },
      },
      axes: [
        { ...axis, space: 90, values: (_, splits) => splits.map(clock) },
        { ...axis, size: 58, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5] },
      ],
      series: [
        {},
        ...NODES.map((id) => ({
          label: titleOf(id),
          show: shown.has(id),
          stroke: color(`--s-${id}`),
          width: 1.75,
          dash: [...DASHES[id]],
          points: { show: false },
        })),
      ],
      hooks: { draw: [(chart) => drawMarks(chart, marks(), color('--ink'), color('--paper'), font)] },
    },
    dataOf(history),
    box,
  );
}

/** States that had no sockets at all have no line. */
export function dataOf(history: WatchHistory): uPlot.AlignedData {
  const nothing = history.atMs.map(() => null);
  const lines = NODES.map((id) => {
    const values = valuesOf(history, id);
    return values.some((count) => count > 0) ? [...values] : nothing;
  });
  return [history.atMs.map((ms) => ms / 1_000), ...lines];
}

function colorsOf(element: HTMLElement): (name: string) => string {
  const style = getComputedStyle(element);
  return (name) => style.getPropertyValue(name).trim();
}

function clock(seconds: number): string {
  return new Date(seconds * 1_000).toTimeString().slice(0, 8);
}

/** A line for each mark, with a flag where there is room. */
function drawMarks(
  { ctx, bbox, valToPos }: uPlot,
  marks: readonly KeeperMark[],
  ink: string,
  paper: string,
  font: string,
): void {
  const ratio = devicePixelRatio;
  const ends: number[] = Array(FLAG_ROWS).fill(-Infinity);
  ctx.save();
  ctx.font = font.replace('11px', `${11 * ratio}px`);
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'left';
  for (const { atMs, keeper, kind } of marks) {
    const x = valToPos(atMs / 1_000, 'x', true);
    if (!(x >= bbox.left && x <= bbox.left + bbox.width)) continue;
    ctx.strokeStyle = ink;
    ctx.lineWidth = ratio;
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const text = `${keeper} ${kind}`;
    const width = ctx.measureText(text).width + 8 * ratio;
    const left = Math.min(x, bbox.left + bbox.width - width);
    const row = ends.findIndex((end) => left > end);
    if (row === -1) continue;
    ends[row] = left + width;
    const y = bbox.top + (4 + row * 17) * ratio;
    ctx.fillStyle = ink;
    ctx.fillRect(left, y, width, 15 * ratio);
    ctx.fillStyle = paper;
    ctx.fillText(text, left + 4 * ratio, y + 8 * ratio);
  }
  ctx.restore();
}
