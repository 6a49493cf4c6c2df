import { formatDuration } from '../model/duration.js';
import {
  WATCH_STATES,
  type WatchedKeeper,
  type WatchedPort,
  type WatchFilter,
  type WatchSnapshot,
  type WatchState,
} from '../watch/view.js';

/** A piece of a line in one style. */
export interface Piece {
  readonly text: string;
  readonly color?: string;
  readonly bold?: boolean;
  readonly inverse?: boolean;
}

export type Line = readonly Piece[];

export interface Screen {
  readonly snapshot: WatchSnapshot;
  readonly filter: WatchFilter;
  /** Index of the chosen port. */
  readonly chosen: number;
  readonly columns: number;
  readonly rows: number;
  /** What is being typed, with what it is for; undefined: nothing. */
  readonly typing?: { readonly label: string; readonly text: string } | undefined;
  /** What to say instead of the keys. */
  readonly notice?: string | undefined;
  /** Whether the terminal shows more than ASCII. */
  readonly unicode: boolean;
}

const KEYS = 'arrows choose  Enter why  p port  i process  a all  q quit';
const NAME_WIDTH = 12;
const COUNT_WIDTH = 8;

const COLORS: Readonly<Record<WatchState, string>> = {
  BOUND: 'blue',
  LISTEN: 'green',
  SYN_SENT: 'cyan',
  SYN_RECV: 'cyan',
  ESTABLISHED: 'green',
  FIN_WAIT1: 'yellow',
  FIN_WAIT2: 'yellow',
  CLOSING: 'yellow',
  TIME_WAIT: 'magenta',
  CLOSE_WAIT: 'red',
  LAST_ACK: 'yellow',
};

/** The screen, a line for each row, none of which is wider than the terminal; one row stays free. */
export function linesOf(screen: Screen): readonly Line[] {
  const { snapshot, columns, rows } = screen;
  const head = [titleOf(screen), ...statesOf(screen), ...timeWaitOf(screen)];
  const room = Math.max(0, rows - 1 - head.length - 1);
  const unclosed = unclosedOf(snapshot).slice(0, Math.min(2, Math.floor(room / 4)));
  const keepers = keepersOf(snapshot.keepers).slice(0, Math.max(1, Math.floor((room - unclosed.length) / 3)));
  const ports = portsOf(screen, room - unclosed.length - keepers.length);
  const lines = [...head, ...ports, ...unclosed, ...keepers].slice(0, Math.max(0, rows - 2));
  return [...lines, footOf(screen)].map((line) => cut(line, columns));
}

/** Ports that can be chosen. */
export function portRows({ ports }: WatchSnapshot): readonly WatchedPort[] {
  return ports;
}

function titleOf({ filter, snapshot }: Screen): Line {
  const { unseen, intervalMs, left } = snapshot;
  const what = [
    ...(filter.port === undefined ? [] : [`port ${filter.port}`]),
    ...(filter.pid === undefined ? [] : [`process ${filter.pid}`]),
    ...(filter.keeper === undefined ? [] : [`keeper ${filter.keeper}`]),
  ];
  const more = [
    `every ${formatDuration(intervalMs)}`,
    ...(unseen.sockets === 0 ? [] : [`${unseen.sockets} of others, not seen`]),
    ...(left === 0 ? [] : [`${left} changes to come`]),
  ];
  return [
    { text: 'holdfast watch ', bold: true },
    { text: what.join(', ') || 'all sockets', color: 'cyan' },
    { text: `  ${more.join(', ')}` },
  ];
}

/** Of few rows those that have sockets are shown. */
function statesOf(screen: Screen): readonly Line[] {
  const { snapshot, rows } = screen;
  const { counts, history, acceptQueue } = snapshot;
  const states = WATCH_STATES.filter((state) => rows >= 24 || counts[state] > 0);
  const most = Math.max(1, ...WATCH_STATES.map((state) => counts[state]));
  return [
    ...states.map((state) =>
      rowOf(screen, {
        name: state,
        count: counts[state],
        most,
        history: history.counts[state],
        color: COLORS[state],
      }),
    ),
    rowOf(screen, {
      name: 'to accept',
      count: acceptQueue,
      most,
      history: history.acceptQueue,
      color: 'red',
    }),
  ];
}

interface Row {
  readonly name: string;
  readonly count: number;
  readonly most: number;
  readonly history: readonly number[];
  readonly color: string;
}

function rowOf({ columns, unicode }: Screen, { name, count, most, history, color }: Row): Line {
  const room = Math.max(8, columns - NAME_WIDTH - COUNT_WIDTH - 2);
  const barWidth = Math.floor(room / 2);
  // One that is there at all is seen.
  const length = count === 0 ? 0 : Math.max(1, Math.round((barWidth * count) / most));
  const bar = (unicode ? '█' : '#').repeat(length).padEnd(barWidth);
  return [
    { text: name.padEnd(NAME_WIDTH), bold: count > 0 },
    { text: `${count}`.padStart(COUNT_WIDTH) },
    { text: ` ${bar} `, color },
    { text: sparkline(history.slice(-(room - barWidth)), unicode), color },
  ];
}

