import type { VNode } from 'preact';
import { describeDrain, drainOf } from './drain.js';

const [WIDTH, HEIGHT] = [600, 120];
const SECONDS = 60;

/** How many entries end in each coming second, and how many are left then. */
export function DrainChart({ ends }: { readonly ends: readonly number[] }): VNode {
  const { all, left } = drainOf(ends);
  const slots = Math.max(SECONDS, ends.length);
  const slot = WIDTH / slots;
  const most = Math.max(1, ...ends);
  const bars = ends.map((count, second) => ({ second, height: (HEIGHT * count) / most }));
  const points = left.map(
    (count, second) => `${(second + 1) * slot},${HEIGHT - (HEIGHT * count) / Math.max(1, all)}`,
  );
  const text = describeDrain(ends);
  return (
    <figure class="drain">
      <svg class="curve" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img">
        <title>{text}</title>
        <polygon
          class="left"
          points={`0,${HEIGHT} 0,${all === 0 ? HEIGHT : 0} ${points.join(' ')} ${WIDTH},${HEIGHT}`}
        />
        {bars.map(({ second, height }) => (
          <rect key={second} x={second * slot + 1} y={HEIGHT - height} width={slot - 2} height={height} />
        ))}
      </svg>
      <div class="axis" aria-hidden="true">
        <span>now</span>
        <span>in {Math.round(slots / 2)} s</span>
        <span>in {slots} s</span>
      </div>
      <figcaption>{text}</figcaption>
      <p class="key" aria-hidden="true">
        Bars: how many end in each second. Area: how many are left.
      </p>
    </figure>
  );
}
