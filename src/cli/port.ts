import { HoldfastError } from '../errors.js';
import { findProgram } from '../keeper/hand-over.js';
import { exec } from '../kernel/exec.js';
import { close, duplicate, duplicateTo, setCloseOnExec } from '../kernel/fd.js';
import type { Fd } from '../kernel/libc.js';
import { formatDuration } from '../model/duration.js';
import type { PortReservation } from '../ports/port-reservation.js';
import { checkRange, type PortRange } from '../ports/range.js';
import { reservePorts } from '../ports/reserve.js';
import { isUnderNohup, restoreOpenFilesLimit } from './inherited.js';
import { say } from './say.js';

export interface PortFlags {
  readonly number: number;
  readonly range?: PortRange;
  readonly host?: string;
  readonly listen?: true;
  readonly env: string;
  readonly json?: true;
}

/** The first fd that is handed over. @see sd_listen_fds(3) */
const FIRST_FD = 3;

/** `holdfast port`: numbers that stay reserved for a minute, or a command that holds them as long as it runs. */
export async function port(words: readonly string[], flags: PortFlags): Promise<void> {
  if (words.length === 0) return print(flags);
  if (flags.json) throw wrong('--json prints ports; with a command they are in its environment');
  const program = findProgram(words[0] ?? '', process.env, process.cwd());
  const reservations = await reserve(flags);
  const listeners = flags.listen ? await Promise.all(reservations.map((one) => one.listener())) : [];
  const command = words.map((word) => filledIn(word, reservations, listeners.length));
  const env = {
    ...process.env,
    ...portVariables(flags.env, reservations),
    // Its own pid, which it has from us.
    ...(flags.listen && { LISTEN_FDS: String(listeners.length), LISTEN_PID: String(process.pid) }),
  };
  for (const { fds } of reservations) for (const fd of fds) setCloseOnExec(fd, false);
  restoreOpenFilesLimit();
  handOver(listeners);
  exec(program, command, { env, ignoreHangup: isUnderNohup() });
}

async function print(flags: PortFlags): Promise<void> {
  if (flags.listen) throw wrong('--listen hands a socket to a command, which stands after --');
  const reservations = await reserve(flags);
  const times: number[] = [];
  for (const reservation of reservations) times.push(await reservation.leave());
  const ports = reservations.map((reservation) => reservation.port);
  const reservedMs = Math.min(...times);
  if (flags.json) return say(`${JSON.stringify({ ports, reservedMs })}\n`);
  say(`${ports.join('\n')}\n`);
  if (process.stderr.isTTY && process.stdout.isTTY) {
    process.stderr.write(
      `holdfast: reserved for ${formatDuration(reservedMs)}, for who binds it with SO_REUSEADDR as nearly all servers do\n`,
    );
  }
}

function reserve({ number, range, host, listen }: PortFlags): Promise<PortReservation[]> {
  return reservePorts({ count: number, range, host, exclusive: listen ?? false });
}

/** PORT is the first one; of several PORT1 too, PORT2 and so on, and PORTS is all of them. */
function portVariables(name: string, reservations: readonly PortReservation[]): Record<string, string> {
  const ports = reservations.map(({ port }) => String(port));
  const numbered = ports.length === 1 ? [] : ports.map((port, index) => [`${name}${index + 1}`, port]);
  return {
    [name]: ports[0] ?? '',
    ...Object.fromEntries(numbered),
    ...(ports.length > 1 && { [`${name}S`]: ports.join(' ') }),
  };
}

/** `{port}` is the first one, `{port2}` the second; `{fd}` and `{fd2}` are the numbers of their sockets. */
function filledIn(word: string, reservations: readonly PortReservation[], fds: number): string {
  return word.replace(/\{(port|fd)([1-9]\d*)?\}/g, (text, what: string, number: string | undefined) => {
    const index = Number(number ?? 1) - 1;
    const reservation = reservations[index];
    if (what === 'fd' && fds === 0) throw wrong(`${text} needs --listen`);
    if (reservation === undefined)
      throw wrong(`${text}: there are ${reservations.length} ports; -n asks for more`);
    return what === 'fd' ? `${FIRST_FD + index}` : `${reservation.port}`;
  });
}

/** Puts the sockets where they belong. Node's own fds are there: after this it can do nothing but exec. */
function handOver(listeners: readonly Fd[]): void {
  const above = FIRST_FD + listeners.length;
  const copies = listeners.map((fd) => {
    const copy = duplicate(fd, above);
    close(fd);
    return copy;
  });
  for (const [index, fd] of copies.entries()) {
    duplicateTo(fd, FIRST_FD + index);
    setCloseOnExec(FIRST_FD + index, false);
  }
}

/** `20000-20999`, or one port. @throws {HoldfastError} ERR_HOLDFAST_OPTION */
export function parseRange(text: string): PortRange {
  const { from, to = from } = /^(?<from>\d{1,5})(?:-(?<to>\d{1,5}))?$/.exec(text)?.groups ?? {};
  if (from === undefined) throw wrong(`--range "${text}": write it as 20000-20999`);
  return checkRange({ from: Number(from), to: Number(to) });
}

function wrong(text: string): HoldfastError {
  return new HoldfastError('ERR_HOLDFAST_OPTION', text);
}
