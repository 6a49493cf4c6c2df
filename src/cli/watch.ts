import { HoldfastError } from '../errors.js';
import { RunningKeepers } from '../keeper/running-keepers.js';
import { formatDuration } from '../model/duration.js';
import { WATCH_STATES, type WatchFilter, type WatchUpdate } from '../watch/view.js';
import { watchSockets } from '../watch/watch.js';
import { stream } from './stream.js';
import { describeTransitions } from './watch-words.js';

export interface WatchFlags {
  readonly port?: number;
  readonly pid?: number;
  readonly keeper?: string;
  /** In ms. */
  readonly interval: number;
  readonly json?: boolean;
  /** Ends after so many updates. */
  readonly count?: number;
  /** As a page in a browser. */
  readonly web?: boolean;
  readonly listen?: string;
  readonly allowRemote?: boolean;
}

/** `holdfast watch`: a view on a terminal, else a line for each look, with `json` an object. */
export async function watchCommand(flags: WatchFlags): Promise<void> {
  const { port, pid, keeper, interval: intervalMs, json, count = Number.POSITIVE_INFINITY } = flags;
  const options = { port, pid, keeper, intervalMs };
  if (flags.web) return watchInBrowser(flags, options);
  if (flags.listen !== undefined || flags.allowRemote)
    throw wrong('--listen and --allow-remote go with --web');
  if (!json && flags.count === undefined && isTerminal()) {
    const { watchOnTerminal } = await drawing(() => import('./watch-terminal.js'));
    return watchOnTerminal(options, new RunningKeepers());
  }
  let before: WatchUpdate | undefined;
  for await (const update of watchSockets(options, new RunningKeepers())) {
    await stream(json ? `${JSON.stringify(update)}\n` : lineOf(update, before));
    before = update;
    if (update.sequence >= count) return;
  }
}

async function watchInBrowser(
  { json, count, listen = '127.0.0.1:0', allowRemote = false }: WatchFlags,
  options: WatchFilter & { readonly intervalMs: number },
): Promise<void> {
  if (json || count !== undefined) throw wrong('--web goes with neither --json nor --count');
  const { watchOnPage } = await import('./watch-page.js');
  await watchOnPage({ ...options, listen, allowRemote }, new RunningKeepers());
}

function wrong(text: string): HoldfastError {
  return new HoldfastError('ERR_HOLDFAST_OPTION', text);
}

function isTerminal(): boolean {
  return process.stdout.isTTY && process.stdin.isTTY && process.env.TERM !== 'dumb';
}

/**
 * Loads what draws, with React's build for production (the other one remembers how long each drawing took) and as if there
 * were no CI: there ink would draw at the end only, and without colours.
 */
async function drawing<T>(load: () => Promise<T>): Promise<T> {
  const { NODE_ENV, CI, CONTINUOUS_INTEGRATION } = process.env;
  const set = (values: Readonly<Record<string, string | undefined>>): void => {
    for (const [name, value] of Object.entries(values)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
  set({ NODE_ENV: 'production', CI: undefined, CONTINUOUS_INTEGRATION: undefined });
  try {
    return await load();
  } finally {
    set({ NODE_ENV, CI, CONTINUOUS_INTEGRATION });
  }
}

/** States that have sockets, or had some at the look before, with how many more or less there are. */
function lineOf(update: WatchUpdate, before: WatchUpdate | undefined): string {
  const { counts, acceptQueue, timeWaitEnds, unseen } = update;
  const words = WATCH_STATES.flatMap((state) => {
    const [now, then] = [counts[state], before?.counts[state] ?? counts[state]];
    return now === 0 && then === 0
      ? []
      : [`${state} ${now}${now === then ? '' : ` (${signed(now - then)})`}`];
  });
  const parts = [
    words.join(', ') || 'no sockets',
    ...(acceptQueue === 0 ? [] : [`${acceptQueue} to accept`]),
    ...(timeWaitEnds.length === 0
      ? []
      : [`TIME_WAIT ends within ${formatDuration(1_000 * lastEnd(timeWaitEnds))}`]),
    ...(update.type === 'delta' ? describeTransitions(update.transitions) : []),
    ...update.marks.map(({ keeper, kind }) => `${keeper} ${kind}`),
    ...(unseen.sockets === 0 || before?.unseen.sockets === unseen.sockets
      ? []
      : [`${unseen.sockets} of processes that this user may not look into`]),
  ];
  return `${new Date(update.atMs).toISOString()} ${parts.join('; ')}\n`;
}

function signed(difference: number): string {
  return difference > 0 ? `+${difference}` : `${difference}`;
}

function lastEnd(ends: readonly number[]): number {
  return ends.findLastIndex((count) => count > 0) + 1;
}