const LEVELS = ['▁▂▃▄▅▆▇█', '_.-:=+*#'] as const;

/** Each number as a character of that height. Nothing is a space. */
export function sparkline(values: readonly number[], unicode: boolean): string {
  const levels = LEVELS[unicode ? 0 : 1];
  const most = Math.max(1, ...values);
  return values
    .map((value) => (value === 0 ? ' ' : (levels[Math.ceil((value / most) * levels.length) - 1] ?? ' ')))
    .join('');
}

/** When TIME_WAIT ends: so many within a second, within ten, and the last. */
function timeWaitOf({ snapshot: { timeWaitEnds: ends }, columns, unicode }: Screen): readonly Line[] {
  const all = sum(ends);
  if (all === 0) return [[{ text: 'no TIME_WAIT' }]];
  const last = ends.findLastIndex((count) => count > 0) + 1;
  const text = `TIME_WAIT ends: ${ends[0] ?? 0} in 1 s, ${sum(ends.slice(0, 10))} in 10 s, all in ${last} s `;
  const room = columns - text.length;
  return [[{ text }, { text: room >= ends.length ? sparkline(ends, unicode) : '', color: COLORS.TIME_WAIT }]];
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, one) => all + one, 0);
}

function portsOf(screen: Screen, room: number): readonly Line[] {
  const { snapshot, chosen } = screen;
  const all = portRows(snapshot);
  const head: Line = [
    {
      text: `  ${'port'.padStart(6)}${'open'.padStart(7)}${'TIME_WAIT'.padStart(11)}${'queue'.padStart(11)}  process`,
      bold: true,
    },
  ];
  const fits = Math.max(1, room - 1);
  const first = Math.max(0, Math.min(chosen - fits + 1, all.length - fits));
  const rows = all.slice(first, first + fits).map((port, index): Line => {
    const isChosen = first + index === chosen;
    const queue = port.listening === 0 ? '-' : `${port.acceptQueue}/${port.backlog}`;
    const numbers = `${`${port.port}`.padStart(6)}${`${port.live}`.padStart(7)}${`${port.timeWait}`.padStart(11)}`;
    const text = `${numbers}${queue.padStart(11)}  ${nameOf(snapshot, port.pid)}`;
    return [{ text: `${isChosen ? '>' : ' '} ${text}`, inverse: isChosen }];
  });
  return [head, ...(rows.length === 0 ? [[{ text: '  no ports' }]] : rows)];
}

function nameOf({ processes }: WatchSnapshot, pid: number | null): string {
  if (pid === null) return '-';
  const program = processes.find((one) => one.pid === pid)?.program;
  return program === undefined ? `pid ${pid}` : `${program} (${pid})`;
}

function unclosedOf(snapshot: WatchSnapshot): readonly Line[] {
  return snapshot.unclosed
    .filter(({ closeWait }) => closeWait > 0)
    .map(({ pid, closeWait, finWait2 }) => {
      const waiting = finWait2 > 0 ? `, ${finWait2} wait for it here` : '';
      const who = pid === null ? 'somebody not seen' : nameOf(snapshot, pid);
      return [{ text: `${closeWait} in CLOSE_WAIT${waiting}: not closed by ` }, { text: who, color: 'red' }];
    });
}

function keepersOf(keepers: readonly WatchedKeeper[]): readonly Line[] {
  return keepers.map(({ name, phase, generation, reload, paused, workers, starts }) => {
    const standbys = workers.filter((one) => one.phase === 'parked').length;
    const words = [
      ...[paused ? 'paused' : phase, `generation ${generation}`, `${workers.length - standbys} workers`],
      ...(standbys === 0 ? [] : [`${standbys} standby`]),
      ...(reload === 'steady' ? [] : [`reload: ${reload}`]),
      `${starts} starts`,
    ];
    return [{ text: `keeper ${name}: `, bold: true }, { text: words.join(', ') }];
  });
}

function footOf({ typing, notice }: Screen): Line {
  if (typing !== undefined) return [{ text: `${typing.label}: ${typing.text}_  Enter, Esc`, bold: true }];
  if (notice !== undefined) return [{ text: notice, color: 'red' }];
  return [{ text: KEYS, inverse: true }];
}

/** No wider than so many columns. What programs call themselves may have any characters: those count one, controls none. */
function cut(line: Line, columns: number): Line {
  let left = columns;
  return line.flatMap((piece) => {
    const characters = [...printable(piece.text)].slice(0, left);
    left -= characters.length;
    return characters.length === 0 ? [] : [{ ...piece, text: characters.join('') }];
  });
}

/** Text that cannot move the cursor or change the terminal. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '?');
}
