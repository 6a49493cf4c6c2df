import type { Ownership, Unclosed, Unseen, WatchedProcess, WatchedSocket } from '../src/watch/view.js';

export type Processes = ReadonlyMap<number, string>;

/** Programs by pid. */
export function programsOf(processes: readonly WatchedProcess[]): Processes {
  return new Map(processes.map(({ pid, program }) => [pid, program]));
}

/** `server.js (pid 12)` */
export function processName(pid: number, programs: Processes): string {
  const program = programs.get(pid);
  return program === undefined ? `pid ${pid}` : `${program} (pid ${pid})`;
}

const OWNERSHIP: Readonly<Record<Ownership, string>> = {
  process: 'a process that has ended',
  queue: 'nobody yet: it waits to be accepted',
  none: 'nobody: its process has closed it',
  hidden: 'a process that you may not look into',
  pending: 'being looked for',
};

/** Who has it: a process, or in words why there is none. */
export function ownerOf(
  { pid, ownership, state }: Pick<WatchedSocket, 'pid' | 'ownership' | 'state'>,
  programs: Processes,
): string {
  if (ownership === 'queue' && state === 'SYN_RECV') return 'nobody yet: its handshake is not done';
  return pid === null ? OWNERSHIP[ownership] : processName(pid, programs);
}

/** `9 s`, `4 min`, `3 h 5 min`, `2 d 1 h`. */
export function formatSpan(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** The same, in steps of ten seconds: of a long table few rows change from one look to the next. */
export function formatAge(ms: number): string {
  return formatSpan(ms < 10_000 ? ms : Math.floor(ms / 10_000) * 10_000);
}

/** `keepalive, 12 s` */
export function formatTimer(timer: WatchedSocket['timer'], atMs: number): string {
  return timer === null ? '' : `${timer.kind}, ${formatSpan(timer.firesAtMs - atMs)}`;
}

/** Who forgets to close, and who waits for it. */
export function describeUnclosed({ pid, closeWait, finWait2 }: Unclosed, programs: Processes): string {
  const waiting = `${finWait2} ${finWait2 === 1 ? 'socket' : 'sockets'} of this machine ${finWait2 === 1 ? 'waits' : 'wait'} in FIN_WAIT2`;
  if (closeWait === 0) return `${waiting} for peers elsewhere that do not close.`;
  const who = pid === null ? 'A process that cannot be seen' : processName(pid, programs);
  const keeps = `${who} keeps ${closeWait} ${closeWait === 1 ? 'connection' : 'connections'} in CLOSE_WAIT: it does not close ${closeWait === 1 ? 'it' : 'them'}`;
  return finWait2 === 0 ? `${keeps}.` : `${keeps}; ${waiting} for it.`;
}

/** What this user does not see; undefined when nothing is hidden. */
export function describeUnseen({ sockets, processes }: Unseen): string | undefined {
  if (sockets === 0) return undefined;
  const what = sockets === 1 ? 'The owner of 1 socket' : `The owners of ${sockets} sockets`;
  return `${what} cannot be seen: ${processes === 1 ? '1 process' : `${processes} processes`} may not be looked into by this user.`;
}

/** Without escape sequences and control characters, which are for terminals. */
export function plainText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one.
  const escapes = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])/g;
  return text
    .replace(escapes, '')
    .replace(/\r\n/g, '\n')
    .replace(/[^\P{Cc}\n\t]/gu, '');
}
