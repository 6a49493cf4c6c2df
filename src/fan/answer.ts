import type { FanResult } from './fan.js';

/**
 * Why a host has not answered. `no-holdfast`: the shell there found none, or not what runs it. `other-version`: its holdfast
 * answers in another form. `failed`: it said why not. `stopped`: it was not waited for. `not-begun`: it was not asked.
 */
export type NoAnswer =
  | 'unreachable'
  | 'lost'
  | 'timed-out'
  | 'stopped'
  | 'not-begun'
  | 'no-holdfast'
  | 'other-version'
  | 'failed';

/** A host that has not answered. */
export interface Silence {
  readonly host: string;
  readonly ok: false;
  readonly reason: NoAnswer;
  readonly text: string;
}

/** How an answer is told from anything else. */
export interface AnswerForm<T> {
  /** The statuses that come with one. */
  readonly statuses: readonly number[];
  /** The answer in the JSON; undefined when it has another form. */
  readonly read: (json: unknown) => T | undefined;
}

/** What the holdfast of a host has answered. */
export function answerOf<T>(
  result: FanResult,
  { statuses, read }: AnswerForm<T>,
): Silence | { readonly host: string; readonly ok: true; readonly answer: T } {
  const { host, status, error } = result;
  const silence = (reason: NoAnswer, text: string): Silence => ({ host, ok: false, reason, text });
  if (error !== null) return silence(reasonOf(result), `${error.text} [${error.phase}]`);
  if (status === 127) return silence('no-holdfast', lastWords(result));
  if (status === null || !statuses.includes(status)) {
    const text = lastWords(result);
    return silence(isUnknownUsage(text) ? 'other-version' : 'failed', text);
  }
  const json = jsonIn(result.stdout.text());
  // Whatever calls holdfast there, such as sudo, has its own statuses.
  if (json === undefined) return silence('failed', lastWords(result));
  const answer = read(json);
  if (answer !== undefined) return { host, ok: true, answer };
  return silence('other-version', `exit ${status} with an answer in another form`);
}

/**
 * The words that run holdfast at a host. A remote shell that nobody logs in to has a short PATH: /usr/local/bin, where npm
 * puts it, is looked into too, and one that is named by its path finds the node beside it.
 */
export function holdfastCommand(holdfast: readonly string[], args: readonly string[]): readonly string[] {
  return ['sh', '-c', START, ...holdfast, ...args];
}

// biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's.
const START = 'PATH=$PATH:/usr/local/bin; case $0 in */*) PATH=${0%/*}:$PATH;; esac; exec "$0" "$@"';

function reasonOf({ timedOut, error, attempts }: FanResult): NoAnswer {
  if (timedOut) return 'timed-out';
  if (attempts === 0) return 'not-begun';
  return error?.phase === 'lost' || error?.phase === 'stopped' ? error.phase : 'unreachable';
}

/** By rsh stderr comes with stdout. */
function lastWords({ status, stdout, stderr }: FanResult): string {
  const lines = `${stdout.text()}\n${stderr.text()}`.split('\n').filter((line) => line.trim() !== '');
  return lines.at(-1)?.replace(/^holdfast: /, '') ?? `exit ${status} without a word`;
}

/** What a holdfast says that does not know a command or an option of this one. */
function isUnknownUsage(text: string): boolean {
  return /unknown (command|option) '|holdfast (\w+ )?--help|too many arguments for '/.test(text);
}

/** What a start file of the remote shell writes may stand before it. */
function jsonIn(text: string): unknown {
  const at = text.search(/^[[{]/m);
  try {
    return JSON.parse(text.slice(Math.max(0, at)));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
