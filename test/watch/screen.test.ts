import { expect, test } from 'vitest';
import { Controls, type Key } from '../../src/cli/watch-controls.js';
import { type Line, linesOf, type Screen, sparkline } from '../../src/cli/watch-screen.js';
import { HoldfastError } from '../../src/errors.js';
import { ofStates } from '../../src/watch/apply.js';
import type { WatchedPort, WatchFilter, WatchSnapshot } from '../../src/watch/view.js';

function snapshotWith(given: Partial<WatchSnapshot> = {}): WatchSnapshot {
  return {
    ...{ type: 'snapshot', sequence: 1, atMs: 0, intervalMs: 1_000, acceptQueue: 3, orphans: 0, left: 0 },
    counts: { ...ofStates(() => 0), LISTEN: 2, ESTABLISHED: 1_000, TIME_WAIT: 49_000, CLOSE_WAIT: 5 },
    timeWaitEnds: Array.from({ length: 60 }, (_, second) => 100 + second),
    ports: Array.from({ length: 20 }, (_, at) => portAt(8_000 + at)),
    unclosed: [{ pid: 42, closeWait: 5, finWait2: 2 }],
    unseen: { sockets: 7, processes: 3 },
    sockets: [],
    processes: [{ pid: 42, program: 'a program with\x1b[31m a long and evil name that has no end' }],
    keepers: [
      {
        ...{
          name: 'shop',
          pid: 5,
          phase: 'serving',
          generation: 3,
          starts: 9,
          reload: 'steady',
          paused: false,
        },
        addresses: ['[::]:80'],
        workers: [
          { pid: 6, generation: 3, phase: 'serving' },
          { pid: 7, generation: 3, phase: 'parked' },
        ],
      },
    ],
    history: { atMs: [1, 2, 3], counts: ofStates(() => [0, 5, 10]), acceptQueue: [1, 2, 3] },
    marks: [],
    ...given,
  };
}

function portAt(port: number): WatchedPort {
  return { port, listening: 1, live: 9, timeWait: 2_450, acceptQueue: 1, backlog: 511, pid: 42 };
}

function screenWith(given: Partial<Screen> = {}): Screen {
  return { snapshot: snapshotWith(), filter: {}, chosen: 0, columns: 80, rows: 40, unicode: true, ...given };
}

function textOf(lines: readonly Line[]): readonly string[] {
  return lines.map((line) => line.map(({ text }) => text).join(''));
}

test('no line is wider than the terminal, and one row stays free, whatever its size', () => {
  for (const columns of [20, 40, 60, 80, 200]) {
    for (const rows of [5, 10, 16, 24, 50]) {
      const lines = textOf(linesOf(screenWith({ columns, rows })));
      expect(lines.length).toBeLessThanOrEqual(rows - 1);
      for (const line of lines) expect([...line].length).toBeLessThanOrEqual(columns);
      expect(lines.join('')).not.toContain('\x1b');
    }
  }
});

test('60 columns and 24 rows have states, TIME_WAIT, ports, who does not close, a keeper and the keys', () => {
  const lines = textOf(linesOf(screenWith({ columns: 60, rows: 24 })));
  const patterns = [
    /^holdfast watch all sockets {2}every 1 s, 7 of others, not seen/,
    /^ESTABLISHED +1000 █+ +▄█$/,
    /^TIME_WAIT +49000 █{19} +▄█$/,
    /^CLOSE_WAIT +5 █ +▄█$/,
    /^to accept +3 █ +▃▆█$/,
    /^TIME_WAIT ends: 100 in 1 s, 1045 in 10 s, all in 60 s/,
    /^ +port +open +TIME_WAIT +queue {2}process$/,
    /^> +8000 +9 +2450 +1\/511 {2}a program/,
    /^5 in CLOSE_WAIT, 2 wait for it here: not closed by a prog/,
    /^keeper shop: serving, generation 3, 1 workers, 1 standby, /,
    /^arrows choose {2}Enter why .* q quit$/,
  ];
  for (const pattern of patterns)
    expect(
      lines.find((line) => pattern.test(line)),
      `${pattern} in\n${lines.join('\n')}`,
    ).toBeDefined();
});

test('without UTF-8 there is nothing but ASCII', () => {
  const text = textOf(linesOf(screenWith({ unicode: false, columns: 120 }))).join('');
  expect(text).toMatch(/^[\x20-\x7e]*$/);
  expect(sparkline([0, 1, 50, 100], false)).toBe(' _:#');
});

test('the list of ports goes along with the chosen one', () => {
  for (const chosen of [0, 7, 19]) {
    const lines = textOf(linesOf(screenWith({ chosen, rows: 24 })));
    expect(lines.find((line) => line.startsWith('>'))).toContain(`${8_000 + chosen}`);
  }
});

const NO_KEY: Key = {
  ...{ upArrow: false, downArrow: false, pageUp: false, pageDown: false, return: false, escape: false },
  ...{ backspace: false, delete: false, ctrl: false },
};

test('keys choose a row, ask why, filter and quit', () => {
  const done: unknown[] = [];
  const controls = new Controls(
    snapshotWith(),
    {},
    {
      why: (port) => {
        done.push(['why', port]);
        return `Port ${port} is held\nby somebody\n`;
      },
      choose: (filter: WatchFilter) => {
        if (filter.pid === 9) throw new HoldfastError('ERR_HOLDFAST_OPTION', 'no process has the pid 9');
        done.push(filter);
      },
      quit: (interrupted) => done.push(interrupted),
    },
    true,
  );
  const size = { columns: 60, rows: 24 };
  const text = (): string => textOf(controls.lines(size)).join('\n');
  const type = (keys: string): void => {
    for (const key of keys) controls.press(key, NO_KEY);
  };
  controls.press('', { ...NO_KEY, downArrow: true });
  expect(text()).toMatch(/^> +8001/m);
  // It stays chosen when others come before it.
  controls.update(snapshotWith({ ports: [portAt(9_000), portAt(9_001), portAt(8_001)] }));
  expect(text()).toMatch(/^> +8001/m);
  controls.press('\r', { ...NO_KEY, return: true });
  expect(text()).toMatch(/^Port 8001 is held\nby somebody\n/);
  controls.press('', { ...NO_KEY, downArrow: true });
  expect(text()).toMatch(/^by somebody\n/);
  controls.press('', { ...NO_KEY, escape: true });
  type('p80x8');
  expect(text()).toContain('port: 808_');
  controls.press('', { ...NO_KEY, backspace: true });
  controls.press('\r', { ...NO_KEY, return: true });
  expect(text()).toMatch(/^holdfast watch port 80 /);
  type('i9');
  controls.press('\r', { ...NO_KEY, return: true });
  expect(text()).toContain('no process has the pid 9');
  type('i1q');
  controls.press('', { ...NO_KEY, escape: true });
  type('aq');
  controls.press('c', { ...NO_KEY, ctrl: true });
  expect(done).toEqual([['why', 8001], { port: 80 }, {}, false, true]);
});
