import { EDGES, type Edge, type Place } from './edges.js';

export type Point = readonly [x: number, y: number];

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface Label {
  readonly text: string;
  readonly at: Point;
  readonly anchor: 'start' | 'middle' | 'end';
}

export interface EdgeLine {
  readonly points: readonly Point[];
  /** The same with rounded corners, and the head of its arrow, as `d` of an SVG path. */
  readonly line: string;
  readonly head: string;
  readonly label: Label;
}

/** Where everything is drawn. */
export interface Shape {
  readonly width: number;
  readonly height: number;
  readonly nodes: Readonly<Record<Place, Box>>;
  /** Where sockets end; the same as CLOSED. */
  readonly end: Box;
  readonly edges: Readonly<Record<Edge, EdgeLine>>;
  readonly groups: readonly (Box & { readonly title: readonly string[]; readonly titleAt: Point })[];
}

/** Of one form of the diagram: columns and rows by their middles. */
interface Grid {
  readonly width: number;
  readonly height: number;
  readonly columns: readonly [number, number, number];
  readonly rows: readonly [number, number, number, number, number, number];
  readonly node: readonly [width: number, height: number];
  readonly closed: readonly [width: number, height: number];
  readonly endY: number;
  /** Of the way along the left side. */
  readonly lane: number;
  /** Of what leaves ESTABLISHED to be closed. */
  readonly forkY: number;
  readonly groupY: readonly [top: number, bottom: number];
  /** So far right of a column's middle a second edge runs. */
  readonly aside: number;
  /** Whether labels of short horizontal edges are under them, where there is more room. */
  readonly isNarrow: boolean;
}

/** @param isNarrow For 360 px. Both are drawn one to one, so that letters keep their size. */
export function shapeOf(isNarrow: boolean): Shape {
  return isNarrow ? NARROW : WIDE;
}

const CORNER = 7;

const WIDE: Shape = draw({
  ...{ width: 760, height: 664, columns: [106, 380, 654], rows: [30, 120, 210, 300, 452, 546] },
  ...{ node: [148, 50], closed: [110, 32], endY: 640, lane: 10, forkY: 350, groupY: [368, 596] },
  ...{ aside: 26, isNarrow: false },
});

const NARROW: Shape = draw({
  ...{ width: 344, height: 624, columns: [60, 173, 286], rows: [34, 112, 202, 292, 434, 522] },
  ...{ node: [94, 44], closed: [76, 28], endY: 608, lane: 3, forkY: 344, groupY: [368, 568] },
  ...{ aside: 22, isNarrow: true },
});

function draw(grid: Grid): Shape {
  const { width, height, columns, rows, node, closed, endY, groupY } = grid;
  const [left, middle, right] = columns;
  const [y0, y1, y2, y3, y4, y5] = rows;
  const at = (x: number, y: number): Box => boxAt(x, y, node);
  const half = node[0] / 2;
  const gap = (middle - left - node[0]) / 2;
  const top = groupY[0];
  const group = { y: top, height: groupY[1] - top };
  const activeX = grid.lane + 6;
  const border = middle + half + gap * (grid.isNarrow ? 0.5 : 0.2);
  return {
    ...{ width, height, end: boxAt(width / 2, endY, [width - 2 * (left - half), closed[1] - 4]) },
    nodes: {
      CLOSED: boxAt(middle, y0, closed),
      ...{ LISTEN: at(left, y1), BOUND: at(middle, y1), SYN_SENT: at(right, y1), SYN_RECV: at(left, y2) },
      ...{ ACCEPT_QUEUE: at(left, y3), ESTABLISHED: at(middle, y3), FIN_WAIT1: at(left, y4) },
      ...{ CLOSING: at(middle, y4), CLOSE_WAIT: at(right, y4), FIN_WAIT2: at(left, y5) },
      ...{ TIME_WAIT: at(middle, y5), LAST_ACK: at(right, y5) },
    },
    edges: edgesOf(grid),
    groups: [
      {
        ...{ ...group, x: activeX, width: border - 3 - activeX },
        ...{ title: ['active close', '(this end first)'], titleAt: [left + 10, top + 18] },
      },
      {
        ...{ ...group, x: border + 3, width: width - border - 3 - (grid.isNarrow ? 2 : 12) },
        ...{
          title: ['passive close', '(the peer first)'],
          titleAt: [border + (grid.isNarrow ? 8 : 16), top + 18],
        },
      },
    ],
  };
}

