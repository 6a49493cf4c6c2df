import { writeSync } from 'node:fs';
import { Box, type Instance, render, Text, useInput } from 'ink';
import type { ReactElement } from 'react';
import { describeWhy } from '../diagnosis/describe.js';
import { why } from '../diagnosis/why.js';
import { restoreModes, terminalModes } from '../kernel/terminal.js';
import { applyDelta } from '../watch/apply.js';
import { type KeeperSource, Sampler, type Viewer } from '../watch/sampler.js';
import type { WatchFilter, WatchSnapshot } from '../watch/view.js';
import { checkWatch } from '../watch/watch.js';
import { Controls, type Key } from './watch-controls.js';
import type { Line } from './watch-screen.js';

export interface TerminalOptions extends WatchFilter {
  readonly intervalMs: number;
}

/** To a screen that is not the shell's, and back to that one, with its cursor. */
const ENTER = '\x1b[?1049h\x1b[H';
const LEAVE = '\x1b[?1049l\x1b[?25h';
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Draws on the terminal until the user quits. The terminal is left as it was found, whatever ends this. */
export async function watchOnTerminal(options: TerminalOptions, keepers: KeeperSource): Promise<void> {
  checkWatch(options, keepers);
  const view = new TerminalView(options, keepers);
  const restore = onceOf(enterScreen(() => view.end()));
  process.once('exit', restore);
  let signal: NodeJS.Signals | undefined;
  try {
    signal = await Promise.race([signalled(), failed(), view.run()]);
  } finally {
    restore();
  }
  // As if it had not been caught: who waits for this process is told by what it was ended.
  if (signal === undefined) return;
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

/** Gives what puts the terminal back. */
function enterScreen(beforeLeaving: () => void): () => void {
  const modes = terminalModes(0);
  writeSync(1, ENTER);
  return () => {
    beforeLeaving();
    writeSync(1, LEAVE);
    if (modes !== undefined) restoreModes(0, modes);
  };
}

function onceOf(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    work();
  };
}

function signalled(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    // Not once: as the only listener that is left ink's own would end the process.
    for (const signal of SIGNALS) process.on(signal, () => resolve(signal));
  });
}

/** Told on the shell's screen: on the other one it would be gone. */
function failed(): Promise<never> {
  return new Promise((_, reject) => {
    process.once('uncaughtException', reject);
  });
}

class TerminalView {
  readonly #sampler: Sampler;
  readonly #options: TerminalOptions;
  #viewer: Viewer;
  #isOver = false;
  #instance: Instance | undefined;

  constructor(options: TerminalOptions, keepers: KeeperSource) {
    this.#options = options;
    this.#sampler = new Sampler({ intervalMs: options.intervalMs, keepers });
    this.#viewer = this.#sampler.view(options);
  }

  /** Until the user quits; gives the signal by which the process is to end. */
  async run(): Promise<NodeJS.Signals | undefined> {
    let snapshot = (await this.#viewer.next()) as WatchSnapshot;
    let by: NodeJS.Signals | undefined;
    const controls = new Controls(
      snapshot,
      this.#options,
      {
        why: (port) => describeWhy(why({ port })),
        choose: (filter) => this.#choose(filter),
        quit: (interrupted) => {
          by = interrupted ? 'SIGINT' : undefined;
          this.end();
        },
      },
      isUnicode(),
    );
    const draw = (): void => this.#draw(controls);
    process.stdout.on('resize', draw);
    try {
      while (!this.#isOver) {
        draw();
        const viewer = this.#viewer;
        const update = await viewer.next();
        // Another filter has its own viewer, which begins with a snapshot.
        if (update === undefined || viewer !== this.#viewer) continue;
        snapshot = update.type === 'snapshot' ? update : applyDelta(snapshot, update);
        controls.update(snapshot);
      }
    } finally {
      process.stdout.off('resize', draw);
    }
    return by;
  }

  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#instance?.unmount();
    this.#sampler.close();
  }

  #choose(filter: WatchFilter): void {
    checkWatch(filter, { look: () => [], takeMarks: () => [], close: () => undefined });
    const former = this.#viewer;
    this.#viewer = this.#sampler.view(filter);
    former.close();
  }

  #draw(controls: Controls): void {
    if (this.#isOver) return;
    const frame = (
      <Frame
        lines={controls.lines({ columns: process.stdout.columns, rows: process.stdout.rows })}
        press={(input, key) => {
          controls.press(input, key);
          this.#draw(controls);
        }}
      />
    );
    if (this.#instance === undefined) {
      this.#instance = render(frame, { exitOnCtrlC: false, patchConsole: false });
    } else this.#instance.rerender(frame);
  }
}

interface FrameProperties {
  readonly lines: readonly Line[];
  readonly press: (input: string, key: Key) => void;
}

function Frame({ lines, press }: FrameProperties): ReactElement {
  useInput(press);
  const isPlain = (process.env.NO_COLOR ?? '') !== '';
  return (
    <Box flexDirection="column">
      {lines.map((line, row) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a line is its place on the screen
        <Text key={row} wrap="truncate">
          {line.map(({ text, color, bold = false, inverse = false }, column) => (
            <Text
              // biome-ignore lint/suspicious/noArrayIndexKey: a piece is its place in the line
              key={column}
              bold={bold}
              inverse={inverse}
              {...(color === undefined || isPlain ? {} : { color })}
            >
              {text}
            </Text>
          ))}
        </Text>
      ))}
    </Box>
  );
}

/** Whether the locale's encoding has more than ASCII. @see locale(7) */
function isUnicode(): boolean {
  const { LC_ALL, LC_CTYPE, LANG } = process.env;
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '');
}
