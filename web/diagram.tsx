import type { VNode } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { EDGE_IDS, type Edge } from './edges.js';
import { memo } from './memo.js';
import { type Box, type Shape, shapeOf } from './shape.js';
import { accessibleName, formatCount, NODES, type NodeCounts, type NodeId, titleOf } from './states.js';

export interface DiagramProps {
  readonly counts: NodeCounts | undefined;
  readonly lit: ReadonlySet<Edge>;
  readonly selected: NodeId | undefined;
  readonly select: (id: NodeId) => void;
}

const NARROW_BELOW = 560;

/** The states of TCP with how many sockets are in each, and the edges that were just taken. */
export function Diagram({ counts, lit, selected, select }: DiagramProps): VNode {
  const frame = useRef<HTMLDivElement>(null);
  const isNarrow = useNarrow(frame);
  const shape = shapeOf(isNarrow);
  return (
    <div class="diagram" ref={frame} data-shape={isNarrow ? 'narrow' : 'wide'}>
      {/* biome-ignore lint/a11y/useSemanticElements: SVG has no fieldset. */}
      <svg viewBox={`0 0 ${shape.width} ${shape.height}`} role="group" aria-labelledby="diagram-title">
        <Ground shape={shape} />
        <Edges shape={shape} lit={lit} />
        {NODES.map((id) => (
          <Node
            key={id}
            id={id}
            box={shape.nodes[id]}
            count={counts?.[id]}
            isSelected={id === selected}
            select={select}
          />
        ))}
      </svg>
    </div>
  );
}

function useNarrow(frame: { readonly current: HTMLDivElement | null }): boolean {
  const [isNarrow, setNarrow] = useState(window.innerWidth < NARROW_BELOW);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a ref is the same for ever.
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => {
      if (entry !== undefined) setNarrow(entry.contentRect.width < NARROW_BELOW);
    });
    if (frame.current !== null) observer.observe(frame.current);
    return () => observer.disconnect();
  }, []);
  return isNarrow;
}

/** What never changes: the two ways to close, and where sockets begin and end. */
const Ground = memo(({ shape }: { readonly shape: Shape }) => (
  // biome-ignore lint/a11y/noAriaHiddenOnFocusable: a group of SVG has no focus.
  <g aria-hidden="true">
    {shape.groups.map(({ title: [first = '', second = ''], titleAt: [x, y], ...box }) => (
      <g key={first} class="group">
        <rect {...box} rx="6" />
        <text class="group-title" x={x} y={y}>
          {first}
        </text>
        <text class="group-note" x={x} y={y + 14}>
          {second}
        </text>
      </g>
    ))}
    <Closed box={shape.nodes.CLOSED} />
    <Closed box={shape.end} />
  </g>
));

function Closed({ box }: { readonly box: Box }): VNode {
  return (
    <g class="closed">
      <rect {...box} rx={box.height / 2} />
      <text x={box.x + box.width / 2} y={box.y + box.height / 2 + 4}>
        CLOSED
      </text>
    </g>
  );
}

interface EdgesProps {
  readonly shape: Shape;
  readonly lit: ReadonlySet<Edge>;
}

const Edges = memo(({ shape, lit }: EdgesProps) => (
  // biome-ignore lint/a11y/noAriaHiddenOnFocusable: a group of SVG has no focus.
  <g aria-hidden="true">
    {EDGE_IDS.map((id) => {
      const { line, head, label } = shape.edges[id];
      return (
        <g key={id} data-edge={id} class={lit.has(id) ? 'edge lit' : 'edge'}>
          <path class="line" d={line} />
          <path class="head" d={head} />
          <text x={label.at[0]} y={label.at[1]} text-anchor={label.anchor}>
            {label.text}
          </text>
        </g>
      );
    })}
  </g>
));

interface NodeProps {
  readonly id: NodeId;
  readonly box: Box;
  readonly count: number | undefined;
  readonly isSelected: boolean;
  readonly select: (id: NodeId) => void;
}

const Node = memo(({ id, box, count, isSelected, select }: NodeProps) => {
  const choose = (): void => select(id);
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    choose();
  };
  const { x, y, width, height } = box;
  return (
    // biome-ignore lint/a11y/useSemanticElements: SVG has no button.
    <g
      class={`node ${count === 0 || count === undefined ? 'empty' : 'some'}`}
      role="button"
      tabindex={0}
      aria-label={count === undefined ? titleOf(id) : accessibleName(id, count)}
      aria-pressed={isSelected}
      data-state={id}
      data-count={count ?? ''}
      onClick={choose}
      onKeyDown={onKeyDown}
    >
      <rect class="ring" x={x - 4} y={y - 4} width={width + 8} height={height + 8} rx="8" />
      <rect class="face" {...box} rx="5" />
      <rect class="mark" x={x} y={y} width="5" height={height} rx="2" />
      <text class="name" x={x + 9} y={y + 16}>
        {/* With a space: the label must begin with what is written here, word for word. */ `${titleOf(id)} `}
      </text>
      <text class="count" x={x + 9} y={y + height - 8}>
        {count === undefined ? '–' : formatCount(count)}
      </text>
    </g>
  );
});
