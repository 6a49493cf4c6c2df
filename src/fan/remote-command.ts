import { randomBytes } from 'node:crypto';
import { HoldfastError } from '../errors.js';
import { quote } from './quote.js';

/** What a host is to run. */
export interface Work {
  /**
   * One word is a line for the user's shell, as with ssh; several are a program and its arguments, which arrive as they
   * are.
   */
  readonly command: readonly string[];
  /** A program's text, run in the place of a command, with `command` as its arguments. Its first line may name an interpreter. */
  readonly script?: string | undefined;
  /** Whether the command reads what is sent; otherwise it has no input, and ends when the connection does. */
  readonly takesInput: boolean;
}

/** What a shell takes as one argument. @see execve(2), MAX_ARG_STRLEN */
const LENGTH_MAX = 120_000;

/**
 * The command line that every host is given: a shell that reads what it is to do as the first line of its input. Some servers
 * take no more than a thousand bytes as a command, and so the user's shell, whichever it is, has nothing to misunderstand. The
 * shell's own `read` takes no byte beyond the line.
 */
export const COMMAND_LINE = `exec sh -c 'IFS= read -r l; eval "$l"'`;

/**
 * The first line of the input of `COMMAND_LINE` for some work. Around the work's own output it writes two marks, which
 * are different every time: one when the work begins, with its process group, and one when it is over, with its status.
 *
 * Without input, the connection's other direction is a lifeline: when it ends, so does the process group of the work.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION: it is too long.
 */
export function programFor({ command, script, takesInput }: Work, mark: string): string {
  const kind = script !== undefined ? 'script' : command.length === 1 ? 'line' : 'words';
  const words = [
    mark,
    takesInput ? 'input' : 'none',
    kind,
    ...(script === undefined ? [] : [script]),
    ...command,
  ];
  const set = `set -- ${words.map(inLine).join(' ')}`;
  // A line break takes a copy of the shell to make.
  const newline = words.some((word) => word.includes('\n')) ? NEWLINE : '';
  const line = `${LEADER}; ${newline}${set}; ${WRAPPER}\n`;
  if (Buffer.byteLength(line) <= LENGTH_MAX) return line;
  const text = `the command is longer than ${LENGTH_MAX} bytes; copy it to the hosts as a file`;
  throw new HoldfastError('ERR_HOLDFAST_OPTION', text);
}

/** What nobody's output has by chance. */
export function newMark(): string {
  return `holdfast-${randomBytes(12).toString('hex')}`;
}

/** The command line that ends the process group of some work. */
export function endCommand(group: number): string {
  return `exec sh -c 'kill -TERM -${group} 2>/dev/null; sleep 2; kill -KILL -${group} 2>/dev/null'`;
}

/** As a word of a line, which has no line break. */
function inLine(text: string): string {
  return quote(text).replaceAll('\n', `'"$n"'`);
}

/** The shell's $n is a line break. */
const NEWLINE = `n=$(printf "\\nx"); n=\${n%x}; `;

// Nothing but what POSIX has, in words that dash, bash, busybox and ksh take, and setsid(1) where the server has not made the
// shell the leader of a process group: the work is to have one, with nobody in it but itself and this. To begin a program takes
// longer than a copy of the shell: this begins none but the work.
const LEADER = 'kill -0 -$$ 2>/dev/null || ! command -v setsid >/dev/null || exec setsid sh -c "$l"';

// The shell's input, the lifeline, is not the work's; the watcher reads it with the shell's own `read`, since a child of it would
// keep the connection open. At the end of the group the shell outlives SIGTERM, to tell the status of work that ends by it.
const WRAPPER: string = [
  'm=$1 i=$2 k=$3; shift 3; exec 3<&0; f= w=; trap : TERM',
  'if [ $k = script ]; then f=$(mktemp) && printf %s "$1" >"$f" && chmod 700 "$f" || exit 126; shift; set -- "$f" "$@"; fi',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's.
  'if [ $k = line ]; then set -- "${SHELL:-sh}" -c "$1"; fi',
  'printf "%s b%s;" "$m" $$',
  'if [ $i = input ]; then "$@" <&3 3<&- & else "$@" </dev/null 3<&- & fi',
  'p=$!',
  'if [ $i = none ]; then (trap "" TERM; while read -r x <&3; do :; done; kill -TERM -$$ || kill -TERM $p; sleep 2; rm -f "$f"; kill -KILL -$$ || kill -KILL $p) >/dev/null 2>&1 & w=$!; fi',
  'wait $p; c=$?; while [ $c -gt 128 ] && kill -0 $p 2>/dev/null; do wait $p; c=$?; done',
  '[ -n "$f" ] && rm -f "$f"',
  '[ -n "$w" ] && kill -KILL $w 2>/dev/null',
  'printf "%s e%s;" "$m" "$c"',
].join('; ');