function boxAt(x: number, y: number, [width, height]: readonly [number, number]): Box {
  return { x: x - width / 2, y: y - height / 2, width, height };
}

/** Its corners, where its label stands, and a shorter label where there is little room. */
type Way = readonly [points: readonly Point[], label: readonly [Point, Label['anchor']], short?: string];

function edgesOf(grid: Grid): Shape['edges'] {
  const { columns, rows, node, closed, endY, lane, forkY, aside, isNarrow } = grid;
  const [left, middle, right] = columns;
  const [y0, y1, y2, y3, y4, y5] = rows;
  const [w, h] = [node[0] / 2, node[1] / 2];
  const [closedW, closedH] = [closed[0] / 2, closed[1] / 2];
  const end = endY - closedH + 2;
  const step = isNarrow ? 8 : 10;
  const beside = isNarrow ? 6 : 8;
  // Into the passive close, clear of the group's title.
  const passive = isNarrow ? right + w - 8 : right;
  /** Of an edge between two columns of a row. */
  const across = (x: number, y: number): readonly [Point, Label['anchor']] => [
    isNarrow ? [x, y + h + 14] : [x, y - 8],
    'middle',
  ];
  const [between, beyond] = [(left + middle) / 2, (middle + right) / 2];
  /** Of an edge that goes down, right of it. */
  const below = (x: number, y: number): readonly [Point, Label['anchor']] => [[x + beside, y + 4], 'start'];
  const down = (x: number, from: number, to: number): readonly Point[] => [
    [x, from],
    [x, to],
  ];
  const along = (y: number, from: number, to: number): readonly Point[] => [
    [from, y],
    [to, y],
  ];
  const ways: Readonly<Record<Edge, Way>> = {
    'CLOSED-BOUND': [down(middle, y0 + closedH, y1 - h), below(middle, isNarrow ? y0 + 36 : (y0 + y1) / 2)],
    'CLOSED-SYN_SENT': [
      [
        [middle + closedW, y0 + step - 2],
        [right - aside, y0 + step - 2],
        [right - aside, y1 - h],
      ],
      isNarrow ? [[right - aside - 5, y0 + 22], 'end'] : [[beyond, y0 + step + 13], 'middle'],
    ],
    'SYN_SENT-CLOSED': [
      [
        [right + aside, y1 - h],
        [right + aside, y0 - step],
        [middle + closedW, y0 - step],
      ],
      isNarrow ? [[right - 8, y0 - step - 6], 'middle'] : [[beyond, y0 - step - 6], 'middle'],
    ],
    'LISTEN-CLOSED': [
      [
        [left, y1 - h],
        [left, y0],
        [middle - closedW, y0],
      ],
      isNarrow ? below(left, y0 + 16) : [[between, y0 - 8], 'middle'],
    ],
    'BOUND-LISTEN': [along(y1, middle - w, left + w), across(between, y1)],
    'BOUND-SYN_SENT': [along(y1, middle + w, right - w), across(beyond, y1)],
    'LISTEN-SYN_RECV': [down(left, y1 + h, y2 - h), below(left, (y1 + y2) / 2)],
    'SYN_SENT-SYN_RECV': [
      [
        [right - aside, y1 + h],
        [right - aside, y2 - step],
        [left + w, y2 - step],
      ],
      [[isNarrow ? middle + 16 : beyond - 40, y2 - step - 6], 'middle'],
      'SYN: both connect',
    ],
    'SYN_RECV-ESTABLISHED': [
      [
        [left + w, y2 + step],
        [middle - aside, y2 + step],
        [middle - aside, y3 - h],
      ],
      below(middle - aside, (y2 + y3) / 2 + (isNarrow ? 0 : 2)),
    ],
    'SYN_RECV-ACCEPT_QUEUE': [down(left, y2 + h, y3 - h), below(left, (y2 + y3) / 2)],
    'ACCEPT_QUEUE-ESTABLISHED': [along(y3, left + w, middle - w), across(between, y3)],
    'SYN_SENT-ESTABLISHED': [
      [
        [right + aside, y1 + h],
        [right + aside, y3],
        [middle + w, y3],
      ],
      isNarrow ? [[right + aside - 6, y3 - 40], 'end'] : [[beyond, y3 - 8], 'middle'],
    ],
    'SYN_RECV-FIN_WAIT1': [
      [
        [left - w, y2],
        [lane, y2],
        [lane, y4],
        [left - w, y4],
      ],
      [[lane + 5, y3 + h + (isNarrow ? 20 : 18)], 'start'],
    ],
    'ESTABLISHED-FIN_WAIT1': [
      [
        [middle - aside, y3 + h],
        [middle - aside, forkY],
        [left, forkY],
        [left, y4 - h],
      ],
      isNarrow ? [[left + 8, forkY + 15], 'start'] : [[between, forkY - 7], 'middle'],
    ],
    'ESTABLISHED-CLOSE_WAIT': [
      [
        [middle + aside, y3 + h],
        [middle + aside, forkY],
        [passive, forkY],
        [passive, y4 - h],
      ],
      [[beyond + (isNarrow ? 16 : 0), forkY - 7], 'middle'],
    ],
    'FIN_WAIT1-FIN_WAIT2': [
      down(left, y4 + h, y5 - h),
      isNarrow ? [[left - beside, (y4 + y5) / 2 + 4], 'end'] : below(left, (y4 + y5) / 2),
    ],
    'FIN_WAIT1-CLOSING': [along(y4, left + w, middle - w), across(between, y4)],
    'FIN_WAIT2-TIME_WAIT': [along(y5, left + w, middle - w), across(between, y5)],
    'CLOSING-TIME_WAIT': [down(middle, y4 + h, y5 - h), below(middle, (y4 + y5) / 2)],
    'CLOSE_WAIT-LAST_ACK': [down(right, y4 + h, y5 - h), below(right, (y4 + y5) / 2)],
    'TIME_WAIT-CLOSED': [down(middle, y5 + h, end), below(middle, end - 15)],
    'FIN_WAIT2-CLOSED': [down(left, y5 + h, end), below(left, end - 15), 'orphan: 60 s'],
    'LAST_ACK-CLOSED': [down(right, y5 + h, end), below(right, end - 15)],
  };
  const edge = ([name, [points, [at, anchor], short]]: readonly [Edge, Way]): readonly [Edge, EdgeLine] => {
    const text = isNarrow && short !== undefined ? short : EDGES[name];
    return [name, { points, line: lineOf(points), head: headOf(points), label: { text, at, anchor } }];
  };
  return Object.fromEntries((Object.entries(ways) as [Edge, Way][]).map(edge)) as Record<Edge, EdgeLine>;
}

function lineOf(points: readonly Point[]): string {
  return points
    .map(([x, y], at) => {
      const [before, after] = [points[at - 1], points[at + 1]];
      if (before === undefined) return `M${x} ${y}`;
      if (after === undefined) return `L${x} ${y}`;
      const [ax, ay] = towards([x, y], before);
      const [bx, by] = towards([x, y], after);
      return `L${ax} ${ay}Q${x} ${y} ${bx} ${by}`;
    })
    .join('');
}

function towards([x, y]: Point, [otherX, otherY]: Point): Point {
  const length = Math.hypot(otherX - x, otherY - y);
  const part = Math.min(CORNER, length / 2) / length;
  return [x + (otherX - x) * part, y + (otherY - y) * part];
}

function headOf(points: readonly Point[]): string {
  const [from, [x, y]] = points.slice(-2) as [Point, Point];
  const length = Math.hypot(x - from[0], y - from[1]);
  const [dx, dy] = [(x - from[0]) / length, (y - from[1]) / length];
  const [baseX, baseY] = [x - dx * 8, y - dy * 8];
  return `M${x} ${y}L${baseX - dy * 4} ${baseY + dx * 4}L${baseX + dy * 4} ${baseY - dx * 4}Z`;
}
